//! Giving back the space of compacted versions, a little at a time.
//!
//! Compaction takes effect at once; everything here is invisible to readers. Three things follow a
//! compaction, each at its own pace:
//!
//! 1. **Settling** walks the changes up to the compacted revision and takes what died out of the
//!    digest. A version is *dead under p* if a newer one of its key is at or below p, or if it is a
//!    tombstone at or below p. A checkpoint says under which p its digest counts.
//! 2. **Marking** walks the changes again, behind, up to the p of a checkpoint that is on disk (the
//!    last but two, for the sake of readers that still look for a row), and marks rows with dead
//!    versions.
//! 3. **Cleaning** deletes marked rows without survivors, and rewrites rows of few survivors, as
//!    part of a checkpoint's pieces.
//!
//! Invariant: *from any subset of the cleanings that are on disk, boot reads the same state.*
//! Whatever is removed is dead under the p of the checkpoint on disk, which boot drops anyway, and
//! which its digest does not count. And what remains and is dead is seen to be dead: the newest
//! version of its key at or below p is on disk as well. For a put that holds since it is alive; a
//! tombstone stays *until no older version of its key is left on disk*. Else: put k at 2 (row A),
//! delete k at 3 (row B), compact, delete row B, crash: k is back.

use super::keyspace::{Extent, Keyspace};
use super::revision::Revision;
use super::row::Writer;
use crate::kernel::{Row, RowKey};
use bytes::Bytes;
use std::collections::BTreeSet;

/// How far the removal of compacted versions has come.
#[derive(Default)]
pub(super) struct Scrub {
    /// The digest counts what is alive under this.
    pub settled: Revision,
    /// Sum of the hashes of the versions that are dead under `settled`.
    dead: u64,
    /// Rows with versions that are dead under this are marked.
    marked: Revision,
    /// What is dead under this may leave the disk.
    target: Revision,
    /// `settled` of the last two checkpoints; boot knows of one.
    finished: [Revision; 2],
    /// Rows to look at, by their first version.
    rows: BTreeSet<Revision>,
}

/// What a look at a row found to do.
pub(super) enum Cleaning {
    Delete(RowKey),
    Rewrite(Row),
}

impl Scrub {
    /// After boot: no reader is older.
    pub(super) fn restored(settled: Revision) -> Self {
        Scrub { target: settled, finished: [settled; 2], ..Scrub::default() }
    }

    /// The digest of what is alive under `settled`.
    pub(super) fn digest(&self, space: &Keyspace) -> u64 {
        space.digest.wrapping_sub(self.dead)
    }

    /// Whether rows of versions that are dead under `limit` may still be on disk, and more checkpoints
    /// would remove them: the third that counts them for dead lets them go, the next one cleans.
    pub(super) fn is_behind(&self, limit: Revision) -> bool {
        self.settled < limit
            || self.target < self.settled
            || self.marked < self.target
            || !self.rows.is_empty()
    }

    /// Settles up to `limit`, at most `budget` changes; returns how many it looked at.
    pub(super) fn settle(&mut self, space: &Keyspace, limit: Revision, budget: usize) -> usize {
        let mut looked = 0;
        for (at, key) in space.changes(self.settled, limit).take(budget) {
            looked += 1;
            self.settled = at;
            let (itself, older) = space.and_older(key, at);
            // An older tombstone was counted when it was looked at itself.
            let killed = older.map(|(_, v)| v).filter(|v| !v.is_tombstone());
            for dead in killed.into_iter().chain(Some(itself).filter(|v| v.is_tombstone())) {
                self.dead = self.dead.wrapping_add(dead.hash);
            }
        }
        if looked < budget {
            self.settled = self.settled.max(limit);
        }
        looked
    }

    /// Notes that a checkpoint is on disk, whose digest counts what is alive under `settled`.
    pub(super) fn finished(&mut self, settled: Revision) {
        let [older, newer] = self.finished;
        self.target = older;
        self.finished = [newer, settled];
    }

