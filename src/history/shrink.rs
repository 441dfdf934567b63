//! From a history that is not linearizable to the few operations that show it.
//!
//! Everything here only weakens the claim under test: where the weaker claim is still refuted, so
//! is the whole history. The steps that are left are a proof by themselves.

use super::partition::{ABSENT, Guard, OTHER, Origins, Partition, Step, Value};
use super::search::{Found, search};
use std::collections::BTreeSet;

/// Configurations spent on one window in [`Core::close_in`].
const WINDOW: u64 = 50_000;

/// A claim that is weaker than "the partition is linearizable".
#[derive(Clone, Debug)]
pub(super) struct Core<'a> {
    whole: &'a Partition,
    partition: Partition,
    /// Values that can be in the register only by one write, in the whole partition.
    origins: &'a Origins,
    /// Whether the register may hold anything at first (partitions of one key only).
    starts_anyhow: bool,
}

impl<'a> Core<'a> {
    /// The claim itself. `origins` are those of the partition.
    pub(super) fn new(whole: &'a Partition, origins: &'a Origins) -> Core<'a> {
        Core { whole, partition: whole.clone(), origins, starts_anyhow: false }
    }

    /// The operations (indices in the history) that no order explains, given that the claim is
    /// refuted. `budget` bounds the work (configurations generated and steps looked at); where it
    /// runs out, more than the fewest operations are left.
    pub(super) fn shrink(mut self, budget: &mut u64) -> Vec<usize> {
        self.cut_end(budget);
        self.cut_beginning(budget);
        self.weaken(budget);
        self.thin(budget);
        self.operations()
    }

    /// The operations that are left, and for the reader those that wrote what they saw.
    fn operations(&self) -> Vec<usize> {
        let left = &self.partition.steps;
        let mut ops: BTreeSet<usize> = left.iter().map(|step| step.op).collect();
        for (key, guard) in left.iter().flat_map(|step| &step.guards) {
            let (Guard::Is(value) | Guard::Not(value)) = guard;
            if *value != ABSENT {
                ops.extend(
                    self.whole.steps.iter().filter(|step| step.sets(*key, *value)).map(|step| step.op),
                );
            }
        }
        for (key, value) in left.iter().flat_map(|step| &step.writes) {
            let saw = self.partition.witnesses.iter().filter(|seen| (seen.key, seen.value) == (*key, *value));
            ops.extend(saw.min_by_key(|seen| seen.ret).map(|seen| seen.op));
        }
        ops.into_iter().collect()
    }

    /// Whether the claim is surely false.
    fn refuted(&self, budget: &mut u64) -> bool {
        let steps = &self.partition.steps;
        let mut starts = vec![self.partition.initial[0]];
        if self.starts_anyhow {
            let written_here = |value| {
                self.origins.is_single(0, value)
                    && steps.iter().any(|step| step.ret.is_some() && step.sets(0, value))
            };
            let mut tested: BTreeSet<Value> = [ABSENT, OTHER].into();
            for (_, guard) in steps.iter().flat_map(|step| &step.guards) {
                let (Guard::Is(value) | Guard::Not(value)) = guard;
                if !written_here(*value) {
                    tested.insert(*value);
                }
            }
            starts = tested.into_iter().collect();
        }
        starts.into_iter().all(|start| {
            let mut from = self.partition.clone();
            from.initial[0] = start;
            *budget = budget.saturating_sub(steps.len() as u64);
            matches!(search(&from, budget), Found::Stuck(_))
        })
    }

    /// Takes the candidate where it is refuted too.
    fn try_replace(&mut self, candidate: Self, budget: &mut u64) -> bool {
        let better = *budget > 0 && candidate.refuted(budget);
        if better {
            *self = candidate;
        }
        better
    }

    /// Looks for a window of time around where the search got stuck that is refuted by itself,
    /// each twice as wide as the one before; returns whether there is one. To refute a window of a
    /// few operations is cheap, whatever the length of the history: a search of the whole that
    /// fails goes back through everything that might have been otherwise.
    pub(super) fn close_in(&mut self, stuck: u64, budget: &mut u64) -> bool {
        let times = self.times(|step| step.ret);
        let middle = times.partition_point(|end| *end < stuck);
        let mut reach = 8;
        while reach < times.len() {
            let begin = times[middle.saturating_sub(reach)];
            let window = self.until(times[(middle + reach).min(times.len() - 1)]);
            let window = if self.partition.keys.len() == 1 { window.from(begin) } else { window };
            let mut share = WINDOW.min(*budget);
            *budget -= share;
            let found = self.try_replace(window, &mut share);
            *budget += share;
            if found {
                return true;
            }
            reach *= 2;
        }
        false
    }

    fn times(&self, of: impl Fn(&Step) -> Option<u64>) -> Vec<u64> {
        let times: BTreeSet<u64> = self.partition.steps.iter().filter_map(of).collect();
        times.into_iter().collect()
    }

    /// The shortest prefix in time. A prefix of a linearizable history is linearizable, if what
    /// was under way at its end is of unknown fate.
    fn cut_end(&mut self, budget: &mut u64) {
        let ends = self.times(|step| step.ret);
        let (mut low, mut high) = (0, ends.len().saturating_sub(1));
        while low < high {
            let middle = (low + high) / 2;
            if self.try_replace(self.until(ends[middle]), budget) { high = middle } else { low = middle + 1 }
        }
    }

    fn until(&self, end: u64) -> Self {
        let mut cut = self.clone();
        cut.partition.steps.retain_mut(|step| {
            if step.ret.is_some_and(|ret| ret > end) {
                step.ret = None;
            }
            step.call <= end && (step.ret.is_some() || !step.writes.is_empty())
        });
        cut.partition.witnesses.retain(|seen| seen.ret <= end);
        cut
    }

    /// The shortest suffix of that, from any state. What was under way at its beginning may have
    /// happened before it.
    fn cut_beginning(&mut self, budget: &mut u64) {
        if self.partition.keys.len() > 1 {
            return; // any combination of values could be the first state: too many to try
        }
        let calls = self.times(|step| Some(step.call));
        let (mut low, mut high) = (0, calls.len().saturating_sub(1));
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.try_replace(self.from(calls[middle]), budget) { low = middle } else { high = middle - 1 }
        }
    }

    fn from(&self, begin: u64) -> Self {
        let mut cut = self.clone();
        cut.starts_anyhow = true;
        cut.partition.steps.retain_mut(|step| {
            if step.call >= begin {
                return true;
            }
            let under_way = step.ret.is_none_or(|ret| ret >= begin);
            step.ret = None;
            under_way && !step.writes.is_empty()
        });
        // What they saw may have been written before.
        cut.partition.witnesses.clear();
        cut
    }

    /// Does without the tests that say only what a value was not, since those forbid taking any
    /// writer away.
    fn weaken(&mut self, budget: &mut u64) {
        self.try_replace(self.weaker(), budget);
    }

    fn weaker(&self) -> Self {
        let mut weaker = self.clone();
        weaker.partition.steps.retain_mut(|step| {
            step.guards.retain(|(_, guard)| matches!(guard, Guard::Is(_)));
            !step.guards.is_empty() || !step.writes.is_empty()
        });
        weaker
    }

    /// Takes steps away in ever smaller lumps (Zeller's delta debugging), as long as the rest is
    /// refuted. With a writer go all that saw its value, or the rest would be refuted for want of
    /// the writer alone.
    fn thin(&mut self, budget: &mut u64) {
        let mut lump = self.partition.steps.len().div_ceil(2);
        loop {
            let mut at = 0;
            while at < self.partition.steps.len() && *budget > 0 {
                let end = (at + lump).min(self.partition.steps.len());
                let Some(gone) = self.with_those_who_saw((at..end).collect()) else {
                    at = end;
                    continue;
                };
                if !self.try_replace(self.without(&gone), budget) {
                    at = end;
                }
            }
            if lump <= 1 || *budget == 0 {
                return;
            }
            lump = lump.div_ceil(2);
        }
    }

    fn without(&self, gone: &BTreeSet<usize>) -> Self {
        let mut thinner = self.clone();
        let mut index = 0;
        thinner.partition.steps.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        thinner
    }

    /// The steps with all others that may not stay without them, or `None` if writers must stay.
    fn with_those_who_saw(&self, steps: BTreeSet<usize>) -> Option<BTreeSet<usize>> {
        let all = &self.partition.steps;
        let writers_stay =
            all.iter().flat_map(|step| &step.guards).any(|(_, guard)| matches!(guard, Guard::Not(_)));
        let mut gone = steps.clone();
        let mut next: Vec<usize> = steps.into_iter().collect();
        while let Some(step) = next.pop() {
            if writers_stay && !all[step].writes.is_empty() {
                return None;
            }
            for (key, value) in &all[step].writes {
                let saw = |other: &Step| other.tests(*key, *value);
                next.extend((0..all.len()).filter(|i| saw(&all[*i]) && gone.insert(*i)));
            }
        }
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::partition::partition;
    use super::super::{Mix, tests::World};
    use super::*;

    #[test]
    fn no_part_of_a_linearizable_history_is_refuted() {
        let mut thinned = 0;
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let cas = rng.u32(..6);
            let mix = Mix { put: 4, get: 6, serializable: 1, delete: rng.u32(..3), cas, txn: 0 };
            let history = World::new(seed, 5, 1, mix, 4, 0.1).run(25);
            let whole = &partition(&history)[0];
            let origins = Origins::of(&whole.steps, &whole.initial);
            let core = Core::new(whole, &origins);
            let times = core.times(|step| Some(step.call)).into_iter().chain(core.times(|step| step.ret));
            for time in times {
                for part in [core.until(time), core.from(time)] {
                    let steps = part.partition.steps.len();
                    let some: BTreeSet<usize> = (0..steps).filter(|_| rng.u32(..5) == 0).collect();
                    let thinner = part.with_those_who_saw(some.clone()).map(|gone| part.without(&gone));
                    thinned += usize::from(thinner.is_some() && !some.is_empty());
                    for claim in [Some(part.weaker()), Some(part), thinner].into_iter().flatten() {
                        assert!(!claim.refuted(&mut 1_000_000), "seed {seed}, at {time}: {claim:?}");
                    }
                }
            }
        }
        assert!(thinned > 1_000, "only {thinned} parts were thinned");
    }
}
