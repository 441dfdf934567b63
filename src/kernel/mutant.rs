//! Bugs put in on purpose. Each stands for one sentence of the protocol left out; the simulator's
//! named monitor must find it. Without the feature `mutants` none can be switched on.

/// A sentence of the protocol, left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // each is described by `Mutant::describe`
pub enum Mutant {
    ResumeBallot,
    StoreAdoptionApart,
    SyncWithoutSession,
    SyncShortens,
    PromiseIgnoresQueue,
    ReadIndexEarly,
    QuorumOfMessages,
    LeaderCountsEarly,
    ExposeBeforeSync,
    LyingSync,
    ReadAtOnce,
    ServeAtOnce,
    ForwardUnfiltered,
    EvictedSessionExecutes,
    FormAfterOneExchange,
    WipedVotes,
    CopyVotes,
    CandidacyOnNack,
    HappyWithoutMajority,
    ReadUnimposed,
    WriteUnconsulted,
    LastProposalDecides,
    DecisionUnproposed,
    LateVoteFlips,
    CommitWithoutAll,
    TimeoutAfterOutcome,
    TimeoutOfAnother,
    OneAcknowledgesForAll,
    PositionOfRetained,
    PublishedAgain,
    FellOffSilently,
    CheckpointForgets,
    StubbornGivesUp,
    GapSkipped,
    GapAcknowledged,
    RepeatDelivered,
    StreamResumed,
    OutboxForgotten,
    DeliveredForgotten,
    OneReceiverSuffices,
    OwnCopyCountedTwice,
    DeliveredWithoutMajority,
    RelayedForgotten,
    FifoGaps,
    CausalContextIgnored,
    HintRestartsAtTheEnd,
    TrimmedUnacknowledged,
    RedeliveredAfterStop,
    NotRedelivered,
    WindowIgnored,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Mutant; 50] = [
        Self::ResumeBallot,
        Self::StoreAdoptionApart,
        Self::SyncWithoutSession,
        Self::SyncShortens,
        Self::PromiseIgnoresQueue,
        Self::ReadIndexEarly,
        Self::QuorumOfMessages,
        Self::LeaderCountsEarly,
        Self::ExposeBeforeSync,
        Self::LyingSync,
        Self::ReadAtOnce,
        Self::ServeAtOnce,
        Self::ForwardUnfiltered,
        Self::EvictedSessionExecutes,
        Self::FormAfterOneExchange,
        Self::WipedVotes,
        Self::CopyVotes,
        Self::CandidacyOnNack,
        Self::HappyWithoutMajority,
        Self::ReadUnimposed,
        Self::WriteUnconsulted,
        Self::LastProposalDecides,
        Self::DecisionUnproposed,
        Self::LateVoteFlips,
        Self::CommitWithoutAll,
        Self::TimeoutAfterOutcome,
        Self::TimeoutOfAnother,
        Self::OneAcknowledgesForAll,
        Self::PositionOfRetained,
        Self::PublishedAgain,
        Self::FellOffSilently,
        Self::CheckpointForgets,
        Self::StubbornGivesUp,
        Self::GapSkipped,
        Self::GapAcknowledged,
        Self::RepeatDelivered,
        Self::StreamResumed,
        Self::OutboxForgotten,
        Self::DeliveredForgotten,
        Self::OneReceiverSuffices,
        Self::OwnCopyCountedTwice,
        Self::DeliveredWithoutMajority,
        Self::RelayedForgotten,
        Self::FifoGaps,
        Self::CausalContextIgnored,
        Self::HintRestartsAtTheEnd,
        Self::TrimmedUnacknowledged,
        Self::RedeliveredAfterStop,
        Self::NotRedelivered,
        Self::WindowIgnored,
    ];

    /// What it leaves out.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ResumeBallot => "a recovered leader resumes its ballot",
            Self::StoreAdoptionApart => "accRnd and log are stored apart",
            Self::SyncWithoutSession => "AcceptSync is taken without its session",
            Self::SyncShortens => "an AcceptSync of its own ballot shortens a log",
            Self::PromiseIgnoresQueue => "a promise ignores the entries queued before it",
            Self::ReadIndexEarly => "a read index is captured before everything adopted is decided",
            Self::QuorumOfMessages => "a quorum is counted by messages",
            Self::LeaderCountsEarly => "the leader counts itself before its own sync",
            Self::ExposeBeforeSync => "acknowledgements leave before the sync",
            Self::LyingSync => "the disk's sync lies",
            Self::ReadAtOnce => "a leader answers reads without confirming that it leads",
            Self::ServeAtOnce => "a recovered process serves at once",
            Self::ForwardUnfiltered => "forwarded commands are executed without the filter",
            Self::EvictedSessionExecutes => "an evicted session executes again",
            Self::FormAfterOneExchange => "members form after one exchange",
            Self::WipedVotes => "a wiped replica votes",
            Self::CopyVotes => "a data directory that was copied back votes",
            Self::CandidacyOnNack => "a Nack starts a candidacy",
            Self::HappyWithoutMajority => "a leader stays happy though a majority has promised away",
            Self::ReadUnimposed => "a register is read without imposing what was read",
            Self::WriteUnconsulted => "a register is written without consulting a majority",
            Self::LastProposalDecides => "the last proposal of an instance decides, not the first",
            Self::DecisionUnproposed => "an instance decides what nobody proposed",
            Self::LateVoteFlips => "a vote after the outcome counts",
            Self::CommitWithoutAll => "a transaction commits when a majority has voted",
            Self::TimeoutAfterOutcome => "a timeout aborts a transaction that has its outcome",
            Self::TimeoutOfAnother => "a timeout aborts a later transaction of the same name",
            Self::OneAcknowledgesForAll => "one participant acknowledges an outcome for all",
            Self::PositionOfRetained => "a publication's position counts those that are retained",
            Self::PublishedAgain => "a publication that is sent again is published again",
            Self::FellOffSilently => "a cursor that fell off reads what is left",
            Self::CheckpointForgets => "a checkpoint takes what changed meanwhile for saved",
            Self::StubbornGivesUp => "a stubborn link sends a message once",
            Self::GapSkipped => "a FIFO link delivers a message before the one that came before it",
            Self::GapAcknowledged => "a message is acknowledged though one before it is missing",
            Self::RepeatDelivered => "a FIFO link delivers again what arrives again",
            Self::StreamResumed => "a FIFO link counts on when its peer has recovered",
            Self::OutboxForgotten => "a recovered process does not send its outbox again",
            Self::DeliveredForgotten => "a recovered process does not know what its links have delivered",
            Self::OneReceiverSuffices => "a message leaves the outbox once one of its receivers has it",
            Self::OwnCopyCountedTwice => "a process counts its own copy of a message twice",
            Self::DeliveredWithoutMajority => "a message is delivered before a majority holds it",
            Self::RelayedForgotten => "a recovered process does not offer again what it relayed",
            Self::FifoGaps => "FIFO order leaves out a message that is missing",
            Self::CausalContextIgnored => "causal order ignores the context of a message",
            Self::HintRestartsAtTheEnd => "the first hint after a recovery leaves out what was there before",
            Self::TrimmedUnacknowledged => {
                "the delivery log is trimmed though a subscriber has not acknowledged it"
            }
            Self::RedeliveredAfterStop => "an acknowledged delivery is delivered again after a recovery",
            Self::NotRedelivered => "a delivery that is not acknowledged is delivered once only",
            Self::WindowIgnored => "a subscriber is delivered more than its window",
        }
    }
}

/// Which mutant is on, if any: always none without the feature `mutants`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mutants {
    #[cfg(feature = "mutants")]
    on: Option<Mutant>,
}

impl Mutants {
    /// One mutant switched on.
    #[cfg(feature = "mutants")]
    pub fn only(mutant: Mutant) -> Self {
        Self { on: Some(mutant) }
    }

    /// Whether this mutant is on.
    #[inline]
    pub fn on(self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        return self.on == Some(mutant);
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            false
        }
    }
}
