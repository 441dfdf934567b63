//! Chosen stays: an entry that is durable at a majority in one ballot is in every log of every
//! later ballot. And durable majority: nothing is decided that was not chosen so.
//!
//! Votes are counted here as processes expose them, by sets, independently of any leader.

use super::one_value::Values;
use super::{Failure, Property, Verdict, ensure};
use crate::kernel::{Ballot, ProcessId};
use std::collections::BTreeMap;

/// What is known of one ballot.
#[derive(Debug)]
struct Votes {
    /// Per process the length that it holds durably in this ballot.
    lengths: Vec<u64>,
    /// The length that is chosen in this ballot.
    chosen: u64,
    /// The length that its leader adopted, once it is durable.
    adopted: Option<u64>,
}

/// What is chosen, over all ballots.
#[derive(Debug)]
pub(super) struct Chosen {
    processes: usize,
    ballots: BTreeMap<Ballot, Votes>,
    /// The value of each chosen entry, and the least ballot in which it is known to be chosen.
    entries: Vec<(u64, Ballot)>,
}

impl Chosen {
    pub(super) fn new(processes: usize) -> Self {
        Self { processes, ballots: BTreeMap::new(), entries: Vec::new() }
    }

    /// How many entries are chosen.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The value chosen at an index.
    pub(super) fn get(&self, index: u64) -> Option<u64> {
        self.entries.get(index as usize).map(|(value, _)| *value)
    }

    /// In how many ballots somebody led.
    pub(super) fn ballots_led(&self) -> u64 {
        self.ballots.values().filter(|v| v.adopted.is_some()).count() as u64
    }

    fn votes(&mut self, n: Ballot) -> &mut Votes {
        let processes = self.processes;
        self.ballots.entry(n).or_insert_with(|| Votes {
            lengths: vec![0; processes],
            chosen: 0,
            adopted: None,
        })
    }

    /// The leader of `n` has adopted a log of this length.
    pub(super) fn adopted(&mut self, n: Ballot, len: u64, values: &Values) -> Verdict {
        self.votes(n).adopted = Some(len);
        for (index, (value, by)) in (0u64..).zip(&self.entries) {
            if *by < n {
                // Below the first entry kept there is a snapshot, which the state's digest covers.
                let held = values.get(n, index);
                ensure(index < len && held.is_none_or(|v| v == *value), Property::ChosenStays, || {
                    format!(
                        "index {index} was chosen in ballot {by}, and the log of ballot {n} (length {len}) lacks it"
                    )
                })?;
            }
        }
        Ok(())
    }

    /// A process holds `len` entries durably in ballot `n`.
    pub(super) fn voted(&mut self, n: Ballot, p: ProcessId, len: u64, values: &Values) -> Verdict {
        let majority = self.processes / 2 + 1;
        let votes = self.votes(n);
        let own = &mut votes.lengths[p.index()];
        if len <= *own {
            return Ok(());
        }
        *own = len;
        let mut lengths = votes.lengths.clone();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let (from, upto) = (votes.chosen, lengths[majority - 1]);
        if upto <= from {
            return Ok(());
        }
        votes.chosen = upto;
        for index in from..upto {
            self.choose(n, index, values)?;
        }
        Ok(())
    }

    fn choose(&mut self, n: Ballot, index: u64, values: &Values) -> Verdict {
        let known = self.entries.get(index as usize).copied();
        let value = match (values.get(n, index), known) {
            (Some(value), _) => value,
            // Under a snapshot: chosen before, and not proposed again.
            (None, Some((value, _))) => value,
            (None, None) => {
                return Err(Failure {
                    property: Property::ChosenStays,
                    detail: format!("index {index} is chosen in ballot {n}, and nobody proposed it there"),
                });
            }
        };
        match known {
            None => {
                assert_eq!(index, self.len(), "votes are prefixes, so entries are chosen in order");
                self.entries.push((value, n));
            }
            Some((before, by)) => {
                ensure(before == value, Property::ChosenStays, || {
                    format!("index {index} was chosen in ballot {by}, and another value in ballot {n}")
                })?;
                self.entries[index as usize].1 = by.min(n);
            }
        }
        for (later, votes) in self.ballots.range((std::ops::Bound::Excluded(n), std::ops::Bound::Unbounded)) {
            if let Some(len) = votes.adopted {
                let held = values.get(*later, index);
                ensure(index < len && held.is_none_or(|v| v == value), Property::ChosenStays, || {
                    format!(
                        "index {index} is chosen in ballot {n}, and the log adopted in ballot {later} (length {len}) \
                         lacks it"
                    )
                })?;
            }
        }
        Ok(())
    }
}
