//! Whose time ran out, as one process measures it.

use super::Transactions;
use crate::kernel::{Mutant, Mutants};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Measures how long transactions have been undecided. What it says is a suspicion: it becomes an
/// outcome only in the log, where a vote may have come first.
///
/// The time of a transaction counts from when this process first looked at it: after a change of
/// leader it counts anew, and is longer, never shorter.
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    /// By the log entry that began them: when this process first looked.
    since: BTreeMap<u64, u64>,
    mutants: Mutants,
}

impl Timeouts {
    /// Nothing is measured yet.
    pub fn new(mutants: Mutants) -> Self {
        Self { since: BTreeMap::new(), mutants }
    }

    /// Looks at the time, in milliseconds. Returns the transactions whose time has run out, with
    /// the log entries that began them: to be said in the log.
    pub fn look(&mut self, now: u64, transactions: &Transactions) -> Vec<(Arc<str>, u64)> {
        let (before, mut late) = (std::mem::take(&mut self.since), Vec::new());
        for (name, begun, timeout) in transactions.undecided() {
            let since = before.get(&begun).copied().unwrap_or(now);
            self.since.insert(begun, since);
            if now - since >= timeout && !self.mutants.on(Mutant::TimeoutUnsaid) {
                late.push((name.clone(), begun));
            }
        }
        late
    }

    /// Nothing is measured while another process leads.
    pub fn stop(&mut self) {
        self.since.clear();
    }
}
