//! Checkpoints of a replica: when to write one, and what is stored with it.

use crate::broadcast::{Filter, Load, StateMachine};
use crate::kernel::{Bound, Config, RowKey, Stored, Ticks, Turn, Undecodable};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The stored variable that names the last finished checkpoint: replacing it is the flip.
pub const VAR: &str = "checkpoint";

/// What is stored with a checkpoint, beside the rows of the state machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// The entries that it covers.
    pub applied: u64,
    /// The hash of those entries.
    pub hash: u64,
    /// The generation of its rows.
    pub generation: u32,
    /// Commands executed, as of `applied`.
    pub filter: Filter,
    /// What the state machine says of it.
    pub machine: Bytes,
}

impl CheckpointMeta {
    /// As it is stored and sent.
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("checkpoints are plain data, which always encodes").into()
    }

    /// As it was stored or sent.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// The last finished checkpoint, if there is one.
    pub fn recover(stored: &Stored) -> Result<Option<Self>, Undecodable> {
        let decode = |bytes| Self::decode(bytes).ok_or_else(|| Undecodable(VAR.into()));
        stored.vars.get(VAR).map(decode).transpose()
    }
}

/// Loads a replica's state: the state machine's loader, and the filter beside it.
#[derive(Debug)]
pub struct ReplicaLoader<L> {
    /// The checkpoint.
    pub meta: CheckpointMeta,
    /// The state machine's.
    pub machine: L,
}

impl<L: Load> Load for ReplicaLoader<L> {
    fn begin(meta: &Bytes) -> Option<Self> {
        let meta = CheckpointMeta::decode(meta)?;
        let machine = L::begin(&meta.machine)?;
        Some(Self { meta, machine })
    }

    fn rebase(meta: &Bytes, generation: u32) -> Option<Bytes> {
        let mut meta = CheckpointMeta::decode(meta)?;
        meta.generation = generation;
        meta.machine = L::rebase(&meta.machine, generation)?;
        Some(meta.encode())
    }

    fn row(&mut self, key: RowKey, value: Bytes) -> bool {
        self.machine.row(key, value)
    }
}

/// The checkpoint that is being written, and the last one that was finished.
#[derive(Debug)]
pub struct Checkpoints {
    config: Config,
    /// The last finished one; nothing before the first.
    pub last: Option<CheckpointMeta>,
    /// Which one that is: they are counted from the boot on.
    pub number: u64,
    /// Being written: what it covers, by length and hash.
    writing: Option<((u64, u64), Filter)>,
    /// Bytes of the entries applied since the last one began.
    bytes: usize,
    /// Of these, those that were applied when its last piece was written.
    paced: usize,
    /// When the last one was finished.
    finished: Ticks,
}

impl Checkpoints {
    /// Goes on from the last finished one; one that was being written is forgotten.
    pub fn start(config: Config, last: Option<CheckpointMeta>) -> Self {
        Self { config, last, number: 0, writing: None, bytes: 0, paced: 0, finished: 0 }
    }

    /// The entries that the last finished checkpoint covers.
    pub fn applied(&self) -> u64 {
        self.last.as_ref().map_or(0, |c| c.applied)
    }

    /// Whether one is being written.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// An entry of so many bytes was applied.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Whether it is time for one: much was applied since the last, or one would give space back
    /// (`gives_back`), though nothing is applied any more. Which bound says so, if one does.
    pub fn due(&self, applied: u64, gives_back: bool, now: Ticks) -> Option<Option<Bound>> {
        let bounds = &self.config.bounds;
        let behind = applied - self.applied();
        let rested = now - self.finished >= REST * self.config.timing.election;
        if self.writing.is_some() {
            None
        } else if behind >= bounds.checkpoint_entries {
            Some(Some(Bound::CheckpointEntries))
        } else if behind > 0 && self.bytes >= bounds.checkpoint_bytes {
            Some(Some(Bound::CheckpointBytes))
        } else {
            (gives_back && rested).then_some(None)
        }
    }

    /// Begins one that covers the log prefix of this length and hash.
    pub fn begin<M: StateMachine>(&mut self, machine: &mut M, prefix: (u64, u64), filter: &Filter) {
        machine.begin_checkpoint();
        self.writing = Some((prefix, filter.clone()));
        (self.bytes, self.paced) = (0, 0);
    }

    /// Writes a piece; says whether that finished it.
    ///
    /// A piece takes twice what was applied since the one before, at least: else those who write
    /// faster than one step a tick would leave every checkpoint, and with it the log, longer than the
    /// one before.
    pub fn step<M: StateMachine>(&mut self, machine: &mut M, now: Ticks, turn: &mut Turn) -> bool {
        let Some((prefix, filter)) = self.writing.take() else { return false };
        let bounds = &self.config.bounds;
        let pace = (2 * (self.bytes - self.paced)).min(bounds.undecided_bytes);
        self.paced = self.bytes;
        let piece = machine.checkpoint_piece(bounds.checkpoint_step + pace);
        piece.puts.into_iter().for_each(|(key, value)| turn.put_row(key, value));
        piece.deletes.into_iter().for_each(|key| turn.delete_row(key));
        let Some(meta) = piece.finished else {
            self.writing = Some((prefix, filter));
            return false;
        };
        let ((applied, hash), generation) = (prefix, machine.generation());
        let meta = CheckpointMeta { applied, hash, generation, filter, machine: meta };
        turn.put_var(VAR, meta.encode());
        self.last = Some(meta);
        self.number += 1;
        self.finished = now;
        true
    }

    /// A snapshot takes the place of the last one, and of one that was being written.
    pub fn install(&mut self, meta: CheckpointMeta, turn: &mut Turn) {
        turn.put_var(VAR, meta.encode());
        self.last = Some(meta);
        self.number += 1;
        self.writing = None;
        (self.bytes, self.paced) = (0, 0);
    }
}

/// Election timeouts between two checkpoints that are only to give space back: each writes what is
/// not in rows, the sessions' replies above all, once more.
const REST: Ticks = 4;
