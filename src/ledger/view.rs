//! Views: the state after a prefix of the log, for readers on their own threads.

use crate::atomic_commit::{Outcome, Status, Transactions};
use crate::broadcast::{FellOff, Publication, PublicationError, Publications, Subscribers};
use crate::consensus::Instances;
use crate::kernel::{Account, MAX_NAME, MAX_TEXT, Memory, Mutants, ReplicatedBounds, SLOT, SharedBounds};
use bytes::Bytes;
use std::sync::Arc;

/// An immutable state of the ledger. Cloning is O(1): views share their structure with each other
/// and with the state machine.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct View {
    pub(super) instances: Instances,
    pub(super) transactions: Transactions,
    pub(super) publications: Publications,
    pub(super) subscribers: Subscribers,
    pub(super) bounds: ReplicatedBounds,
    /// One past the last entry of the log that was a command of the ledger.
    pub(super) end: u64,
    /// Bugs put in on purpose.
    pub(super) mutants: Mutants,
}

impl View {
    /// Everything in it: decisions, transactions that are under way or finished, what topics retain (the
    /// last publication in any case), publishers, and subscribers with what they have stopped.
    pub(super) fn memory(&self, shared: &SharedBounds) -> Memory {
        let b = self.bounds;
        let named = SLOT as u64 + MAX_NAME as u64;
        let transaction = named + b.participants * (named + MAX_TEXT as u64);
        let topic = named + b.topic_entries * SLOT as u64 + b.topic_bytes + b.publication_bytes;
        let most = b.instances * named
            + b.decisions_bytes
            + (b.transactions + b.finished) * transaction
            + b.topics * topic
            + b.publishers * SLOT as u64
            + shared.subscribers as u64 * (2 * named + shared.unacknowledged * SLOT as u64);
        let transactions = self.transactions.table();
        let count = self.instances.len()
            + transactions.values().map(|t| 1 + t.participants().len()).sum::<usize>()
            + self.publications.topics().len()
            + self.publications.retained().len()
            + self.publications.publishers().len()
            + self.subscribers.places().values().map(|place| 1 + place.stopped.len()).sum::<usize>();
        let bytes = self.instances.decisions().values().map(Bytes::len).sum::<usize>()
            + self.publications.retained().values().map(Bytes::len).sum::<usize>();
        Memory::new(Account::Ledger, (count, bytes), most as usize)
    }

    /// The decision of an instance, once there is one.
    pub fn decision(&self, instance: &str) -> Option<Bytes> {
        self.instances.decision(instance).cloned()
    }

    /// A transaction as it stands; nothing where it has not begun, or finished long ago.
    pub fn transaction(&self, name: &str) -> Option<Status> {
        self.transactions.status(name)
    }

    /// Outcomes that a participant has not acknowledged, the oldest first.
    pub fn owed(&self, participant: &str) -> impl Iterator<Item = (Arc<str>, Outcome)> {
        self.transactions.owed(participant)
    }

    /// Every transaction.
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Every decision.
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Every topic.
    pub fn publications(&self) -> &Publications {
        &self.publications
    }

    /// Publications of a topic from a cursor on: at most so many and, but for the first, so many
    /// bytes; none, where nobody has published yet.
    ///
    /// # Errors
    /// When the cursor fell off, or is ahead.
    pub fn read(
        &self,
        topic: &str,
        cursor: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<Publication>, PublicationError> {
        self.publications.read(topic, cursor, self.end, (max_entries, max_bytes), self.mutants)
    }

    /// Every subscriber.
    pub fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    /// What a subscriber is to be delivered, in order, or that it fell off; nothing, where there is no
    /// such subscriber. That nothing of it is stopped anywhere holds for a view behind a read barrier
    /// only.
    pub fn pending(&self, subscriber: &str) -> Option<Result<Vec<Publication>, FellOff>> {
        self.subscribers.pending(subscriber, &self.publications, self.mutants)
    }

    /// The first cursor for which everything of a topic is retained.
    pub fn oldest(&self, topic: &str) -> u64 {
        self.publications.oldest(topic)
    }

    /// The cursor of what is published from now on.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The bounds that commands keep to.
    pub fn bounds(&self) -> ReplicatedBounds {
        self.bounds
    }
}
