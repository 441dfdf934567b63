//! A candidate: gathers promises, and adopts the greatest log among them.

use crate::kernel::{Ballot, ProcessId, ProcessSet, Ticks};
use bytes::Bytes;
use std::collections::BTreeMap;

use super::messages::Session;

/// A promise as it arrived.
#[derive(Clone, Debug)]
pub struct Promise {
    /// Which promise it is.
    pub sess: Session,
    /// The ballot in which the promiser's log was last accepted.
    pub acc: Ballot,
    /// The length of that log.
    pub len: u64,
    /// The promiser's decided prefix.
    pub decided: u64,
    /// Where `suffix` starts.
    pub from: u64,
    /// What the candidate lacks, where the promiser has more.
    pub suffix: Vec<Bytes>,
}

/// A process that stands in ballot `n`, which its own `prom` already is.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The ballot.
    pub n: Ballot,
    /// When the candidacy began.
    pub since: Ticks,
    /// When `Prepare` was last sent.
    pub asked: Ticks,
    /// Whether its own promise is durable, so that its ballot may be heard.
    pub durable: bool,
    promises: BTreeMap<ProcessId, Promise>,
}

impl Candidate {
    /// Stands in ballot `n`.
    pub fn new(n: Ballot, now: Ticks) -> Self {
        Self { n, since: now, asked: now, durable: false, promises: BTreeMap::new() }
    }

    /// Takes a promise; a later one of the same process replaces it.
    pub fn upon_promise(&mut self, from: ProcessId, promise: Promise) {
        self.promises.insert(from, promise);
    }

    /// Who has promised, beside the candidate.
    pub fn promised(&self) -> ProcessSet {
        self.promises.keys().copied().collect()
    }

    /// The greatest promise by (accepted ballot, length), if it exceeds the candidate's own.
    pub fn best(&self, own: (Ballot, u64)) -> Option<&Promise> {
        self.promises.values().max_by_key(|p| (p.acc, p.len)).filter(|p| (p.acc, p.len) > own)
    }

    /// The greatest decided prefix that was promised.
    pub fn decided(&self) -> u64 {
        self.promises.values().map(|p| p.decided).max().unwrap_or(0)
    }

    /// The promises, to be answered once the log is adopted.
    pub fn into_promises(self) -> BTreeMap<ProcessId, Promise> {
        self.promises
    }
}
