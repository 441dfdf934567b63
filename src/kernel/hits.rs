//! Which bounds were hit, and how often.
//!
//! What happens at a bound happens seldom, and so it is counted: a module that keeps to one says so to
//! its turn ([`Turn::hit`](super::Turn::hit)), or, where it has none at hand, to [`Hits`] of its own,
//! which the stack collects. The simulator fails where a bound was never hit in all its runs: the code
//! behind it would be untried.

use std::ops::AddAssign;

macro_rules! bounds {
    ($($name:ident: $kept:literal, $then:literal;)+) => {
        /// What is kept within a bound. Several may keep to one parameter.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Bound {
            $(#[doc = concat!($kept, ": ", $then, ".")] $name,)+
        }

        impl Bound {
            /// Every bound.
            pub const ALL: &[Bound] = &[$(Self::$name),+];

            /// What is kept within it, and what happens when it is hit.
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($kept, ": ", $then),)+
                }
            }
        }
    };
}

bounds! {
    Commands: "commands of one process", "one more is refused";
    CommandSpan: "numbers of the commands of one process", "one too far ahead of the oldest is refused";
    Reads: "reads of one process", "one more is refused";
    QueuedCommands: "commands queued at the leader", "one more is dropped, and sent again";
    QueueBytes: "bytes of commands queued at the leader", "one more is dropped, and sent again";
    UndecidedBytes: "bytes proposed and not decided", "the leader proposes no more";
    UndurableBytes: "bytes that a leader proposed ahead of its disk", "the leader proposes no more";
    EntryBytes: "bytes of an entry of the log", "a larger command is refused";
    FrameEntries: "entries in a frame", "the next frame has the others";
    FrameBytes: "bytes of entries in a frame", "the next frame has the others";
    PeerFrames: "frames that wait for a peer", "one more is dropped";
    PeerBytes: "bytes of frames that wait for a peer", "one more is dropped";
    Journal: "bytes that wait for the disk", "no frame or request is taken, and none sent";
    Window: "entries ahead of a follower's acknowledgement", "the leader waits";
    WindowBytes: "bytes ahead of a follower's acknowledgement", "the leader waits";
    SyncBytes: "bytes of a promise or its answer", "who lacks more learns first";
    CheckpointEntries: "entries between two checkpoints", "one begins";
    CheckpointBytes: "bytes of log between two checkpoints", "one begins";
    CheckpointStep: "bytes of a piece of a checkpoint", "the next turn goes on";
    CheckpointSpan: "changes that a row stretches over", "the next row has the others";
    ScrubVersions: "versions that housekeeping looks at", "the next tick goes on";
    SweepRows: "rows that one sweep deletes", "the next sweep goes on";
    TailEntries: "entries kept below the checkpoint", "the oldest are trimmed";
    TailBytes: "bytes kept below the checkpoint", "the oldest are trimmed";
    PinnedBytes: "bytes of log that a snapshot holds", "who reads it begins anew";
    Registers: "registers", "one more is refused";
    RegisterBytes: "bytes of a register", "a longer value is refused";
    RegisterOperations: "operations on registers of one process", "one more is refused";
    LinkWindow: "messages on their way over a link", "the others wait in the outbox";
    OutboxEntries: "messages in the outbox", "one more is refused, or the oldest given up";
    OutboxBytes: "bytes in the outbox", "one more is refused, or the oldest given up";
    Topics: "topics", "one more is refused";
    MessageBytes: "bytes of a message", "a longer one is refused";
    Parked: "publications that wait for their context", "one more is refused";
    Undelivered: "undelivered messages of one's own", "one more is refused";
    UndeliveredOfOthers: "undelivered messages of another", "one too far ahead is not taken yet";
    RelayedEntries: "delivered messages kept for others", "the oldest are dropped";
    RelayedBytes: "bytes of them", "the oldest are dropped";
    DeliveryEntries: "deliveries kept", "the oldest are trimmed";
    DeliveryBytes: "bytes of deliveries kept", "the oldest are trimmed";
    DeliveriesWanted: "twice as many for a subscriber that lags", "it falls off";
    Subscribers: "subscribers", "one more is refused";
    Unacknowledged: "deliveries that a subscriber has not acknowledged", "the next ones wait";
    RedeliveryScan: "positions looked at for a subscriber", "the next turn goes on";
    Sessions: "sessions", "the one that was used least recently is evicted";
    SessionCalls: "calls of a session that are not answered", "one too far ahead is refused";
    ReplyBytes: "bytes of replies remembered", "the session used least recently is evicted";
    LongestReply: "bytes of one reply remembered", "a longer one is not kept";
    TxnVisits: "keys that a transaction looks at", "it is refused";
    TxnBytes: "bytes that a transaction answers", "it is refused";
    Alarms: "alarms", "one more is refused";
    Receivers: "subscribers in total order", "one more is refused";
    ReceiverWindow: "window of a subscriber in total order", "a wider one is narrowed";
    Instances: "instances of consensus", "one more is refused";
    DecisionBytes: "bytes of a decision", "a longer one is refused";
    DecisionsBytes: "bytes of all decisions", "one more is refused";
    Transactions: "transactions under way", "one more is refused";
    Participants: "participants of a transaction", "one more is refused";
    Finished: "finished transactions", "the oldest is forgotten";
    OrderedTopics: "topics in total order", "one more is refused";
    OrderedEntries: "publications that a topic retains", "the oldest is dropped";
    OrderedBytes: "bytes that a topic retains", "the oldest is dropped";
    PublicationBytes: "bytes of a publication", "a longer one is refused";
    Publishers: "publishers", "the one silent for longest is forgotten";
}

/// How often each bound was hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hits {
    counts: [u64; Bound::ALL.len()],
}

impl Default for Hits {
    fn default() -> Self {
        Self { counts: [0; Bound::ALL.len()] }
    }
}

impl Hits {
    /// A bound was hit.
    pub fn hit(&mut self, bound: Bound) {
        self.counts[bound as usize] += 1;
    }

    /// How often a bound was hit.
    pub fn of(&self, bound: Bound) -> u64 {
        self.counts[bound as usize]
    }
}

impl AddAssign for Hits {
    fn add_assign(&mut self, other: Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
    }
}
