//! The replicated state machine: what the log is for.
//!
//! Request: Execute(command), at any process. Output: the reply, at the process that was asked; the
//! state, as an immutable view, at every process.
//!
//! Properties, of the stack that runs one: *agreement*: equal prefixes of the log give equal states and
//! equal replies; *termination*: a command of a process that stays up is answered, while a majority is
//! correct.
//!
//! Source: Schneider, *Implementing Fault-Tolerant Services Using the State Machine Approach: A
//! Tutorial*, ACM Computing Surveys, 1990; on the total-order broadcast of Cachin, Guerraoui, Rodrigues,
//! Section 6.1.
//!
//! **Durable first**: the log entry, before it is executed anywhere. **On recovery** the state is that
//! of the last finished checkpoint, and the log from there on is executed again.

use super::catch_up::Load;
use crate::kernel::{Config, Hits, Memory, Row, RowKey};
use bytes::Bytes;
use std::fmt::Debug;

/// A deterministic state machine. Every process applies the same commands in the same order, and
/// gets the same state and the same replies; nothing else may have an influence: no clock, no
/// randomness, no iteration order.
pub trait StateMachine: Sized {
    /// The answer to a command.
    type Reply: Clone + Debug;
    /// The state as of now, immutable and cheap to clone, for readers on other threads.
    type View: Clone + Debug;
    /// Builds the state from a checkpoint's rows.
    type Loader: Load;

    /// Executes the command at `index` of the log. Must not panic, whatever the bytes.
    fn apply(&mut self, index: u64, command: Bytes) -> Self::Reply;

    /// The same, at a process where nobody waits for the reply, which then need not be made.
    fn follow(&mut self, index: u64, command: Bytes) {
        let _ = self.apply(index, command);
    }

    /// The state as of now.
    fn view(&self) -> Self::View;

    /// A digest of the whole replicated state: of all that a later command, or a view, may depend on,
    /// and of nothing else. States after the same prefix of the log have the same one at every
    /// process, whether it executed all of the prefix or loaded a checkpoint of a part of it, and
    /// however far its housekeeping has come. Asked for every `bounds.digest_entries` entries: replicas
    /// compare them, and one that differs from a majority stops serving. So it should cost what
    /// changed since it was last asked for, not the state.
    fn digest(&mut self) -> u64;

    /// Begins a checkpoint of the state as of now, to be written piece by piece while later
    /// commands go on.
    fn begin_checkpoint(&mut self);

    /// The next piece of the checkpoint, of about `budget` bytes.
    fn checkpoint_piece(&mut self, budget: usize) -> Piece;

    /// Keeps every row of the finished checkpoint as it is, or ends that: a snapshot is being read
    /// from disk, row by row.
    fn hold_rows(&mut self, hold: bool);

    /// Whether space is short: then what [grows](Self::grows) goes into no log any more. It depends on
    /// the commands executed alone, like all of the state.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether a command may add to the state, whatever the state is.
    fn grows(_command: &Bytes) -> bool {
        false
    }

    /// Whether a checkpoint would give space back now, though little was executed since the last one:
    /// then one is written soon.
    fn gives_back(&self) -> bool {
        false
    }

    /// The generation of the rows on disk.
    fn generation(&self) -> u32;

    /// One above the greatest [`RowKey::main`] of a finished checkpoint.
    fn checkpoint_end(meta: &Bytes) -> u64;

    /// The state that was loaded; nothing where rows and checkpoint contradict each other.
    fn load(loader: Self::Loader) -> Option<Self>;

    /// A loader for the state before any checkpoint: there may be rows of one that was never
    /// finished.
    fn empty_loader() -> Self::Loader;

    /// A bounded piece of housekeeping that nobody can see; called at every tick.
    fn maintain(&mut self);

    /// Takes what the process is told at boot: bounds, and the bug put in on purpose, if it is one of
    /// the state machine's. Called once, right after it was loaded.
    fn configure(&mut self, _config: &Config) {}

    /// What it holds in memory, and the most that it may; the state itself is not bounded here.
    fn memory(&self) -> Vec<Memory> {
        Vec::new()
    }

    /// Which bounds commands and housekeeping have hit since this was last asked.
    fn take_hits(&mut self) -> Hits {
        Hits::default()
    }
}

/// A piece of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    /// Rows to write.
    pub puts: Vec<Row>,
    /// Rows that no longer count.
    pub deletes: Vec<RowKey>,
    /// With the last piece: what the checkpoint is, stored in the same batch.
    pub finished: Option<Bytes>,
}
