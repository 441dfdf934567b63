//! Bounds that are part of the replicated state.

use serde::{Deserialize, Serialize};

/// Bounds of what is replicated beside the store. They decide what a command answers, so they are
/// the same at every process: part of the state, stored with its checkpoints, changed through the
/// log only. (Those of subscribers are [`SharedBounds`](super::SharedBounds): these here are stored
/// without names, so that one more would make what was stored before unreadable.)
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

/// Bounds that are to change; those that are not there stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // each is what it is in ReplicatedBounds
pub struct BoundChanges {
    pub instances: Option<u64>,
    pub decision_bytes: Option<u64>,
    pub decisions_bytes: Option<u64>,
    pub transactions: Option<u64>,
    pub participants: Option<u64>,
    pub finished: Option<u64>,
    pub topics: Option<u64>,
    pub topic_entries: Option<u64>,
    pub topic_bytes: Option<u64>,
    pub publication_bytes: Option<u64>,
    pub publishers: Option<u64>,
}

impl From<ReplicatedBounds> for BoundChanges {
    /// To all of these.
    fn from(bounds: ReplicatedBounds) -> Self {
        Self {
            instances: Some(bounds.instances),
            decision_bytes: Some(bounds.decision_bytes),
            decisions_bytes: Some(bounds.decisions_bytes),
            transactions: Some(bounds.transactions),
            participants: Some(bounds.participants),
            finished: Some(bounds.finished),
            topics: Some(bounds.topics),
            topic_entries: Some(bounds.topic_entries),
            topic_bytes: Some(bounds.topic_bytes),
            publication_bytes: Some(bounds.publication_bytes),
            publishers: Some(bounds.publishers),
        }
    }
}

/// The longest name of an instance, a transaction, a participant or a topic, in bytes.
pub const MAX_NAME: usize = 256;
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

    /// These, with some of them changed, as far as they can be.
    pub fn with(self, changes: &BoundChanges) -> Self {
        Self {
            instances: changes.instances.unwrap_or(self.instances),
            decision_bytes: changes.decision_bytes.unwrap_or(self.decision_bytes),
            decisions_bytes: changes.decisions_bytes.unwrap_or(self.decisions_bytes),
            transactions: changes.transactions.unwrap_or(self.transactions),
            participants: changes.participants.unwrap_or(self.participants),
            finished: changes.finished.unwrap_or(self.finished),
            topics: changes.topics.unwrap_or(self.topics),
            topic_entries: changes.topic_entries.unwrap_or(self.topic_entries),
            topic_bytes: changes.topic_bytes.unwrap_or(self.topic_bytes),
            publication_bytes: changes.publication_bytes.unwrap_or(self.publication_bytes),
            publishers: changes.publishers.unwrap_or(self.publishers),
        }
        .clamped()
    }

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
