//! The search for a linearization: depth first over configurations, each visited once.
//!
//! Wing and Gong, *Testing and verifying concurrent objects* (1993), with the memory of Lowe,
//! *Testing for linearizability* (2017), in the just-in-time order of the same paper: time moves
//! from one return to the next, and a step is put in the order only when a return forces it, or
//! forces something after it. A configuration is then small: of the steps under way, those
//! already placed, and the registers.
//!
//! Rules that cut the search; each keeps a linearization if there is one:
//!
//! 1. *Reads go first.* A step that writes nothing and is legal now is placed now: it changes
//!    nothing for the others.
//! 2. *A value that is still to be seen is not overwritten*, if nothing can write it again.
//! 3. *Twins in the order of their ends.* Of steps with equal guards and writes, both under way,
//!    the one that must end first is placed first: in any linearization they can be swapped.
//! 4. *Steps of unknown fate are placed only for a purpose*: to make a guard of another step under
//!    way hold that does not hold now. One that serves nothing can be put off until it does, or
//!    left out for ever.
//! 5. *Fewer used is better.* Of two configurations that differ only in how many steps of unknown
//!    fate they have used, the one that has used more (of every kind) can do nothing that the
//!    other cannot.

use super::partition::{Guard, Origins, Partition, Step, Value};
use std::collections::BTreeMap;

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is a linearization.
    Linearizable,
    /// There is none; and no order gets past this time.
    Stuck(u64),
    /// The bound was reached first; no order was found that gets past this time.
    Undecided(u64),
}

/// Entries of [`Problem::active`], so that a history of steps that all overlap cannot fill memory.
const MAX_ACTIVE: usize = 1 << 24;

/// Searches a linearization of the partition. `budget` is the number of configurations that may be
/// generated, and is reduced by those that were.
pub(super) fn search(partition: &Partition, budget: &mut u64) -> Found {
    let mut simple = partition.clone();
    simple.simplify();
    let early = |step: &&Step| step.ret.is_some_and(|ret| ret < step.call);
    if let Some(step) = simple.steps.iter().find(early) {
        return Found::Stuck(step.call); // its value was seen before it was written
    }
    match Problem::new(simple) {
        Some(problem) => problem.solve(budget),
        None => Found::Undecided(0),
    }
}

/// Guards and writes.
type Effect = (Vec<(usize, Guard)>, Vec<(usize, Value)>);

/// Steps of unknown fate with equal guards and writes.
struct Optional {
    guards: Vec<(usize, Guard)>,
    writes: Vec<(usize, Value)>,
    /// The class of steps that must happen and have the same effect.
    twin: usize,
    /// When they began, sorted.
    calls: Vec<u64>,
}

struct Problem {
    initial: Vec<Value>,
    /// The steps that must happen, by their ends.
    steps: Vec<Step>,
    /// Per step: number of its class of twins.
    class: Vec<usize>,
    /// Per step: its bit in [`Config::placed`] while it is under way.
    slot: Vec<usize>,
    slots: usize,
    /// Per return: the steps under way then, by their ends; the first is the one that returns.
    active: Vec<Vec<u32>>,
    optional: Vec<Optional>,
    /// For values that never return once left: when the last step began that needs to see it.
    last_needed: BTreeMap<(usize, Value), u64>,
}

#[derive(Clone)]
struct Config {
    /// The return that is next.
    event: usize,
    registers: Vec<Value>,
    /// Of the steps under way: those that have their place.
    placed: Vec<u64>,
    /// Per class of steps of unknown fate: how many have been used.
    used: Vec<u32>,
}

impl Config {
    fn has(&self, slot: usize) -> bool {
        self.placed[slot / 64] & (1 << (slot % 64)) != 0
    }

    fn place(&mut self, slot: usize) {
        self.placed[slot / 64] |= 1 << (slot % 64);
    }

    fn free(&mut self, slot: usize) {
        self.placed[slot / 64] &= !(1 << (slot % 64));
    }
}

/// The configurations visited: per place, the numbers of steps used that are not beaten by others.
#[derive(Default)]
struct Visited(BTreeMap<Place, Vec<Vec<u32>>>);

