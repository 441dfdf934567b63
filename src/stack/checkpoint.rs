//! Checkpoints of a replica: when to write one, and what is stored with it.

use crate::broadcast::{Filter, Load, StateMachine};
use crate::kernel::{Config, RowKey, Stored, Turn, Undecodable};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The stored variable that names the last finished checkpoint: replacing it is the flip.
pub const VAR: &str = "checkpoint";

/// What is stored with a checkpoint, beside the rows of the state machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// The entries that it covers.
    pub applied: u64,
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
    /// Being written: what it covers.
    writing: Option<(u64, Filter)>,
    bytes: usize,
}

impl Checkpoints {
    /// Goes on from the last finished one; one that was being written is forgotten.
    pub fn start(config: Config, last: Option<CheckpointMeta>) -> Self {
        Self { config, last, writing: None, bytes: 0 }
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

    /// Whether it is time for one.
    pub fn is_due(&self, applied: u64) -> bool {
        let bounds = &self.config.bounds;
        self.writing.is_none()
            && applied > self.applied()
            && (applied - self.applied() >= bounds.checkpoint_entries
                || self.bytes >= bounds.checkpoint_bytes)
    }

    /// Begins one that covers `applied` entries.
    pub fn begin<M: StateMachine>(&mut self, machine: &mut M, applied: u64, filter: &Filter) {
        machine.begin_checkpoint();
        self.writing = Some((applied, filter.clone()));
        self.bytes = 0;
    }

    /// Writes a piece; says whether that finished it.
    pub fn step<M: StateMachine>(&mut self, machine: &mut M, turn: &mut Turn) -> bool {
        let Some((applied, filter)) = self.writing.take() else { return false };
        let piece = machine.checkpoint_piece(self.config.bounds.checkpoint_step);
        piece.puts.into_iter().for_each(|(key, value)| turn.put_row(key, value));
        piece.deletes.into_iter().for_each(|key| turn.delete_row(key));
        let Some(meta) = piece.finished else {
            self.writing = Some((applied, filter));
            return false;
        };
        let meta = CheckpointMeta { applied, generation: machine.generation(), filter, machine: meta };
        turn.put_var(VAR, meta.encode());
        self.last = Some(meta);
        true
    }

    /// A snapshot takes the place of the last one, and of one that was being written.
    pub fn install(&mut self, meta: CheckpointMeta, turn: &mut Turn) {
        turn.put_var(VAR, meta.encode());
        self.last = Some(meta);
        self.writing = None;
        self.bytes = 0;
    }
}