    /// Marks rows, looking at `budget` changes at most; returns how many it looked at.
    pub(super) fn mark(&mut self, space: &mut Keyspace, budget: usize) -> usize {
        let changes = space.changes(self.marked, self.target).take(budget);
        let changes: Vec<(Revision, Bytes)> = changes.map(|(at, key)| (at, key.clone())).collect();
        for (at, key) in &changes {
            self.marked = *at;
            let (itself, older) = space.and_older(key, *at);
            if itself.is_tombstone() {
                self.rows.extend(space.row_of(*at));
            }
            if let Some((dead, _)) = older {
                match space.row_of(dead) {
                    Some(row) => _ = self.rows.insert(row),
                    // It died before a checkpoint came to write it.
                    None => self.forget(space, key, dead),
                }
            }
        }
        if changes.len() < budget {
            self.marked = self.marked.max(self.target);
        }
        changes.len()
    }

    /// Looks at one marked row, once all are marked, so that none is rewritten more often than
    /// needed. Returns how many versions it looked at, and what to do to the row; nothing when
    /// there is no row to look at.
    pub(super) fn clean(&mut self, space: &mut Keyspace) -> Option<(usize, Option<Cleaning>)> {
        if self.marked < self.target {
            return None;
        }
        let first = self.rows.pop_first()?;
        let Some(Extent { last, .. }) = space.rows().get(&first).copied() else { return Some((0, None)) };
        let key = first.row_key(space.generation);
        let content = self.look(space, first, last);
        let cleaning = match () {
            () if content.dead.is_empty() => None,
            () if content.alive == 0 => {
                space.remove_row(first);
                Some(Cleaning::Delete(key))
            }
            () if content.pressing || content.dead_bytes >= content.alive_bytes => {
                content.rewritten.and_then(Writer::finish).map(|(_, last, bytes)| {
                    space.set_row(first, last, &bytes);
                    Cleaning::Rewrite((key, bytes))
                })
            }
            () => None,
        };
        if cleaning.is_some() {
            content.dead.iter().for_each(|(at, key)| self.forget(space, key, *at));
        }
        Some((content.alive + content.dead.len(), cleaning))
    }

    fn look(&self, space: &Keyspace, first: Revision, last: Revision) -> Content {
        let mut content = Content { rewritten: Some(Writer::new()), ..Content::default() };
        for (at, key) in space.changes(first.before(), last) {
            let (version, newer) = space.and_newer(key, at);
            let bytes = key.len() + version.size as usize;
            let newer = newer.filter(|(newer, _)| *newer <= self.marked);
            let tombstone = version.is_tombstone() && at <= self.marked;
            if let Some((_, newer)) = newer {
                content.dead.push((at, key.clone()));
                content.dead_bytes += bytes;
                // The tombstone after it waits for it.
                content.pressing |= newer.is_tombstone();
            } else if tombstone && space.oldest(key).is_some_and(|oldest| first <= oldest) {
                content.dead.push((at, key.clone()));
                content.dead_bytes += bytes;
            } else {
                content.alive += 1;
                content.alive_bytes += bytes;
                let value = match version.size {
                    0 => Some(&[][..]),
                    _ => space.value_in_memory(key, at).map(|value| &value[..]),
                };
                content.rewritten = content
                    .rewritten
                    .take()
                    .zip(value)
                    .and_then(|(mut row, value)| row.push(at, key, version, value).then_some(row));
            }
        }
        content
    }

    /// Removes a version from the index that is not on disk either. Something may have waited for
    /// that: the tombstone that ends its key, or an older version that keeps the tombstone waiting.
    fn forget(&mut self, space: &mut Keyspace, key: &Bytes, at: Revision) {
        let newer = space.and_newer(key, at).1.map(|(newer, v)| (newer, v.is_tombstone()));
        let older = space.and_older(key, at).1.map(|(older, _)| older);
        space.forget(at);
        if let Some((tombstone, true)) = newer {
            self.rows.extend(space.row_of(older.unwrap_or(tombstone)));
        }
    }
}

/// What is in a row.
#[derive(Default)]
struct Content {
    dead: Vec<(Revision, Bytes)>,
    dead_bytes: usize,
    alive: usize,
    alive_bytes: usize,
    /// A tombstone waits until the dead are gone.
    pressing: bool,
    /// The row without them, if memory has all values.
    rewritten: Option<Writer>,
}
