//! Stable storage as the modules see it: batches of stores, committed atomically, read back whole
//! at recovery.

use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use thiserror::Error;

/// The name of a small stored variable, `component/variable`: under 128 bytes.
pub type Var = Cow<'static, str>;

/// A named log. Entries of a log are numbered from 0 and keep their number for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId(pub u8);

impl LogId {
    /// The replicated log.
    pub const REPLICATED: LogId = LogId(0);
    /// Messages that a logged perfect link has accepted and not got rid of.
    pub const OUTBOX: LogId = LogId(1);
    /// Messages that a uniform reliable broadcast relays.
    pub const RELAYED: LogId = LogId(2);
    /// Deliveries, of links and broadcasts, for the layer above to read from its own cursor.
    pub const DELIVERIES: LogId = LogId(3);
}

/// The place of a row of state: rows are ordered by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowKey {
    /// Which copy of the state the row belongs to: a snapshot that arrives is staged in a
    /// generation of its own.
    pub generation: u32,
    /// The revision (or another number that only grows).
    pub main: u64,
    /// The position within the revision.
    pub sub: u32,
}

/// A row of state and its place.
pub type Row = (RowKey, Bytes);

/// One change of stable storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// Sets a variable.
    Put {
        /// Its name.
        var: Var,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a variable; nothing happens when there is none.
    Remove {
        /// Its name.
        var: Var,
    },
    /// Appends entries at the end of a log; `first` is the log's length before.
    Append {
        /// Which log.
        log: LogId,
        /// The index of the first entry.
        first: u64,
        /// The entries.
        entries: Vec<Bytes>,
    },
    /// Drops the entries at and above `len`.
    TruncateSuffix {
        /// Which log.
        log: LogId,
        /// The length of the log afterwards.
        len: u64,
    },
    /// Drops the entries below `before`; the numbers of the others stay.
    TruncatePrefix {
        /// Which log.
        log: LogId,
        /// The first index that stays.
        before: u64,
    },
    /// Drops every entry; the next one appended has the index `first`.
    Reset {
        /// Which log.
        log: LogId,
        /// The index of the next entry.
        first: u64,
    },
    /// Writes a row of state.
    PutRow {
        /// Its place.
        key: RowKey,
        /// Its content.
        value: Bytes,
    },
    /// Deletes a row of state; nothing happens when there is none.
    DeleteRow {
        /// Its place.
        key: RowKey,
    },
    /// Deletes up to `limit` of the rows of every generation but one.
    DropOtherGenerations {
        /// The generation that stays.
        keep: u32,
        /// The largest number of rows to delete.
        limit: u32,
    },
}

/// An atomic list of stores: after a crash all of them are there, or none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    stores: Vec<Store>,
    vote: bool,
    /// How many of the stores are hints.
    hints: usize,
}

impl Batch {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    /// The stores, in the order in which they apply.
    pub fn stores(&self) -> &[Store] {
        &self.stores
    }

    /// The bytes that it takes in memory, and how many things they are.
    pub(super) fn size(&self) -> (usize, usize) {
        let of = |store: &Store| match store {
            Store::Put { value, .. } | Store::PutRow { value, .. } => (1, value.len()),
            Store::Append { entries, .. } => (1 + entries.len(), entries.iter().map(Bytes::len).sum()),
            Store::Remove { .. }
            | Store::TruncateSuffix { .. }
            | Store::TruncatePrefix { .. }
            | Store::Reset { .. }
            | Store::DeleteRow { .. }
            | Store::DropOtherGenerations { .. } => (1, 0),
        };
        self.stores.iter().map(of).fold((0, 0), |(n, bytes), (m, more)| (n + m, bytes + more))
    }

    /// Whether the batch carries a vote (an incarnation, a promise, a new accepted ballot): its
    /// commit returns only when the witness holds it too.
    pub fn is_vote(&self) -> bool {
        self.vote
    }

    /// For implementations of [`Disk`] and their tests: a batch of the given stores. The modules
    /// of a stack have no use for it: only [`super::Logged`] state reaches a turn's batch.
    pub fn of(stores: Vec<Store>, vote: bool) -> Self {
        Self { stores, vote, hints: 0 }
    }

    /// Whether there is something to store that others may be told of, beside hints.
    pub(super) fn has_facts(&self) -> bool {
        self.stores.len() > self.hints
    }

    pub(super) fn push(&mut self, store: Store) {
        self.stores.push(store);
    }

    pub(super) fn push_hint(&mut self, store: Store) {
        self.stores.push(store);
        self.hints += 1;
    }

    pub(super) fn mark_vote(&mut self) {
        self.vote = true;
    }

    pub(super) fn extend(&mut self, later: Batch) {
        self.stores.extend(later.stores);
        self.vote |= later.vote;
        self.hints += later.hints;
    }
}

/// What a log held when the process recovered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredLog {
    /// The index of the first entry.
    pub first: u64,
    /// The entries, without gaps.
    pub entries: Vec<Bytes>,
}

/// Everything that a process finds in stable storage when it recovers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// The variables.
    pub vars: BTreeMap<Var, Bytes>,
    /// The logs.
    pub logs: BTreeMap<LogId, StoredLog>,
    /// The rows of state, of every generation, in order.
    pub rows: Vec<Row>,
    /// The number of the last commit: each commit of a disk has one more than the one before.
    pub commits: u64,
}

/// Why stable storage failed. No failure is ever retried: after a failed sync the operating system
/// may have dropped the very pages that were to be made durable. The replica halts, and recovery
/// is the only way back.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DiskError {
    /// A write or a sync failed.
    #[error("cannot write to stable storage: {0}; the replica halts, restart it once the disk is well")]
    Failed(String),
    /// The disk is full.
    #[error("the disk is full: {0}; the replica halts, free some space and restart it")]
    Full(String),
    /// What is stored contradicts itself.
    #[error("stable storage is damaged: {0}")]
    Damaged(String),
    /// Simulation only: the process crashed inside the call.
    #[error("the process crashed")]
    Crashed,
}

/// Stable storage. There are two: sled, and the simulated disk.
pub trait Disk: Send {
    /// Makes a batch durable, atomically. When it returns, the batch survives a power cut; when it
    /// fails, nobody knows, and nothing may be committed to this disk again.
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError>;
}

/// Reads rows of state, off the core, from a checkpoint that is durable.
pub trait Rows: Send + Sync {
    /// One row, if it is there.
    fn row(&self, key: RowKey) -> Result<Option<Bytes>, DiskError>;

    /// Rows of one generation from `from` on and before revision `end`, in order, stopping once
    /// `max_bytes` are exceeded; at least one row where there is one.
    fn scan(&self, from: RowKey, end: u64, max_bytes: usize) -> Result<Vec<Row>, DiskError>;
}
