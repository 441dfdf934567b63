//! What a simulated disk holds.

use super::facts::Facts;
use crate::kernel::{Batch, LogId, RowKey, Store, Var};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A named log.
#[derive(Clone, Default, Debug)]
pub(super) struct Log {
    pub(super) first: u64,
    pub(super) entries: VecDeque<Bytes>,
}

impl Log {
    pub(super) fn len(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

/// Everything that is stored, and what of it the protocol speaks of.
#[derive(Clone, Default, Debug)]
pub(super) struct Image {
    pub(super) vars: BTreeMap<Var, Bytes>,
    pub(super) logs: BTreeMap<LogId, Log>,
    pub(super) rows: BTreeMap<RowKey, Bytes>,
    pub(super) facts: Facts,
}

impl Image {
    /// Takes in a commit.
    pub(super) fn apply(&mut self, batch: &Batch) {
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => {
                    self.vars.insert(var.clone(), value.clone());
                }
                Store::Remove { var } => {
                    self.vars.remove(var);
                }
                Store::Append { log, first, entries } => {
                    let log = self.logs.entry(*log).or_default();
                    assert_eq!(log.len(), *first, "an append must continue the log");
                    log.entries.extend(entries.iter().cloned());
                }
                Store::TruncateSuffix { log, len } => {
                    let log = self.logs.entry(*log).or_default();
                    assert!(*len >= log.first, "a log that starts at {} is cut to {len}", log.first);
                    log.entries.truncate((len - log.first) as usize);
                }
                Store::TruncatePrefix { log, before } => {
                    let log = self.logs.entry(*log).or_default();
                    assert!(*before <= log.len(), "a log of length {} is trimmed to {before}", log.len());
                    log.entries.drain(..before.saturating_sub(log.first) as usize);
                    log.first = log.first.max(*before);
                }
                Store::Reset { log, first } => {
                    self.logs.insert(*log, Log { first: *first, entries: VecDeque::new() });
                }
                Store::PutRow { key, value } => {
                    self.rows.insert(*key, value.clone());
                }
                Store::DeleteRow { key } => {
                    self.rows.remove(key);
                }
                Store::DropOtherGenerations { keep, limit } => {
                    let others = self.rows.keys().filter(|k| k.generation != *keep);
                    let others: Vec<RowKey> = others.take(*limit as usize).copied().collect();
                    others.iter().for_each(|k| {
                        self.rows.remove(k);
                    });
                }
            }
        }
        self.facts.apply(batch);
    }
}