/// The event, the steps placed, and the registers.
type Place = (usize, Vec<u64>, Vec<Value>);

impl Visited {
    /// Whether the configuration can do something that none visited before it could.
    fn insert(&mut self, config: &Config) -> bool {
        let key = (config.event, config.placed.clone(), config.registers.clone());
        let known = self.0.entry(key).or_default();
        let beats = |a: &[u32], b: &[u32]| a.iter().zip(b).all(|(a, b)| a <= b);
        if known.iter().any(|used| beats(used, &config.used)) {
            return false;
        }
        known.retain(|used| !beats(&config.used, used));
        known.push(config.used.clone());
        true
    }
}

fn legal(guards: &[(usize, Guard)], registers: &[Value]) -> bool {
    guards.iter().all(|(key, guard)| guard.holds(registers[*key]))
}

impl Problem {
    /// `None` if too many steps overlap.
    fn new(partition: Partition) -> Option<Problem> {
        let Partition { initial, steps: all, .. } = partition;
        let origins = Origins::of(&all, &initial);
        let mut last_needed: BTreeMap<(usize, Value), u64> = BTreeMap::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut rest: Vec<Step> = Vec::new();
        for step in all {
            if step.ret.is_some() { steps.push(step) } else { rest.push(step) }
        }
        steps.sort_by_key(|step| (step.ret, step.call, step.op));
        for step in &steps {
            for (key, guard) in &step.guards {
                if let Guard::Is(value) = guard
                    && origins.is_single(*key, *value)
                {
                    let last = last_needed.entry((*key, *value)).or_default();
                    *last = step.call.max(*last);
                }
            }
        }

        let mut classes: BTreeMap<Effect, usize> = BTreeMap::new();
        let mut class_of = |step: &Step| {
            let next = classes.len();
            *classes.entry((step.guards.clone(), step.writes.clone())).or_insert(next)
        };
        let class = steps.iter().map(&mut class_of).collect();
        let mut optional: BTreeMap<usize, Optional> = BTreeMap::new();
        for step in rest {
            let twin = class_of(&step);
            let Step { guards, writes, call, .. } = step;
            optional
                .entry(twin)
                .or_insert_with(|| Optional { guards, writes, twin, calls: Vec::new() })
                .calls
                .push(call);
        }
        let mut optional: Vec<Optional> = optional.into_values().collect();
        optional.iter_mut().for_each(|class| class.calls.sort_unstable());

        let (slot, slots, active) = overlaps(&steps)?;
        Some(Problem { initial, steps, class, slot, slots, active, optional, last_needed })
    }

    fn solve(&self, budget: &mut u64) -> Found {
        let mut visited = Visited::default();
        let mut stack = vec![Config {
            event: 0,
            registers: self.initial.clone(),
            placed: vec![0; self.slots.div_ceil(64)],
            used: vec![0; self.optional.len()],
        }];
        let mut furthest = 0;
        while let Some(mut config) = stack.pop() {
            if self.advance(&mut config) {
                return Found::Linearizable;
            }
            furthest = config.event.max(furthest);
            if !visited.insert(&config) {
                continue;
            }
            let before = stack.len();
            self.successors(&config, &mut stack);
            let generated = (stack.len() - before) as u64;
            if generated > *budget {
                *budget = 0;
                return Found::Undecided(self.end(furthest));
            }
            *budget -= generated;
        }
        Found::Stuck(self.end(furthest))
    }

    /// Does what needs no choice: places the reads that are legal, and passes the returns of steps
    /// that are placed. Returns whether all steps are.
    fn advance(&self, config: &mut Config) -> bool {
        while config.event < self.steps.len() {
            for &i in &self.active[config.event] {
                let (step, slot) = (&self.steps[i as usize], self.slot[i as usize]);
                if step.writes.is_empty() && !config.has(slot) && legal(&step.guards, &config.registers) {
                    config.place(slot);
                }
            }
            let slot = self.slot[config.event];
            if !config.has(slot) {
                return false;
            }
            config.free(slot);
            config.event += 1;
        }
        true
    }

