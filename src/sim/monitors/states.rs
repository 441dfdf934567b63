//! State agreement, entry by entry: whoever has applied the same prefix of the log has the same state
//! and the same filter, by their digests; and a replica equals its reload. And who has another state
//! than a majority stops serving.

use super::{Property, Verdict, ensure, entries};
use crate::broadcast::StateDigest;
use crate::kernel::{Mutant, Mutants, ProcessId};
use crate::sim::shadow::Shadowed;
use crate::stack::{Role, Stack};
use std::collections::BTreeMap;

/// The states that were seen.
#[derive(Debug)]
pub(in crate::sim) struct States {
    /// By the length of the prefix: the digest that was seen first.
    machines: BTreeMap<u64, u64>,
    filters: BTreeMap<u64, u64>,
    /// Per process, the prefix up to which it was looked at in this life, and the checkpoint.
    looked: Vec<(u64, u64)>,
    judges: Judges,
}

/// What is judged: a mutant that makes states differ is found by what its clients see, but for those
/// of the states themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Judges {
    Everything,
    /// Only that who diverged stops.
    Divergence,
    Nothing,
}

impl States {
    pub(in crate::sim) fn new(processes: usize, mutants: Mutants) -> Self {
        let judges = match mutants.which() {
            None | Some(Mutant::SessionsByUseAlone | Mutant::ReplyDrifts) => Judges::Everything,
            Some(Mutant::DivergenceIgnored) => Judges::Divergence,
            Some(_) => Judges::Nothing,
        };
        let looked = vec![(0, 0); processes];
        Self { machines: BTreeMap::new(), filters: BTreeMap::new(), looked, judges }
    }

    /// Whether processes tell each other the digests of their states.
    pub(in crate::sim) fn are_compared(&self) -> bool {
        self.judges != Judges::Nothing
    }

    /// Whether a process is to be compared with its reload.
    pub(in crate::sim) fn are_reloaded(&self) -> bool {
        self.judges == Judges::Everything
    }

    /// From now on processes may decide differently: equal lengths are no equal prefixes any more.
    pub(in crate::sim) fn retire(&mut self) {
        self.judges = Judges::Nothing;
    }

    /// A process booted.
    pub(in crate::sim) fn booted(&mut self, p: ProcessId) {
        self.looked[p.index()] = (0, 0);
    }

    /// A process reacted.
    pub(in crate::sim) fn reacted(&mut self, p: ProcessId, stack: &Stack<Shadowed>) -> Verdict {
        if self.judges != Judges::Everything {
            return Ok(());
        }
        let (machine, status) = (stack.machine(), stack.status());
        let (looked, checkpoint) = self.looked[p.index()];
        self.looked[p.index()] = (status.applied, status.checkpoint);
        if let Some(how) = machine.difference() {
            return ensure(false, Property::Reload, || format!("{p}: {how}"));
        }
        for (applied, digest) in machine.digests_after(looked) {
            let known = *self.machines.entry(*applied).or_insert(*digest);
            ensure(known == *digest, Property::StateAgreement, || {
                format!("{p} has applied {}, and its state is not that of others who had", entries(*applied))
            })?;
        }
        let filter = stack.filter().digest();
        let known = *self.filters.entry(status.applied).or_insert(filter);
        ensure(known == filter, Property::StateAgreement, || {
            let applied = entries(status.applied);
            format!("{p} has applied {applied}, and filters otherwise than others who had")
        })?;
        let stored = stack.last_checkpoint().filter(|last| last.applied != checkpoint);
        let same = |applied, digest| self.filters.get(&applied).is_none_or(|known| *known == digest);
        ensure(stored.is_none_or(|last| same(last.applied, last.filter.digest())), Property::Reload, || {
            format!("{p} stores another filter with its checkpoint than it had")
        })
    }

    /// In the end: of processes that have heard each other for long, who has another state than a
    /// majority at the last place where they were compared, serves nothing.
    pub(in crate::sim) fn finally(&self, of: &[(ProcessId, &Stack<Shadowed>)], majority: usize) -> Verdict {
        let last = of.iter().filter_map(|(_, stack)| stack.cross_check().states().last());
        let Some(place) = last.map(|state| state.applied).min().filter(|_| self.are_compared()) else {
            return Ok(());
        };
        let at = |stack: &Stack<Shadowed>| stack.cross_check().states().find(|state| state.applied == place);
        let states: Vec<(ProcessId, Role, StateDigest)> =
            of.iter().filter_map(|(p, stack)| Some((*p, stack.status().role, at(stack)?))).collect();
        for (p, role, own) in &states {
            let others = states.iter().filter(|(.., state)| state != own);
            let alike = |with: &StateDigest| states.iter().filter(|(.., state)| state == with).count();
            let most = others.map(|(.., state)| alike(state)).max().unwrap_or(0);
            let serves = !matches!(role, Role::Learner(_));
            ensure(!serves || most < majority, Property::DivergedStops, || {
                format!("{p} has another state than a majority after {}, and goes on", entries(place))
            })?;
        }
        Ok(())
    }
}
