//! Translates a batch of stores into changes of sled's keys.

use super::codec::{self, CHUNK, Place};
use super::head::{Head, MAX_LOGS, Mark, Span};
use super::record::Record;
use super::store::{self, Scan, Sled};
use crate::kernel::{Batch, DiskError, LogId, RowKey, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many records that a prefix truncation has left behind one commit removes, beyond as many as
/// it appends: cutting a long log costs no commit more than this.
const SWEEP: usize = 32;

/// Where a record of a log is, and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The index of its first entry.
    pub first: u64,
    /// The index after its last entry.
    pub end: u64,
    /// The chained hash of the entries before it.
    pub chain: u64,
}

/// What the committer knows of the store without reading it.
///
/// Invariant: `records` are the keys of the log records in sled, in order; those that end at or
/// below the first index of their log are leftovers of a truncation, and the others are contiguous.
#[derive(Debug, Default)]
pub struct Writer {
    /// The head of the last commit.
    pub head: Head,
    /// The records of each log.
    pub records: BTreeMap<LogId, VecDeque<Kept>>,
    /// The bytes of all keys and values.
    pub live: u64,
}

/// A batch, ready for sled.
pub struct Staged {
    /// The keys to set or to remove, the head's among them.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The mark of the commit.
    pub mark: Mark,
}

impl Writer {
    /// The changes that make one commit of the batch. After an error the writer is of no more use.
    pub fn stage(&mut self, sled: &Sled, batch: &Batch, clean: bool) -> Result<Staged, DiskError> {
        let mut changes = Changes { sled, pending: BTreeMap::new() };
        let mut appended = 0;
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => changes.put(&Place::Var(var.to_string()), value)?,
                Store::Remove { var } => {
                    changes.remove(&Place::Var(var.to_string()))?;
                }
                Store::Append { log, first, entries } => {
                    appended += self.append(&mut changes, *log, *first, entries)?;
                }
                Store::TruncateSuffix { log, len } => self.truncate_suffix(&mut changes, *log, *len)?,
                Store::TruncatePrefix { log, before } => self.truncate_prefix(*log, *before)?,
                Store::Reset { log, first } => self.reset(&mut changes, *log, *first)?,
                Store::PutRow { key, value } => changes.put(&Place::Row(*key), value)?,
                Store::DeleteRow { key } => {
                    changes.remove(&Place::Row(*key))?;
                }
                Store::DropOtherGenerations { keep, limit } => {
                    for row in changes.rows_of_others(*keep, *limit as usize)? {
                        changes.remove(&Place::Row(row))?;
                    }
                }
            }
        }
        self.sweep(&mut changes, appended + SWEEP)?;
        self.head.clean = clean;
        self.finish(changes)
    }

    fn finish(&mut self, changes: Changes<'_>) -> Result<Staged, DiskError> {
        let mut delta = 0u64;
        let mut out = Vec::with_capacity(changes.pending.len() + 1);
        for (key, change) in changes.pending {
            if change.old.is_none() && change.new.is_none() {
                continue;
            }
            if let Some(old) = &change.old {
                delta = delta.wrapping_sub(old.hash);
                self.live = self.live.saturating_sub(old.size);
            }
            if let Some(new) = &change.new {
                delta = delta.wrapping_add(codec::pair_hash(&key, new));
                self.live += (key.len() + new.len()) as u64;
            }
            out.push((key, change.new));
        }
        if self.head.logs.len() > MAX_LOGS {
            return Err(DiskError::Failed(format!("a store has at most {MAX_LOGS} logs")));
        }
        self.head.advance(delta);
        let blob = self.head.encode();
        let key = codec::chunk_key(&Place::Head.base(), 0);
        let value = codec::seal(&key, blob.len() as u32, &blob);
        out.push((key, Some(value)));
        Ok(Staged { changes: out, mark: self.head.mark() })
    }

    fn append(
        &mut self,
        changes: &mut Changes<'_>,
        log: LogId,
        first: u64,
        entries: &[bytes::Bytes],
    ) -> Result<usize, DiskError> {
        let span = self.head.logs.entry(log).or_insert(Span::empty(0));
        if first != span.next {
            return Err(contradiction(log, format!("an append at {first}, but its length is {}", span.next)));
        }
        let packed = Record::pack(first, span.chain, entries);
        for record in &packed {
            changes.put(&Place::Record(log, record.first), &record.encode())?;
            let kept = Kept { first: record.first, end: record.end(), chain: record.chain };
            self.records.entry(log).or_default().push_back(kept);
        }
        if let Some(last) = packed.last() {
            span.next = last.end();
            span.chain = last.chain_after();
        }
        Ok(packed.len())
    }

    fn truncate_suffix(&mut self, changes: &mut Changes<'_>, log: LogId, len: u64) -> Result<(), DiskError> {
        let Some(span) = self.head.logs.get_mut(&log).filter(|span| len < span.next) else { return Ok(()) };
        if len < span.first {
            let first = span.first;
            return Err(contradiction(log, format!("a truncation to {len}, but it starts at {first}")));
        }
        let records = self.records.entry(log).or_default();
        while let Some(last) = records.back().copied().filter(|kept| kept.end > len) {
            records.pop_back();
            span.chain = last.chain;
            let place = Place::Record(log, last.first);
            if last.first < len {
                let blob = changes.blob(&place)?;
                let mut record = blob.as_deref().and_then(Record::decode).ok_or_else(|| {
                    DiskError::Damaged(format!("log {}: the record at {} is unreadable", log.0, last.first))
                })?;
                record.entries.truncate((len - last.first) as usize);
                span.chain = record.chain_after();
                if len > span.first {
                    changes.put(&place, &record.encode())?;
                    records.push_back(Kept { end: len, ..last });
                    break;
                }
            }
            changes.remove(&place)?;
        }
        span.next = len;
        Ok(())
    }

    fn truncate_prefix(&mut self, log: LogId, before: u64) -> Result<(), DiskError> {
        let span = self.head.logs.entry(log).or_insert(Span::empty(0));
        if before > span.next {
            return Err(contradiction(
                log,
                format!("a trim below {before}, but its length is {}", span.next),
            ));
        }
        span.first = span.first.max(before);
        Ok(())
    }

    fn reset(&mut self, changes: &mut Changes<'_>, log: LogId, first: u64) -> Result<(), DiskError> {
        self.head.logs.insert(log, Span::empty(first));
        let records = self.records.entry(log).or_default();
        // What ends at or below `first` waits for the sweep; the rest would be taken for new.
        while let Some(last) = records.back().copied().filter(|kept| kept.end > first) {
            records.pop_back();
            changes.remove(&Place::Record(log, last.first))?;
        }
        Ok(())
    }

    /// Whether records are left that truncations have left behind.
    pub fn has_leftovers(&self) -> bool {
        self.records.iter().any(|(log, records)| {
            let first = self.head.logs.get(log).map_or(0, |span| span.first);
            records.front().is_some_and(|kept| kept.end <= first)
        })
    }

    /// Removes up to `limit` records that truncations have left behind.
    fn sweep(&mut self, changes: &mut Changes<'_>, mut limit: usize) -> Result<(), DiskError> {
        for (log, records) in &mut self.records {
            let Some(span) = self.head.logs.get(log) else { continue };
            while limit > 0 {
                let Some(kept) = records.front().copied().filter(|kept| kept.end <= span.first) else {
                    break;
                };
                records.pop_front();
                changes.remove(&Place::Record(*log, kept.first))?;
                limit -= 1;
            }
        }
        Ok(())
    }
}

