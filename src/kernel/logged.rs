//! State that cannot change without the change being stored.

use super::disk::{LogId, Store, Stored, Var};
use super::turn::Turn;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use thiserror::Error;

/// What is stored does not decode: it was written by a newer build, or it is damaged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the stored variable {0} does not decode: it is damaged, or another version of kvorum wrote it")]
pub struct Undecodable(pub String);

/// A durable variable. It reads like its value; its only mutator also records the store in the
/// turn, so that forgetting to store does not compile:
///
/// ```compile_fail
/// # use kvorum::kernel::*;
/// fn promise(prom: &mut Logged<u64>, turn: &mut Turn) {
///     **prom = 7;
/// }
/// ```
///
/// ```
/// # use kvorum::kernel::*;
/// fn promise(prom: &mut Logged<u64>, turn: &mut Turn) {
///     prom.set(7, turn);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Logged<T> {
    var: Var,
    value: T,
    kind: Kind,
}

/// What hangs on the store of a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Fact,
    Vote,
    Hint,
}

impl<T: Serialize + DeserializeOwned> Logged<T> {
    /// The variable as it was last durable, or `initial` when it was never stored.
    pub fn recover(var: impl Into<Var>, stored: &Stored, initial: T) -> Result<Self, Undecodable> {
        let var = var.into();
        let value = match stored.vars.get(&var) {
            None => initial,
            Some(bytes) => postcard::from_bytes(bytes).map_err(|_| Undecodable(var.to_string()))?,
        };
        Ok(Self { var, value, kind: Kind::Fact })
    }

    /// Marks the variable as a vote: a commit that changes it waits for the witness too.
    pub fn vote(self) -> Self {
        Self { kind: Kind::Vote, ..self }
    }

    /// Marks the variable as a hint: nothing that leaves the process depends on it, so that a commit of
    /// hints alone does not raise the commit mark that peers keep.
    pub fn hint(self) -> Self {
        Self { kind: Kind::Hint, ..self }
    }

    /// Sets the variable, and stores it in this turn.
    pub fn set(&mut self, value: T, turn: &mut Turn) {
        let bytes =
            postcard::to_allocvec(&value).expect("stored values are plain data, which always encodes");
        let store = Store::Put { var: self.var.clone(), value: bytes.into() };
        match self.kind {
            Kind::Fact => turn.batch.push(store),
            Kind::Hint => turn.batch.push_hint(store),
            Kind::Vote => {
                turn.batch.push(store);
                turn.batch.mark_vote();
            }
        }
        self.value = value;
    }
}

impl<T> Deref for Logged<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A durable log, mirrored in memory from its first kept entry on. A change costs the change, not
/// the log.
///
/// Invariant: entries `first()..len()` are here, in order, without gaps; an index never changes
/// its entry except by way of [`LoggedLog::truncate`] or [`LoggedLog::reset`]. `ends` has, for each
/// entry, the bytes up to its end, counted from some entry that may be long gone: the size of any
/// part of the log is one subtraction.
#[derive(Clone)]
pub struct LoggedLog {
    id: LogId,
    first: u64,
    entries: VecDeque<Bytes>,
    ends: VecDeque<u64>,
    /// Where the first entry begins, in these bytes.
    start: u64,
}

/// Without the sums: where they began to count tells no state from another.
impl fmt::Debug for LoggedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, first, entries, .. } = self;
        f.debug_struct("LoggedLog").field("id", id).field("first", first).field("entries", entries).finish()
    }
}

impl LoggedLog {
    /// The log as it was last durable.
    pub fn recover(id: LogId, stored: &Stored) -> Self {
        let (first, entries) = match stored.logs.get(&id) {
            None => (0, Vec::new()),
            Some(log) => (log.first, log.entries.clone()),
        };
        let mut log = Self { id, first, entries: VecDeque::new(), ends: VecDeque::new(), start: 0 };
        log.extend(entries);
        log
    }

    fn extend(&mut self, entries: impl IntoIterator<Item = Bytes>) {
        for entry in entries {
            let end = self.ends.back().copied().unwrap_or(self.start) + entry.len() as u64;
            self.entries.push_back(entry);
            self.ends.push_back(end);
        }
    }

