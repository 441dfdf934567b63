//! Checkpoints: the changes since the last one as rows, in pieces, beside the commands.
//!
//! What is on disk between two checkpoints: the rows of the finished one, all of whose versions are
//! at or below its revision; and rows of the next one, all beyond. Boot ignores the latter, and the
//! next checkpoint deletes them before it writes: a row that it would not write itself must not
//! pass for its own. The last piece carries the metadata, and is one batch with what it says.

use super::Machine;
use super::meta::Fixed;
use super::revision::Revision;
use super::row::Writer;
use super::scrub::Cleaning;
use crate::kernel::{Bound, Mutant, Row, RowKey};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a step counts for each version or row that it looks at, in bytes.
const LOOK: usize = 64;

/// The stores that one step of a checkpoint asks for: one batch, or part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// There is more to do.
    More {
        /// Rows to write, or to overwrite.
        puts: Vec<Row>,
        /// Rows to delete; none is among `puts`.
        deletes: Vec<RowKey>,
    },
    /// The last one: with the batch that stores it, the checkpoint is the one to boot from, and the
    /// log below [`Machine::checkpointed`] may be trimmed.
    Finished {
        /// Rows to write, or to overwrite.
        puts: Vec<Row>,
        /// Rows to delete; none is among `puts`.
        deletes: Vec<RowKey>,
        /// What [`Loader::new`](super::Loader::new) takes; stored in the same batch.
        meta: Bytes,
    },
}

/// What a step collects.
#[derive(Default)]
struct Stores {
    puts: BTreeMap<RowKey, Bytes>,
    deletes: Vec<RowKey>,
}

/// A checkpoint that is being written.
pub(super) struct Progress {
    fixed: Fixed,
    /// The versions up to this one are written.
    cursor: Revision,
    /// The row that is being filled.
    row: Writer,
    /// Changes since the row's first one, those that are not written included.
    span: usize,
    /// Bytes that were not in a checkpoint when this one began.
    unsaved: u64,
    /// What looking for dead versions and cleaning rows has cost so far.
    cleaned: usize,
}

impl Machine {
    /// Begins a checkpoint of the present state; O(1). None may be in progress.
    pub fn checkpoint_begin(&mut self) {
        assert!(self.progress.is_none(), "one checkpoint at a time");
        let now = &self.now;
        let fixed = Fixed {
            generation: now.space.generation,
            applied: now.applied,
            revision: now.revision,
            compacted: now.compacted,
            settled: self.scrub.settled,
            digest: self.scrub.digest(&now.space),
            alarms: now.alarms.clone(),
            sessions: self.sessions.table.clone(),
        };
        let cursor = Revision::end_of(now.space.saved);
        let (row, unsaved) = (Writer::new(), now.space.unsaved);
        self.progress = Some(Progress { fixed, cursor, row, span: 0, unsaved, cleaned: 0 });
    }

    /// Whether a checkpoint is in progress.
    pub fn checkpointing(&self) -> bool {
        self.progress.is_some()
    }

    /// Bytes of keys and values that no finished checkpoint holds: when they are many, it is time
    /// for one.
    pub fn unsaved_bytes(&self) -> u64 {
        self.now.space.unsaved
    }

    /// The length of the log prefix that the last finished checkpoint covers.
    pub fn checkpointed(&self) -> u64 {
        self.checkpointed
    }

    /// Whether a checkpoint would give space back now: of compacted versions, a step at a time, or of
    /// the log, while space is short.
    pub fn gives_back(&self) -> bool {
        let compacted = self.now.compacted > 0 && self.scrub.is_behind(Revision::end_of(self.now.compacted));
        let short = self.now.is_full() && self.checkpointed < self.now.applied;
        compacted && !self.held || short
    }

    /// Keeps every row as it is, or ends that: while a snapshot is read from disk, row by row, no
    /// row of it may be deleted or rewritten.
    pub fn hold_rows(&mut self, hold: bool) {
        self.held = hold;
    }

