//! Bounds that are part of the replicated state.

use serde::{Deserialize, Serialize};

/// Bounds of what is replicated beside the store. They decide what a command answers, so they are
/// the same at every process: part of the state, stored with its checkpoints, changed through the
/// log only. (The [`Bounds`](super::Bounds) of a process are its own.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicatedBounds {
    /// Instances of consensus. A decision is kept for ever.
    pub instances: u64,
    /// Bytes of one decision.
    pub decision_bytes: u64,
    /// Bytes of all decisions.
    pub decisions_bytes: u64,
    /// Transactions that are not finished: undecided, or not acknowledged by every participant.
    pub transactions: u64,
    /// Participants of one transaction.
    pub participants: u64,
    /// Finished transactions that are remembered.
    pub finished: u64,
    /// Total-order topics.
    pub topics: u64,
    /// Publications that a topic retains.
    pub topic_entries: u64,
    /// Bytes of publications that a topic retains, if they are more than one.
    pub topic_bytes: u64,
    /// Bytes of one publication.
    pub publication_bytes: u64,
    /// Publishers whose last publication is remembered.
    pub publishers: u64,
}

/// The longest name of an instance, a transaction, a participant or a topic, in bytes.
pub const MAX_NAME: usize = 256;
/// Subscribers of total-order topics, at most. This and the next are no [`ReplicatedBounds`]: those
/// are stored without names, so that one more would make what was stored before unreadable.
pub const MAX_SUBSCRIBERS: usize = 1024;
/// Publications that such a subscriber is delivered and has not acknowledged, at most.
pub const MAX_UNACKNOWLEDGED: u64 = 256;
// What all of them have acknowledged fits in the memory of a small machine, each position in 32 bytes.
const _: () = assert!(MAX_SUBSCRIBERS as u64 * MAX_UNACKNOWLEDGED * 32 <= 16 << 20);
/// The longest explanation of a vote, in bytes.
pub const MAX_TEXT: usize = 1024;

impl Default for ReplicatedBounds {
    fn default() -> Self {
        Self::MOST
    }
}

impl ReplicatedBounds {
    /// What they are at first, and the most that can be asked for: all of it together fits in the
    /// memory of a small machine.
    pub const MOST: Self = Self {
        instances: 65_536,
        decision_bytes: 64 << 10,
        decisions_bytes: 128 << 20,
        transactions: 4096,
        participants: 64,
        finished: 16_384,
        topics: 256,
        topic_entries: 8192,
        topic_bytes: 2 << 20,
        publication_bytes: 1 << 20,
        publishers: 4096,
    };

    /// These, but none above [`MOST`](Self::MOST), and one of each at least.
    pub fn clamped(self) -> Self {
        let most = Self::MOST;
        let within = |asked: u64, most: u64| asked.clamp(1, most);
        Self {
            instances: within(self.instances, most.instances),
            decision_bytes: within(self.decision_bytes, most.decision_bytes),
            decisions_bytes: within(self.decisions_bytes, most.decisions_bytes),
            transactions: within(self.transactions, most.transactions),
            participants: within(self.participants, most.participants),
            finished: within(self.finished, most.finished),
            topics: within(self.topics, most.topics),
            topic_entries: within(self.topic_entries, most.topic_entries),
            topic_bytes: within(self.topic_bytes, most.topic_bytes),
            publication_bytes: within(self.publication_bytes, most.publication_bytes),
            publishers: within(self.publishers, most.publishers),
        }
    }
}
