//! A turn: one reaction of the whole stack to what arrived.

use super::disk::{Batch, RowKey, Store, Var};
use super::frame::{Frame, Message, Stamp, Unsealed};
use super::hits::{Bound, Hits};
use super::process::ProcessId;
use bytes::Bytes;

/// A frame and where it goes. A frame to the process itself comes back as an event like any other:
/// that is how a module learns that its own stores are durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The receiver.
    pub to: ProcessId,
    /// The frame.
    pub frame: Frame,
}

/// A message that may leave before the stores of its turn are durable. There are two, and each
/// stands beside the execution that shows why it is safe: the leader's proposal, and heartbeats.
pub trait Early: Message {}

/// One reaction of the whole stack: it gathers stores and exposures, and lets go of neither. Only
/// the [`Journal`](super::Journal) opens one and closes it.
#[derive(Debug, Default)]
pub struct Turn {
    pub(super) batch: Batch,
    pub(super) frames: Letters,
    pub(super) early: Letters,
    pub(super) hits: Hits,
    pub(super) full: bool,
    pub(super) shows_commits: bool,
}

/// What a turn sends, in order: it is sealed when the turn closes, since only then is it known on
/// which commit it depends.
#[derive(Debug, Default)]
pub(super) struct Letters(Vec<(Vec<ProcessId>, Unsealed)>);

impl Letters {
    fn add<M: Message>(&mut self, to: impl IntoIterator<Item = ProcessId>, message: &M) {
        self.0.push((to.into_iter().collect(), Unsealed::new(message)));
    }

    /// The frames, each encoded once for all its receivers.
    pub(super) fn seal(self, stamp: Stamp) -> Vec<Outgoing> {
        let mut sealed = Vec::with_capacity(self.0.len());
        for (to, message) in self.0 {
            let frame = message.seal(stamp);
            sealed.extend(to.into_iter().map(|to| Outgoing { to, frame: frame.clone() }));
        }
        sealed
    }
}

impl Turn {
    pub(super) fn open(full: bool) -> Self {
        Self { full, ..Self::default() }
    }

    /// Whether so much waits for the disk that nothing more is to be taken: what comes from others is as
    /// good as lost, and a request is refused.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// From the commit of this turn on frames say how far the disk has got: somebody would know it
    /// again.
    pub fn show_commits(&mut self) {
        self.shows_commits = true;
    }

    /// Says that a bound was hit.
    pub fn hit(&mut self, bound: Bound) {
        self.hits.hit(bound);
    }

    /// Says which bounds were hit where no turn was at hand.
    pub fn collect(&mut self, hits: Hits) {
        self.hits += hits;
    }

    /// Sends a message, once everything stored up to the end of this turn is durable.
    pub fn send<M: Message>(&mut self, to: ProcessId, message: &M) {
        self.frames.add([to], message);
    }

    /// Sends one message to several processes, encoded once.
    pub fn send_all<M: Message>(&mut self, to: impl IntoIterator<Item = ProcessId>, message: &M) {
        self.frames.add(to, message);
    }

    /// Sends a message of one of the two kinds that need not wait for the sync.
    pub fn send_early<M: Early>(&mut self, to: impl IntoIterator<Item = ProcessId>, message: &M) {
        self.early.add(to, message);
    }

    /// Whether it stores anything so far.
    pub fn stores(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Stores an encoded variable whose owner keeps it in another form than [`super::Logged`].
    pub fn put_var(&mut self, var: impl Into<Var>, value: Bytes) {
        self.batch.push(Store::Put { var: var.into(), value });
    }

    /// Removes a variable.
    pub fn remove_var(&mut self, var: impl Into<Var>) {
        self.batch.push(Store::Remove { var: var.into() });
    }

    /// Stores a row of state.
    pub fn put_row(&mut self, key: RowKey, value: Bytes) {
        self.batch.push(Store::PutRow { key, value });
    }

    /// Deletes a row of state.
    pub fn delete_row(&mut self, key: RowKey) {
        self.batch.push(Store::DeleteRow { key });
    }

    /// Deletes up to `limit` rows that belong to other generations than `keep`.
    pub fn drop_other_generations(&mut self, keep: u32, limit: u32) {
        self.batch.push(Store::DropOtherGenerations { keep, limit });
    }
}