    /// The next piece of the checkpoint in progress: some `budget` bytes of rows, one row more at
    /// most, and a bounded amount of work. Pieces are stored in order. What is read from the machine
    /// after a piece must be exposed only once that piece is durable.
    pub fn checkpoint_step(&mut self, budget: usize) -> Piece {
        let mut progress = self.progress.take().expect("a checkpoint is in progress");
        let mut stores = Stores::default();
        if self.advance(&mut progress, budget, &mut stores) {
            let Progress { fixed, unsaved, .. } = progress;
            self.now.space.saved = fixed.revision;
            self.now.space.unsaved -= unsaved;
            self.checkpointed = fixed.applied;
            self.scrub.finished(fixed.settled);
            let Stores { puts, deletes } = stores;
            Piece::Finished { puts: puts.into_iter().collect(), deletes, meta: fixed.meta().encode() }
        } else {
            self.progress = Some(progress);
            Piece::More { puts: stores.puts.into_iter().collect(), deletes: stores.deletes }
        }
    }

    /// Goes on with a checkpoint; true when all of it is written.
    ///
    /// First it cleans, as much as between two checkpoints is logged, and what remains the next one
    /// cleans: the log cannot be trimmed before it is finished, and many versions may be compacted.
    fn advance(&mut self, progress: &mut Progress, budget: usize, stores: &mut Stores) -> bool {
        if !self.leftover.is_empty() {
            // In a piece of their own: a later one may write a row in the same place.
            let from = self.leftover.len().saturating_sub(budget / LOOK + 1);
            stores.deletes.extend(self.leftover.drain(from..));
            return false;
        }
        let mut left = budget;
        let enough = match self.mutants.on(Mutant::CleanedWhole) {
            true => usize::MAX,
            false => self.bounds.checkpoint_bytes,
        };
        if progress.cleaned < enough {
            let more = self.scrub(left / LOOK / 2 + 1) || !self.clean(&mut left, stores);
            progress.cleaned += if more { budget } else { budget - left };
            if more && progress.cleaned < enough {
                return false;
            }
        }
        self.write(progress, left, stores)
    }

    /// Cleans rows of compacted versions; true when no more are marked.
    fn clean(&mut self, left: &mut usize, stores: &mut Stores) -> bool {
        while !self.held {
            if *left == 0 {
                return false;
            }
            let Some((looked, cleaning)) = self.scrub.clean(&mut self.now.space) else { return true };
            // To forget a version takes some searches more than to write it.
            let mut cost = (3 * looked + 1) * LOOK;
            match cleaning {
                None => {}
                Some(Cleaning::Delete(key)) => {
                    // It may have been rewritten just before, and then its last versions, which
                    // waited for others, have gone as well.
                    stores.puts.remove(&key);
                    stores.deletes.push(key);
                }
                Some(Cleaning::Rewrite((key, row))) => {
                    cost += row.len();
                    stores.puts.insert(key, row);
                }
            }
            *left = left.saturating_sub(cost);
        }
        true
    }

    /// Writes versions into rows; true when it has come to the revision of the checkpoint.
    fn write(&mut self, progress: &mut Progress, budget: usize, stores: &mut Stores) -> bool {
        let Progress { fixed, cursor, row, span, .. } = progress;
        let space = &mut self.now.space;
        let mut written = Vec::new();
        let mut flush = |row: &mut Writer| written.extend(std::mem::replace(row, Writer::new()).finish());
        let mut left = budget;
        let mut done = true;
        for (at, key) in space.changes(*cursor, Revision::end_of(fixed.revision)) {
            if left == 0 {
                done = false;
                break;
            }
            *cursor = at;
            *span += 1;
            left = left.saturating_sub(LOOK);
            if *span >= self.bounds.checkpoint_span {
                self.hits.hit(Bound::CheckpointSpan);
                flush(row);
                *span = 0;
            }
            let (version, newer) = space.and_newer(key, at);
            if newer.is_some_and(|(newer, _)| newer <= fixed.settled) {
                continue;
            }
            let value = match version.size {
                0 => &[][..],
                _ => {
                    space.value_in_memory(key, at).expect("a value stays in memory until a checkpoint has it")
                }
            };
            left = left.saturating_sub(value.len());
            if !row.push(at, key, version, value) {
                flush(row);
                *span = 0;
                assert!(row.push(at, key, version, value), "an empty row has room");
            }
        }
        if done {
            flush(row);
        }
        for (first, last, bytes) in written {
            space.set_row(first, last, &bytes);
            stores.puts.insert(first.row_key(space.generation), bytes);
        }
        done
    }
}
