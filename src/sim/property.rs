//! The properties, by name: what must hold, and what it means that one does not.

use std::fmt;

macro_rules! properties {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// A property of the protocol, of a module, or of the service built on them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Property {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Property {
            /// Every property.
            pub const ALL: &'static [Property] = &[$(Self::$name),+];
        }

        impl fmt::Display for Property {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$name => $label,)+
                })
            }
        }
    };
}

properties! {
    /// Nothing happens between a crash and the recovery; the incarnation grows by one each boot.
    Incarnations = "incarnations",
    /// Whatever leaves a process is preceded by the durable store of what it depends on.
    Exposure = "exposure",
    /// A promise never decreases; what was acknowledged in a ballot stays while it is accepted.
    Promises = "promises",
    /// Within a ballot an index has one value.
    OneValue = "one value per (ballot, index)",
    /// A decision counts a majority of processes that hold the entry durably.
    DurableMajority = "durable majority",
    /// Decided logs are prefixes of one another, and only grow.
    PrefixAgreement = "prefix agreement",
    /// No decided entry is overwritten, and two processes that decide differently do not do so silently.
    LoudDivergence = "loud divergence",
    /// What a majority holds in one ballot is in every log of every later ballot.
    ChosenStays = "chosen stays",
    /// Ballots in which somebody stands are unique, and increase at each process.
    ElectedBallots = "elected ballots",
    /// A process that lost its memory counts in no majority.
    Learners = "learners",
    /// What is delivered was sent, what is decided was proposed; no damaged frame gets through.
    NoCreation = "no creation",
    /// Equal prefixes of the log give equal states.
    StateAgreement = "state agreement",
    /// A replica equals its own reload: it answers alike, and has the same state.
    Reload = "a replica equals its reload",
    /// Who has another state than a majority after the same entries stops serving.
    DivergedStops = "a diverged replica stops",
    /// A request has one effect and one reply.
    AtMostOnce = "at most once",
    /// A transaction that costs more than it may has no effect.
    BoundedCost = "bounded cost",
    /// What clients see is linearizable; revisions never repeat and never go back.
    ClientHistory = "client history",
    /// The log keeps no more below its checkpoint than its tail may have.
    BoundedLog = "bounded log",
    /// No more is under way to a follower than its window.
    BoundedWindow = "bounded window",
    /// While space is short, nothing that grows is proposed.
    SpaceKept = "space kept",
    /// The same seed gives the same execution.
    Determinism = "determinism",
    /// Once faults stop, a leader is trusted by all that hear it, and stays.
    Leader = "leader",
    /// Once faults stop, every request is answered and every process catches up.
    Progress = "progress",
    /// Every operation on a register takes effect at one instant while it lasts.
    RegisterAtomicity = "register atomicity",
    /// Every operation on a register of a process that stays up returns.
    RegisterTermination = "register termination",
    /// What is sent again and again is delivered again and again.
    FairLoss = "fair loss",
    /// What is sent a finite number of times is delivered a finite number of times.
    FiniteDuplication = "finite duplication",
    /// What is sent over a stubborn link is delivered again and again, until it is acknowledged.
    StubbornDelivery = "stubborn delivery",
    /// What is sent over a link, or confirmed, is delivered where sender and receiver are correct.
    ReliableDelivery = "reliable delivery",
    /// What a process publishes, and is confirmed, is delivered by it and by every other.
    Validity = "validity",
    /// No message is delivered twice, in any life of a process.
    NoDuplication = "no duplication",
    /// What any process delivers, every correct process delivers.
    UniformAgreement = "uniform agreement",
    /// Messages of a process are delivered in the order in which it published them.
    FifoDelivery = "FIFO delivery",
    /// A message is delivered after everything that its publisher knew of.
    CausalDelivery = "causal delivery",
    /// What is told of the delivery log is durable.
    DurableHint = "durable hint",
    /// The first hint after a recovery covers everything that is durable.
    CompleteHint = "complete hint",
    /// A position of the delivery log holds the same record in every incarnation.
    StablePositions = "stable positions",
    /// Nothing is trimmed from the delivery log before it was told.
    ToldFirst = "told before it is trimmed",
    /// Nothing is trimmed that is not acknowledged, while there is room; who falls off is told.
    KeptForCursor = "kept for the cursor",
    /// Effects of what is read are contiguous, and each happens at most once.
    ContiguousEffects = "contiguous effects",
    /// No delivery follows its acknowledgement, and nothing else is acknowledged.
    Stop = "stop",
    /// What is not acknowledged is delivered again and again.
    Recurrence = "recurrence",
    /// A subscriber is delivered no more than its window.
    BoundedPending = "bounded pending",
    /// What an instance of consensus decides was proposed to it.
    ConsensusValidity = "consensus validity",
    /// An instance decides once, for ever: its decision stays, across crashes.
    ConsensusIntegrity = "consensus integrity",
    /// No two processes tell different decisions of an instance.
    ConsensusAgreement = "consensus agreement",
    /// A proposal of a process that stays up is answered by a decision, which all learn.
    ConsensusTermination = "consensus termination",
    /// A transaction commits only if every participant voted yes.
    CommitValidity = "commit validity",
    /// A transaction is aborted only if a participant voted no, or its time ran out.
    AbortValidity = "abort validity",
    /// A transaction has one outcome, for ever, at each process.
    CommitIntegrity = "commit integrity",
    /// No two processes tell different outcomes of a transaction.
    CommitAgreement = "commit agreement",
    /// Every transaction that has begun gets an outcome.
    CommitTermination = "commit termination",
    /// An outcome is owed to a participant until that has acknowledged it.
    CommitRedelivery = "outcome redelivery",
    /// A position holds one publication, the same at every process, and one that was published.
    TotalOrder = "uniform total order",
    /// What a publisher sends again is published once.
    PublishedOnce = "no duplication of publications",
    /// A reader misses nothing between its cursor and what it reads, unless it is told so.
    Retention = "retention",
    /// In the end, whoever is trusted hears a majority.
    LeaderAccuracy = "leader detector: eventual accuracy",
    /// In the end, all that hear the leader trust it, and go on to.
    LeaderAgreement = "leader detector: eventual agreement",
    /// Each module holds no more in memory than its bounds allow.
    BoundedMemory = "bounded memory",
    /// The code's own assertions hold.
    Assertions = "assertions",
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
