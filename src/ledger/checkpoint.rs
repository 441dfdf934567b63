//! Checkpoints: records that changed since the last one, as rows that are only ever added.
//!
//! Rows are numbered, and of the rows of a record the last one counts; a row without content says
//! that the record is gone. What is on disk between two checkpoints: the rows of the finished one,
//! all numbered below its end; among them superseded ones; and rows of the next checkpoint, all
//! beyond. Boot ignores the latter, and the next checkpoint deletes them before it writes: a row
//! that it would not write itself must not pass for its own.
//!
//! A superseded row goes only once the checkpoint is finished that supersedes it, the oldest first;
//! and the one that says that a record is gone goes in one batch with the last one of that record,
//! or the record would come back.

use super::machine::Ledger;
use super::meta::Meta;
use super::record::{Key, Row, digest};
use super::view::View;
use crate::broadcast::Piece;
use crate::kernel::{Mutant, RowKey};

/// What a step counts for a record or a row that it looks at, in bytes.
const LOOK: usize = 64;

/// Where a record is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Saved {
    /// The number of its row.
    pub row: u64,
    pub digest: u64,
}

/// A superseded row, and what says that its record is gone, if that does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Garbage {
    pub row: u64,
    pub gone: Option<u64>,
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Progress {
    frozen: View,
    /// Records that are still to be written.
    todo: Vec<Key>,
    /// Rows that it supersedes.
    superseded: Vec<Garbage>,
}

impl Ledger {
    /// Begins a checkpoint of the present state. None may be in progress.
    pub fn checkpoint_begin(&mut self) {
        assert!(self.progress.is_none(), "one checkpoint at a time");
        let frozen = self.now.clone();
        let todo = frozen.changed(&self.saved);
        self.progress = Some(Progress { frozen, todo, superseded: Vec::new() });
    }

    /// The next piece of the checkpoint in progress: some `budget` bytes of rows, one row more at
    /// most.
    pub fn checkpoint_step(&mut self, budget: usize) -> Piece {
        let mut piece = Piece::default();
        let looks = budget / LOOK + 1;
        if !self.leftover.is_empty() {
            // In a piece of their own: a later one writes rows in the same places.
            piece.deletes.extend(self.leftover.drain(self.leftover.len().saturating_sub(looks)..));
            return piece;
        }
        let mut progress = self.progress.take().expect("a checkpoint is in progress");
        let mut left = budget.max(1);
        while left > 0 && !self.held {
            let Some(Garbage { row, gone }) = self.garbage.pop_front() else { break };
            piece.deletes.extend([row].into_iter().chain(gone).map(|row| self.place(row)));
            left = left.saturating_sub(LOOK);
        }
        while left > 0 {
            let Some(key) = progress.todo.pop() else { break };
            let written = self.write(key, &mut progress, &mut piece);
            left = left.saturating_sub(LOOK + written);
        }
        if left == 0 {
            self.progress = Some(progress);
            return piece;
        }
        let Progress { frozen, superseded, .. } = progress;
        let (applied, bounds) = (frozen.end, frozen.bounds);
        // What changes while a checkpoint is written is left to the next one.
        self.saved = match self.now.mutants.on(Mutant::CheckpointForgets) {
            true => self.now.clone(),
            false => frozen,
        };
        self.garbage.extend(superseded);
        let Self { generation, next, digest, .. } = *self;
        piece.finished = Some(Meta { generation, next, applied, digest, bounds }.encode());
        piece
    }

    /// Writes a record as it was when the checkpoint began. Returns the bytes that this takes.
    fn write(&mut self, key: Key, progress: &mut Progress, piece: &mut Piece) -> usize {
        let content = progress.frozen.content(&key);
        let before = self.rows.remove(&key);
        if let Some(before) = before {
            self.digest = self.digest.wrapping_sub(before.digest);
        } else if content.is_none() {
            return 0;
        }
        let number = self.next;
        self.next += 1;
        let gone = content.is_none().then_some(number);
        progress.superseded.extend(before.map(|before| Garbage { row: before.row, gone }));
        let row = Row { key, content };
        let bytes = row.encode();
        if gone.is_none() {
            let digest = digest(&bytes);
            self.digest = self.digest.wrapping_add(digest);
            self.rows.insert(row.key, Saved { row: number, digest });
        }
        let size = bytes.len();
        piece.puts.push((self.place(number), bytes));
        size
    }

    fn place(&self, row: u64) -> RowKey {
        RowKey { generation: self.generation, main: row, sub: 0 }
    }
}
