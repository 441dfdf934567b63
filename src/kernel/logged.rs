//! State that cannot change without the change being stored.

use super::disk::{LogId, Store, Stored, Var};
use super::turn::Turn;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use std::ops::Deref;
use thiserror::Error;

/// What is stored does not decode: it was written by a newer build, or it is damaged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the stored variable {0} does not decode: it is damaged, or a newer kvorum wrote it")]
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
    vote: bool,
}

impl<T: Serialize + DeserializeOwned> Logged<T> {
    /// The variable as it was last durable, or `initial` when it was never stored.
    pub fn recover(var: impl Into<Var>, stored: &Stored, initial: T) -> Result<Self, Undecodable> {
        let var = var.into();
        let value = match stored.vars.get(&var) {
            None => initial,
            Some(bytes) => postcard::from_bytes(bytes).map_err(|_| Undecodable(var.to_string()))?,
        };
        Ok(Self { var, value, vote: false })
    }

    /// Marks the variable as a vote: a commit that changes it waits for the witness too.
    pub fn vote(self) -> Self {
        Self { vote: true, ..self }
    }

    /// Sets the variable, and stores it in this turn.
    pub fn set(&mut self, value: T, turn: &mut Turn) {
        let bytes =
            postcard::to_allocvec(&value).expect("stored values are plain data, which always encodes");
        turn.batch.push(Store::Put { var: self.var.clone(), value: bytes.into() });
        if self.vote {
            turn.batch.mark_vote();
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
/// its entry except by way of [`LoggedLog::truncate`] or [`LoggedLog::reset`].
#[derive(Clone, Debug)]
pub struct LoggedLog {
    id: LogId,
    first: u64,
    entries: VecDeque<Bytes>,
    bytes: usize,
}

impl LoggedLog {
    /// The log as it was last durable.
    pub fn recover(id: LogId, stored: &Stored) -> Self {
        let (first, entries) = match stored.logs.get(&id) {
            None => (0, VecDeque::new()),
            Some(log) => (log.first, log.entries.iter().cloned().collect()),
        };
        let bytes = entries.iter().map(Bytes::len).sum();
        Self { id, first, entries, bytes }
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
        self.bytes
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
        self.bytes += entries.iter().map(Bytes::len).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
        turn.batch.push(Store::Append { log: self.id, first, entries });
    }

    /// Drops the entries at and above `len`.
    pub fn truncate(&mut self, len: u64, turn: &mut Turn) {
        if len >= self.len() {
            return;
        }
        assert!(len >= self.first, "a log that starts at {} cannot be cut to {len}", self.first);
        let dropped = self.entries.split_off((len - self.first) as usize);
        self.bytes -= dropped.iter().map(Bytes::len).sum::<usize>();
        turn.batch.push(Store::TruncateSuffix { log: self.id, len });
    }

    /// Drops the entries below `before`.
    pub fn trim(&mut self, before: u64, turn: &mut Turn) {
        if before <= self.first {
            return;
        }
        assert!(before <= self.len(), "a log of length {} cannot be trimmed to {before}", self.len());
        let dropped = self.entries.drain(..(before - self.first) as usize);
        self.bytes -= dropped.map(|e| e.len()).sum::<usize>();
        self.first = before;
        turn.batch.push(Store::TruncatePrefix { log: self.id, before });
    }

    /// Drops everything; the next entry appended has the index `first`.
    pub fn reset(&mut self, first: u64, turn: &mut Turn) {
        self.entries.clear();
        self.bytes = 0;
        self.first = first;
        turn.batch.push(Store::Reset { log: self.id, first });
    }
}
