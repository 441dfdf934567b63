//! The properties, by name: what must hold, and what it means that one does not.

use std::fmt;

/// A property of the protocol, or of the service built on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Property {
    /// Nothing happens between a crash and the recovery; the incarnation grows by one each boot.
    Incarnations,
    /// Whatever leaves a process is preceded by the durable store of what it depends on.
    Exposure,
    /// A promise never decreases; what was acknowledged in a ballot stays while it is accepted.
    Promises,
    /// Within a ballot an index has one value.
    OneValue,
    /// A decision counts a majority of processes that hold the entry durably.
    DurableMajority,
    /// Decided logs are prefixes of one another, and only grow.
    PrefixAgreement,
    /// What a majority holds in one ballot is in every log of every later ballot.
    ChosenStays,
    /// Ballots in which somebody stands are unique, and increase at each process.
    ElectedBallots,
    /// A process that lost its memory counts in no majority.
    Learners,
    /// What is delivered was sent, what is decided was proposed; no damaged frame gets through.
    NoCreation,
    /// Equal prefixes of the log give equal states.
    StateAgreement,
    /// A request has one effect and one reply.
    AtMostOnce,
    /// What clients see is linearizable; revisions never repeat and never go back.
    ClientHistory,
    /// The same seed gives the same execution.
    Determinism,
    /// Once faults stop, a leader is trusted by all that hear it, and stays.
    Leader,
    /// Once faults stop, every request is answered and every process catches up.
    Progress,
    /// Every operation on a register takes effect at one instant while it lasts.
    RegisterAtomicity,
    /// Every operation on a register of a process that stays up returns.
    RegisterTermination,
    /// What is sent again and again is delivered again and again.
    FairLoss,
    /// What is sent a finite number of times is delivered a finite number of times.
    FiniteDuplication,
    /// What is sent over a stubborn link is delivered again and again, until it is acknowledged.
    StubbornDelivery,
    /// What is sent over a link, or confirmed, is delivered where sender and receiver are correct.
    ReliableDelivery,
    /// What a process publishes, and is confirmed, is delivered by it and by every other.
    Validity,
    /// No message is delivered twice, in any life of a process.
    NoDuplication,
    /// What any process delivers, every correct process delivers.
    UniformAgreement,
    /// Messages of a process are delivered in the order in which it published them.
    FifoDelivery,
    /// A message is delivered after everything that its publisher knew of.
    CausalDelivery,
    /// What is told of the delivery log is durable.
    DurableHint,
    /// The first hint after a recovery covers everything that is durable.
    CompleteHint,
    /// A position of the delivery log holds the same record in every incarnation.
    StablePositions,
    /// Nothing is trimmed that is not acknowledged, while there is room; who falls off is told.
    KeptForCursor,
    /// Effects of what is read are contiguous, and each happens at most once.
    ContiguousEffects,
    /// No delivery follows its acknowledgement, and nothing else is acknowledged.
    Stop,
    /// What is not acknowledged is delivered again and again.
    Recurrence,
    /// A subscriber is delivered no more than its window.
    BoundedPending,
    /// What an instance of consensus decides was proposed to it.
    ConsensusValidity,
    /// An instance decides once, for ever: its decision stays, across crashes.
    ConsensusIntegrity,
    /// No two processes tell different decisions of an instance.
    ConsensusAgreement,
    /// A proposal of a process that stays up is answered by a decision, which all learn.
    ConsensusTermination,
    /// A transaction commits only if every participant voted yes.
    CommitValidity,
    /// A transaction is aborted only if a participant voted no, or its time ran out.
    AbortValidity,
    /// A transaction has one outcome, for ever, at each process.
    CommitIntegrity,
    /// No two processes tell different outcomes of a transaction.
    CommitAgreement,
    /// Every transaction that has begun gets an outcome.
    CommitTermination,
    /// An outcome is owed to a participant until that has acknowledged it.
    CommitRedelivery,
    /// A position holds one publication, the same at every process, and one that was published.
    TotalOrder,
    /// What a publisher sends again is published once.
    PublishedOnce,
    /// A reader misses nothing between its cursor and what it reads, unless it is told so.
    Retention,
    /// In the end, whoever is trusted hears a majority.
    LeaderAccuracy,
    /// In the end, all that hear the leader trust it, and go on to.
    LeaderAgreement,
    /// The code's own assertions hold.
    Assertions,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incarnations => "incarnations",
            Self::Exposure => "exposure",
            Self::Promises => "promises",
            Self::OneValue => "one value per (ballot, index)",
            Self::DurableMajority => "durable majority",
            Self::PrefixAgreement => "prefix agreement",
            Self::ChosenStays => "chosen stays",
            Self::ElectedBallots => "elected ballots",
            Self::Learners => "learners",
            Self::NoCreation => "no creation",
            Self::StateAgreement => "state agreement",
            Self::AtMostOnce => "at most once",
            Self::ClientHistory => "client history",
            Self::Determinism => "determinism",
            Self::Leader => "leader",
            Self::Progress => "progress",
            Self::RegisterAtomicity => "register atomicity",
            Self::RegisterTermination => "register termination",
            Self::FairLoss => "fair loss",
            Self::FiniteDuplication => "finite duplication",
            Self::StubbornDelivery => "stubborn delivery",
            Self::ReliableDelivery => "reliable delivery",
            Self::Validity => "validity",
            Self::NoDuplication => "no duplication",
            Self::UniformAgreement => "uniform agreement",
            Self::FifoDelivery => "FIFO delivery",
            Self::CausalDelivery => "causal delivery",
            Self::DurableHint => "durable hint",
            Self::CompleteHint => "complete hint",
            Self::StablePositions => "stable positions",
            Self::KeptForCursor => "kept for the cursor",
            Self::ContiguousEffects => "contiguous effects",
            Self::Stop => "stop",
            Self::Recurrence => "recurrence",
            Self::BoundedPending => "bounded pending",
            Self::ConsensusValidity => "consensus validity",
            Self::ConsensusIntegrity => "consensus integrity",
            Self::ConsensusAgreement => "consensus agreement",
            Self::ConsensusTermination => "consensus termination",
            Self::CommitValidity => "commit validity",
            Self::AbortValidity => "abort validity",
            Self::CommitIntegrity => "commit integrity",
            Self::CommitAgreement => "commit agreement",
            Self::CommitTermination => "commit termination",
            Self::CommitRedelivery => "outcome redelivery",
            Self::TotalOrder => "uniform total order",
            Self::PublishedOnce => "no duplication of publications",
            Self::Retention => "retention",
            Self::LeaderAccuracy => "leader detector: eventual accuracy",
            Self::LeaderAgreement => "leader detector: eventual agreement",
            Self::Assertions => "assertions",
        })
    }
}

/// A property does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) property: Property,
    pub(super) detail: String,
}

/// Whether everything still holds.
pub(super) type Verdict = Result<(), Failure>;

/// Demands that a property holds.
pub(super) fn ensure(holds: bool, property: Property, detail: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Failure { property, detail: detail() }) }
}
