//! Bugs put in on purpose. Each stands for one sentence of the protocol left out; the simulator's
//! named monitor must find it. Without the feature `mutants` none can be switched on.

macro_rules! mutants {
    ($($name:ident: $left_out:literal,)+) => {
        /// A sentence of the protocol, left out.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            $(#[doc = $left_out] $name,)+
        }

        impl Mutant {
            /// Every mutant.
            pub const ALL: &[Mutant] = &[$(Self::$name),+];

            /// What it leaves out.
            pub fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => $left_out,)+
                }
            }
        }
    };
}

mutants! {
    IncarnationKept: "a recovered process goes on in its last incarnation",
    ResumeBallot: "a recovered leader resumes its ballot",
    StoreAdoptionApart: "accRnd and log are stored apart",
    SyncWithoutSession: "AcceptSync is taken without its session",
    SyncFromTheEnd: "an AcceptSync goes on at the end of a log, whatever the ballot of that log",
    SyncShortens: "an AcceptSync of its own ballot shortens a log",
    StagedTakenHalf: "a part of an AcceptSync is taken for all of it",
    ChunkOfAnotherSession: "what was staged for one promise goes on with the answer to another",
    LeaderNeverGivesUp: "a leader that cannot go on leads on",
    PromiseIgnoresQueue: "a promise ignores the entries queued before it",
    ReadIndexEarly: "a read index is captured before everything adopted is decided",
    QuorumOfMessages: "a quorum is counted by messages",
    LeaderCountsEarly: "the leader counts itself before its own sync",
    ExposeBeforeSync: "acknowledgements leave before the sync",
    LyingSync: "the disk's sync lies",
    DecideUnaccepted: "what is decided is believed before the log of its ballot is accepted",
    DecideUnsaid: "what is decided is told with the next proposal only",
    ReadAtOnce: "a leader answers reads without confirming that it leads",
    ServeAtOnce: "a recovered process serves at once",
    ForwardUnfiltered: "forwarded commands are executed without the filter",
    UnwantedSkipped: "a process does not execute a command of its own that nobody waits for any more",
    FilterForgotten: "a recovered process does not know which commands were executed",
    EvictedSessionExecutes: "an evicted session executes again",
    SessionsByUseAlone: "sessions are ordered by their last use alone, which two may share",
    ReplyDrifts: "one replica remembers the replies of sessions otherwise than the others",
    DivergenceIgnored: "a replica whose state drifted goes on, though a majority has another one",
    BudgetIgnored: "a transaction over its budget is executed",
    BudgetOfVersions: "a transaction's budget counts versions that are not cleaned up yet",
    FormAfterOneExchange: "members form after one exchange",
    WipedVotes: "a wiped replica votes",
    CopyVotes: "a data directory that was copied back votes",
    CopiedVotes: "a data directory that knows that it is a copy votes",
    MarkForgotten: "a disk that ends before a commit mark that it has shown votes",
    PrefixHashUnchecked: "the hash of a decided prefix is not compared",
    BallotOfAnyLife: "two lives of a process may stand in the same ballot",
    SuffixWithoutTheCandidates: "a promise brings only what its candidate lacks",
    LearnedUncompared: "entries that were decided before this log was taken need not be in it",
    ShortSyncTaken: "an AcceptSync that ends below what is decided is taken",
    StrangersBelieved: "a formed member forgets what it holds for another's word",
    BootAnew: "a boot that nobody has recorded is not told again",
    MarkAnew: "a boot tells how far the disk has got, also where nobody heard the boot before",
    CandidacyOnNack: "a Nack starts a candidacy",
    HappyWithoutMajority: "a leader stays happy though a majority has promised away",
    ReadUnimposed: "a register is read without imposing what was read",
    WriteUnconsulted: "a register is written without consulting a majority",
    LastProposalDecides: "the last proposal of an instance decides, not the first",
    DecisionUnproposed: "an instance decides what nobody proposed",
    LateVoteFlips: "a vote after the outcome counts",
    CommitWithoutAll: "a transaction commits when a majority has voted",
    TimeoutAfterOutcome: "a timeout aborts a transaction that has its outcome",
    TimeoutOfAnother: "a timeout aborts a later transaction of the same name",
    OneAcknowledgesForAll: "one participant acknowledges an outcome for all",
    PositionOfRetained: "a publication's position counts those that are retained",
    PublishedAgain: "a publication that is sent again is published again",
    FellOffSilently: "a cursor that fell off reads what is left",
    CheckpointForgets: "a checkpoint takes what changed meanwhile for saved",
    ProposalTakesRoom: "a proposal to an instance that is decided takes room",
    TimeoutUnsaid: "the leader does not say whose time ran out",
    StubbornGivesUp: "a stubborn link sends a message once",
    GapSkipped: "a FIFO link delivers a message before the one that came before it",
    GapAcknowledged: "a message is acknowledged though one before it is missing",
    RepeatDelivered: "a FIFO link delivers again what arrives again",
    StaleStream: "a FIFO link takes frames of its peer's earlier life for ones of this life",
    OutboxForgotten: "a recovered process does not send its outbox again",
    DeliveredForgotten: "a recovered process does not know what its links have delivered",
    OneReceiverSuffices: "a message leaves the outbox once one of its receivers has it",
    FrameUnchecked: "a damaged frame gets through",
    FramesMultiply: "the network delivers a frame again and again, for ever",
    OneLeftOut: "a lossy broadcast leaves out a process",
    OwnCopyCountedTwice: "a process counts its own copy of a message twice",
    DeliveredWithoutMajority: "a message is delivered before a majority holds it",
    RelayedForgotten: "a recovered process does not offer again what it relayed",
    FifoGaps: "FIFO order leaves out a message that is missing",
    CausalContextIgnored: "causal order ignores the context of a message",
    CursorStoredApart: "a cursor is stored apart from the effect",
    HintRestartsAtTheEnd: "the first hint after a recovery leaves out what was there before",
    PositionsByName: "a recovered process tells its deliveries in the order of their names",
    TrimmedUnacknowledged: "the delivery log is trimmed though a subscriber has not acknowledged it",
    TrimmedUntold: "the delivery log is trimmed though what goes was not told yet",
    RedeliveredAfterStop: "an acknowledged delivery is delivered again after a recovery",
    NotRedelivered: "a delivery that is not acknowledged is delivered once only",
    WindowIgnored: "a subscriber is delivered more than its window",
    StoppedUnsaved: "a checkpoint leaves out what a subscriber has acknowledged out of order",
    ReceivedUnconfirmed: "a subscriber is delivered what a replica shows, without a read barrier",
    QuestionOnce: "a register's question is asked once",
    LatePromiseIgnored: "a promise that comes after the election is not answered",
    GapFilled: "a gap in the log is filled with empty entries",
    NospaceAtApplyOnly: "while space is short, what grows is refused only when it is executed",
    TailUnbounded: "the tail of the log is bounded in entries only",
    WindowUnbounded: "the window of a follower is bounded in entries only",
    SessionsKept: "no session is ever evicted",
    CleanedWhole: "a checkpoint ends only once all that was compacted is cleaned",
    DiskWaitedFor: "what waits for the disk is not bounded",
    DeliveriesKept: "the delivery log is never trimmed",
    CandidacyUnconnected: "a process stands though it hears no majority",
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

    /// The mutant that is on.
    pub fn which(self) -> Option<Mutant> {
        Mutant::ALL.iter().copied().find(|mutant| self.on(*mutant))
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
