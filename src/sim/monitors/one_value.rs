//! One value per (ballot, index): whatever is proposed, adopted or acknowledged at an index in a
//! ballot is the same thing.
//!
//! A process may also *learn* decided entries, whatever the ballot in which its log was accepted;
//! so an acknowledgement is judged only above the decided prefix of the one who gives it.

use super::{Failure, Property, Verdict, digest, ensure};
use crate::kernel::{Ballot, LogId, ProcessId};
use crate::sim::disk::SimDisk;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The log of one ballot, as far as it is known: digests of its entries, 0 where unknown.
#[derive(Debug, Default)]
struct Run {
    first: u64,
    values: VecDeque<u64>,
    /// Up to where the log of each process was compared.
    compared: BTreeMap<ProcessId, u64>,
}

impl Run {
    fn get(&self, index: u64) -> Option<u64> {
        let at = index.checked_sub(self.first)? as usize;
        self.values.get(at).copied().filter(|v| *v != 0)
    }

    fn slot(&mut self, index: u64) -> &mut u64 {
        if self.values.is_empty() {
            self.first = index;
        }
        while index < self.first {
            self.first -= 1;
            self.values.push_front(0);
        }
        let at = (index - self.first) as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, 0);
        }
        &mut self.values[at]
    }
}

/// What was proposed, by ballot and index.
#[derive(Debug, Default)]
pub(super) struct Values {
    ballots: BTreeMap<Ballot, Run>,
}

impl Values {
    /// The value at an index in a ballot, if it is known.
    pub(super) fn get(&self, n: Ballot, index: u64) -> Option<u64> {
        self.ballots.get(&n)?.get(index)
    }

    /// The leader of `n` proposes, or repeats, entries.
    pub(super) fn proposed(&mut self, n: Ballot, from: u64, entries: &[Bytes]) -> Verdict {
        self.record(n, (from..).zip(entries))
    }

    /// The leader of `n` has adopted this log.
    pub(super) fn adopted<'a>(&mut self, n: Ballot, log: impl Iterator<Item = (u64, &'a Bytes)>) -> Verdict {
        self.record(n, log)
    }

    fn record<'a>(&mut self, n: Ballot, entries: impl Iterator<Item = (u64, &'a Bytes)>) -> Verdict {
        let run = self.ballots.entry(n).or_default();
        for (index, entry) in entries {
            let value = digest(entry);
            let known = run.slot(index);
            ensure(*known == 0 || *known == value, Property::OneValue, || {
                format!("ballot {n} has two values at index {index}")
            })?;
            *known = value;
        }
        Ok(())
    }

    /// A process acknowledges its log up to `len` in ballot `n`.
    pub(super) fn accepted(
        &mut self,
        p: ProcessId,
        n: Ballot,
        len: u64,
        decided: u64,
        disk: &SimDisk,
    ) -> Verdict {
        let run = self.ballots.entry(n).or_default();
        let compared = run.compared.get(&p).copied().unwrap_or(0).max(decided);
        for index in compared..len {
            let held = disk.entry(LogId::REPLICATED, index).map(|e| digest(e));
            let proposed = run.get(index);
            if held.is_none() || held != proposed {
                return Err(Failure {
                    property: Property::OneValue,
                    detail: format!(
                        "{p} acknowledges length {len} in ballot {n}, and what it holds at index {index} is not \
                         what was proposed there"
                    ),
                });
            }
        }
        run.compared.insert(p, len.max(compared));
        Ok(())
    }
}