    /// The index of the first entry that is kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// One past the index of the last entry: the number of entries ever appended and not
    /// truncated.
    pub fn len(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the kept entries.
    pub fn bytes(&self) -> usize {
        self.bytes_between(self.first, self.len())
    }

    /// The size of the kept entries from `from` on and below `to`. O(1).
    pub fn bytes_between(&self, from: u64, to: u64) -> usize {
        self.end_below(to).saturating_sub(self.end_below(from)) as usize
    }

    /// Where the entries below an index end.
    fn end_below(&self, index: u64) -> u64 {
        let kept = index.saturating_sub(self.first).min(self.ends.len() as u64) as usize;
        kept.checked_sub(1).map_or(self.start, |last| self.ends[last])
    }

    /// The first kept entry from which on those below `to` are at most `bytes`.
    pub fn first_within(&self, to: u64, bytes: usize) -> u64 {
        let least = self.end_below(to).saturating_sub(bytes as u64);
        if self.start >= least {
            return self.first;
        }
        self.first + 1 + self.ends.partition_point(|end| *end < least) as u64
    }

    /// The entry at an index, if it is kept.
    pub fn get(&self, index: u64) -> Option<&Bytes> {
        index.checked_sub(self.first).and_then(|i| self.entries.get(i as usize))
    }

    /// Entries from `from` on, while they are kept and number at most `max_entries` of at most
    /// `max_bytes` together; at least one where there is one.
    pub fn read(&self, from: u64, max_entries: usize, max_bytes: usize) -> Vec<Bytes> {
        let mut size = 0;
        let mut read = Vec::new();
        while read.len() < max_entries {
            let Some(entry) = self.get(from + read.len() as u64) else { break };
            size += entry.len();
            if size > max_bytes && !read.is_empty() {
                break;
            }
            read.push(entry.clone());
        }
        read
    }

    /// Appends entries.
    pub fn append(&mut self, entries: Vec<Bytes>, turn: &mut Turn) {
        if entries.is_empty() {
            return;
        }
        let first = self.len();
        self.extend(entries.iter().cloned());
        turn.batch.push(Store::Append { log: self.id, first, entries });
    }

    /// Drops the entries at and above `len`.
    pub fn truncate(&mut self, len: u64, turn: &mut Turn) {
        if len >= self.len() {
            return;
        }
        assert!(len >= self.first, "a log that starts at {} cannot be cut to {len}", self.first);
        self.entries.truncate((len - self.first) as usize);
        self.ends.truncate((len - self.first) as usize);
        turn.batch.push(Store::TruncateSuffix { log: self.id, len });
    }

    /// Drops the entries below `before`.
    pub fn trim(&mut self, before: u64, turn: &mut Turn) {
        if before <= self.first {
            return;
        }
        assert!(before <= self.len(), "a log of length {} cannot be trimmed to {before}", self.len());
        self.start = self.end_below(before);
        self.entries.drain(..(before - self.first) as usize);
        self.ends.drain(..(before - self.first) as usize);
        self.first = before;
        turn.batch.push(Store::TruncatePrefix { log: self.id, before });
    }

    /// Drops everything; the next entry appended has the index `first`.
    pub fn reset(&mut self, first: u64, turn: &mut Turn) {
        self.entries.clear();
        self.ends.clear();
        self.first = first;
        turn.batch.push(Store::Reset { log: self.id, first });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_any_part_is_that_of_its_entries() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut turn = Turn::open(false);
        let mut log = LoggedLog::recover(LogId::REPLICATED, &Stored::default());
        for _ in 0..2000 {
            let (first, len) = (log.first(), log.len());
            match rng.u8(..8) {
                0 => log.truncate(rng.u64(first..=len), &mut turn),
                1 => log.trim(rng.u64(first..=len), &mut turn),
                2 if rng.u8(..8) == 0 => log.reset(len + rng.u64(..9), &mut turn),
                _ => {
                    let entry = || Bytes::from(vec![0; rng.usize(..9)]);
                    log.append(std::iter::repeat_with(entry).take(3).collect(), &mut turn);
                }
            }
            let (first, len) = (log.first(), log.len());
            let size =
                |from: u64, to: u64| -> usize { (from..to).filter_map(|i| log.get(i)).map(Bytes::len).sum() };
            let (from, to) = (rng.u64(..=len + 2), rng.u64(..=len + 2));
            assert_eq!(log.bytes_between(from, to), size(from, to), "{from}..{to} of {first}..{len}");
            assert_eq!(log.bytes(), size(first, len));
            let (to, most) = (rng.u64(first..=len), rng.usize(..40));
            let within = log.first_within(to, most);
            assert!(first <= within && within <= to && size(within, to) <= most, "{within} {to} {most}");
            assert!(within == first || size(within - 1, to) > most, "{within} is not the first");
        }
    }
}