fn contradiction(log: LogId, what: String) -> DiskError {
    DiskError::Failed(format!("log {}: {what}", log.0))
}

struct Old {
    hash: u64,
    size: u64,
}

struct Change {
    old: Option<Old>,
    new: Option<Vec<u8>>,
}

/// The changes of a batch so far, over what sled holds: a store sees those before it.
struct Changes<'a> {
    sled: &'a Sled,
    pending: BTreeMap<Vec<u8>, Change>,
}

impl Changes<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        match self.pending.get(key) {
            Some(change) => Ok(change.new.clone()),
            None => Ok(self.sled.get(key)?.map(|value| value.to_vec())),
        }
    }

    fn blob(&self, place: &Place) -> Result<Option<Vec<u8>>, DiskError> {
        store::read_blob(place, |key| self.get(key))
    }

    fn set(&mut self, key: Vec<u8>, new: Option<Vec<u8>>) -> Result<(), DiskError> {
        if let Some(change) = self.pending.get_mut(&key) {
            change.new = new;
            return Ok(());
        }
        let old = self.sled.get(&key)?.map(|value| Old {
            hash: codec::pair_hash(&key, &value),
            size: (key.len() + value.len()) as u64,
        });
        self.pending.insert(key, Change { old, new });
        Ok(())
    }

    /// How many chunks there are of what is at a place now.
    fn chunks(&self, base: &[u8]) -> Result<u32, DiskError> {
        let key = codec::chunk_key(base, 0);
        let Some(value) = self.get(&key)? else { return Ok(0) };
        Ok(codec::chunks(codec::unseal(&key, &value).map_err(store::damaged)?.0 as usize))
    }

    fn put(&mut self, place: &Place, blob: &[u8]) -> Result<(), DiskError> {
        if blob.len() > codec::MAX_BLOB {
            return Err(DiskError::Failed(format!("{place:?} has {} bytes, over 4 GiB", blob.len())));
        }
        let base = place.base();
        let (before, now) = (self.chunks(&base)?, codec::chunks(blob.len()));
        for chunk in 0..now {
            let key = codec::chunk_key(&base, chunk);
            let from = chunk as usize * CHUNK;
            let data = &blob[from..blob.len().min(from + CHUNK)];
            let value = codec::seal(&key, blob.len() as u32, data);
            self.set(key, Some(value))?;
        }
        for chunk in now..before {
            self.set(codec::chunk_key(&base, chunk), None)?;
        }
        Ok(())
    }

    fn remove(&mut self, place: &Place) -> Result<(), DiskError> {
        let base = place.base();
        for chunk in 0..self.chunks(&base)? {
            self.set(codec::chunk_key(&base, chunk), None)?;
        }
        Ok(())
    }

    /// The first rows of every generation but one.
    fn rows_of_others(&self, keep: u32, limit: usize) -> Result<Vec<RowKey>, DiskError> {
        let other = |key: &[u8]| match Place::parse(key) {
            Some((Place::Row(row), 0)) if row.generation != keep => Some(row),
            _ => None,
        };
        let start = |generation| Place::Row(RowKey { generation, main: 0, sub: 0 }).base();
        let after = keep.checked_add(1).map_or_else(codec::rows_end, start);
        let mut rows: BTreeSet<RowKey> = self
            .pending
            .iter()
            .filter(|(_, change)| change.new.is_some())
            .filter_map(|(key, _)| other(key))
            .collect();
        for (from, to) in [(codec::rows_start(), start(keep)), (after, codec::rows_end())] {
            let mut found = 0;
            self.sled.scan(&from, Some(&to), |key, _| {
                if let Some(row) = other(key)
                    && !self.pending.contains_key(key.as_ref())
                {
                    rows.insert(row);
                    found += 1;
                }
                Ok(if found < limit { Scan::More } else { Scan::Enough })
            })?;
        }
        Ok(rows.into_iter().take(limit).collect())
    }
}