    /// The configurations that come next, the most promising last: steps that must happen before
    /// those of unknown fate, and among them those that must happen first.
    fn successors(&self, config: &Config, out: &mut Vec<Config>) {
        let first = out.len();
        let mut seen: Vec<usize> = Vec::new();
        for &i in &self.active[config.event] {
            let (step, slot) = (&self.steps[i as usize], self.slot[i as usize]);
            if config.has(slot) || seen.contains(&self.class[i as usize]) {
                continue;
            }
            seen.push(self.class[i as usize]);
            if step.writes.is_empty() || !legal(&step.guards, &config.registers) {
                continue;
            }
            if let Some(mut next) = self.write(config, &step.writes, Some(i)) {
                next.place(slot);
                out.push(next);
            }
        }
        for (class, step) in self.optional.iter().enumerate() {
            if self.available(config, class)
                && !seen.contains(&step.twin)
                && legal(&step.guards, &config.registers)
                && self.has_purpose(config, class)
                && let Some(mut next) = self.write(config, &step.writes, None)
            {
                next.used[class] += 1;
                out.push(next);
            }
        }
        out[first..].reverse();
    }

    fn end(&self, event: usize) -> u64 {
        self.steps[event].ret.expect("steps that must happen have an end")
    }

    fn available(&self, config: &Config, class: usize) -> bool {
        let now = self.end(config.event);
        let begun = self.optional[class].calls.partition_point(|call| *call <= now);
        (config.used[class] as usize) < begun
    }

    /// Rule 4. It is about steps of one key: putting off one that writes several could move it
    /// past a write of one of them.
    fn has_purpose(&self, config: &Config, class: usize) -> bool {
        let &[(key, value)] = self.optional[class].writes.as_slice() else { return true };
        let helps = |guards: &[(usize, Guard)]| {
            guards
                .iter()
                .any(|(k, guard)| *k == key && !guard.holds(config.registers[key]) && guard.holds(value))
        };
        self.waiting(config).any(|step| helps(&step.guards))
            || (0..self.optional.len())
                .any(|other| self.available(config, other) && helps(&self.optional[other].guards))
    }

    fn waiting<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a Step> {
        self.active[config.event]
            .iter()
            .map(|i| *i as usize)
            .filter(|i| !config.has(self.slot[*i]))
            .map(|i| &self.steps[i])
    }

    /// The configuration after these writes, unless they hide what is still to be seen (rule 2).
    fn write(&self, config: &Config, writes: &[(usize, Value)], by: Option<u32>) -> Option<Config> {
        let now = self.end(config.event);
        let writer = by.map(|i| self.steps[i as usize].op);
        let mut next = config.clone();
        for &(key, value) in writes {
            let old = config.registers[key];
            if old != value
                && let Some(last) = self.last_needed.get(&(key, old))
                && (*last > now
                    || self.waiting(config).any(|step| step.tests(key, old) && Some(step.op) != writer))
            {
                return None;
            }
            next.registers[key] = value;
        }
        Some(next)
    }
}

/// Per step its slot, the number of slots, and per return the steps under way.
fn overlaps(steps: &[Step]) -> Option<(Vec<usize>, usize, Vec<Vec<u32>>)> {
    let mut by_call: Vec<u32> = (0..steps.len() as u32).collect();
    by_call.sort_by_key(|i| steps[*i as usize].call);
    let mut slot = vec![0; steps.len()];
    let (mut free, mut slots) = (Vec::new(), 0);
    let mut active = Vec::with_capacity(steps.len());
    let (mut under_way, mut entries, mut begun) = (Vec::<u32>::new(), 0, 0);
    for (event, returning) in steps.iter().enumerate() {
        // At one instant calls come before returns: operations that touch are concurrent.
        while let Some(&i) = by_call.get(begun).filter(|i| Some(steps[**i as usize].call) <= returning.ret) {
            begun += 1;
            slot[i as usize] = free.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            });
            let at = under_way.partition_point(|other| *other < i);
            under_way.insert(at, i);
        }
        entries += under_way.len();
        if entries > MAX_ACTIVE {
            return None;
        }
        active.push(under_way.clone());
        assert_eq!(under_way.remove(0) as usize, event, "the step that returns is the first to end");
        free.push(slot[event]);
    }
    Some((slot, slots, active))
}
