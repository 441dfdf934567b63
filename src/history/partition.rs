//! Histories as the search sees them: registers, and steps that test and set them.
//!
//! Linearizability is local (Herlihy and Wing 1990, §3.1): a history is linearizable if its
//! restriction to each object is. Keys that no transaction joins are separate objects, so each
//! group of joined keys becomes a [`Partition`] of its own (P-compositionality: Horn and Kroening,
//! *Faster linearizability checking via P-compositionality*, 2015).

use super::operation::{Call, Operation, Outcome, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// A value of a register, by number.
pub(super) type Value = u32;
/// The register holds nothing.
pub(super) const ABSENT: Value = 0;
/// The register holds a value that no step tests for: all such values behave alike.
pub(super) const OTHER: Value = 1;

/// What a step needs a register to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Guard {
    /// This value.
    Is(Value),
    /// Anything but this value.
    Not(Value),
}

impl Guard {
    pub(super) fn holds(self, value: Value) -> bool {
        match self {
            Guard::Is(v) => value == v,
            Guard::Not(v) => value != v,
        }
    }
}

/// One operation: at one instant between `call` and `ret`, where all guards hold, it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Index of the operation in the history.
    pub(super) op: usize,
    /// What it needs, per key of the partition.
    pub(super) guards: Vec<(usize, Guard)>,
    /// What it writes, per key of the partition; each key at most once.
    pub(super) writes: Vec<(usize, Value)>,
    /// When it began.
    pub(super) call: u64,
    /// When it had taken effect at the latest; `None` if it may never have.
    pub(super) ret: Option<u64>,
}

impl Step {
    pub(super) fn tests(&self, key: usize, value: Value) -> bool {
        self.guards.contains(&(key, Guard::Is(value)))
    }

    pub(super) fn sets(&self, key: usize, value: Value) -> bool {
        self.writes.contains(&(key, value))
    }
}

/// A serializable read: it has no place in the real-time order, but what it saw had been written
/// before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Witness {
    /// Index of the operation in the history.
    pub(super) op: usize,
    pub(super) key: usize,
    pub(super) value: Value,
    pub(super) ret: u64,
}

/// The operations on keys that no transaction joins to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    /// The keys' names.
    pub(super) keys: Vec<String>,
    /// What the registers hold at first.
    pub(super) initial: Vec<Value>,
    /// The operations that have a place in the order, in no particular order.
    pub(super) steps: Vec<Step>,
    /// The serializable reads.
    pub(super) witnesses: Vec<Witness>,
}

/// Splits a history into partitions, in the order of their first keys.
pub(super) fn partition(history: &[Operation]) -> Vec<Partition> {
    let keys: BTreeSet<&str> = history.iter().flat_map(|o| o.call.keys()).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    let number = |key: &str| keys.binary_search(&key).expect("every key was collected");

    // Union by smaller index, with path halving.
    let mut root: Vec<usize> = (0..keys.len()).collect();
    fn find(root: &mut [usize], mut k: usize) -> usize {
        while root[k] != k {
            root[k] = root[root[k]];
            k = root[k];
        }
        k
    }
    for operation in history {
        let named = operation.call.keys();
        for pair in named.windows(2) {
            let (a, b) = (find(&mut root, number(pair[0])), find(&mut root, number(pair[1])));
            root[a.max(b)] = a.min(b);
        }
    }

    let mut parts: BTreeMap<usize, Builder<'_>> = BTreeMap::new();
    for (op, operation) in history.iter().enumerate() {
        if let Some(key) = operation.call.keys().first() {
            let of = find(&mut root, number(key));
            parts.entry(of).or_default().add(op, operation);
        }
    }
    parts.into_values().map(Builder::finish).collect()
}

#[derive(Default)]
struct Builder<'a> {
    keys: BTreeMap<&'a str, usize>,
    values: BTreeMap<&'a str, Value>,
    built: Partition,
}

impl<'a> Builder<'a> {
    fn key(&mut self, key: &'a str) -> usize {
        let next = self.keys.len();
        *self.keys.entry(key).or_insert(next)
    }

    fn value(&mut self, value: Option<&'a str>) -> Value {
        let next = OTHER + 1 + self.values.len() as Value;
        match value {
            None => ABSENT,
            Some(value) => *self.values.entry(value).or_insert(next),
        }
    }

    fn add(&mut self, op: usize, operation: &'a Operation) {
        // Registered whatever comes of it, so that every partition has its keys.
        operation.call.keys().into_iter().for_each(|key| {
            self.key(key);
        });
        let reply = match &operation.outcome {
            Outcome::Fail => return,
            Outcome::Unknown => None,
            Outcome::Ok { reply, .. } => Some(reply),
        };
        let mut guards = Vec::new();
        match (&operation.call, reply) {
            (Call::Get { key, serializable: true }, Some(Reply::Get(value))) => {
                let witness = Witness {
                    op,
                    key: self.key(key),
                    value: self.value(value.as_deref()),
                    ret: operation.deadline(),
                };
                self.built.witnesses.push(witness);
                return;
            }
            (Call::Get { key, .. }, Some(Reply::Get(value))) => {
                guards.push((self.key(key), Guard::Is(self.value(value.as_deref()))));
            }
            (Call::Delete { key }, Some(Reply::Delete(Some(true)))) => {
                guards.push((self.key(key), Guard::Not(ABSENT)));
            }
            (Call::Delete { key }, Some(Reply::Delete(Some(false)))) => {
                guards.push((self.key(key), Guard::Is(ABSENT)));
            }
            (Call::Cas { key, expected, .. }, Some(Reply::Cas(false))) => {
                guards.push((self.key(key), Guard::Not(self.value(expected.as_deref()))));
            }
            // One of unknown fate counts only where it changed something, so its comparison held.
            (Call::Cas { key, expected, .. }, Some(_) | None) => {
                guards.push((self.key(key), Guard::Is(self.value(expected.as_deref()))));
            }
            (Call::Txn { reads, .. }, Some(Reply::Txn(values))) => {
                for (key, value) in reads.iter().zip(values) {
                    guards.push((self.key(key), Guard::Is(self.value(value.as_deref()))));
                }
            }
            (Call::Put { .. } | Call::Get { .. } | Call::Delete { .. } | Call::Txn { .. }, _) => {}
        }
        let mut writes = Vec::new();
        if operation.may_write() {
            for (key, value) in operation.call.writes() {
                writes.push((self.key(key), self.value(value)));
            }
        }
        let ret = reply.is_some().then(|| operation.deadline());
        if ret.is_none() && writes.is_empty() {
            return; // a read without an answer says nothing
        }
        guards.sort_unstable();
        guards.dedup();
        writes.sort_unstable();
        self.built.steps.push(Step { op, guards, writes, call: operation.start_ns, ret });
    }

    fn finish(self) -> Partition {
        let mut names: Vec<(usize, &str)> = self.keys.iter().map(|(name, key)| (*key, *name)).collect();
        names.sort_unstable();
        Partition {
            initial: vec![ABSENT; names.len()],
            keys: names.into_iter().map(|(_, name)| name.to_owned()).collect(),
            ..self.built
        }
    }
}

/// How often a value can come to be in a register: once means that, once left, it never returns.
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<(usize, Value), (usize, Option<usize>)>);

impl Origins {
    pub(super) fn of(steps: &[Step], initial: &[Value]) -> Origins {
        let mut origins = Origins::default();
        for (key, value) in initial.iter().enumerate() {
            origins.0.entry((key, *value)).or_default().0 += 1;
        }
        for (i, step) in steps.iter().enumerate() {
            for write in &step.writes {
                let origin = origins.0.entry(*write).or_default();
                origin.0 += 1;
                origin.1 = Some(i);
            }
        }
        origins
    }

    pub(super) fn is_single(&self, key: usize, value: Value) -> bool {
        self.0.get(&(key, value)).is_some_and(|(count, _)| *count == 1)
    }

    /// The only step that writes the value, if the register did not hold it at first.
    fn sole_writer(&self, key: usize, value: Value) -> Option<usize> {
        self.0.get(&(key, value)).filter(|(count, _)| *count == 1).and_then(|(_, writer)| *writer)
    }
}

/// Passes over the steps in [`Partition::simplify`]. Each rule may enable another; stopping early
/// leaves a harder search with the same answer.
const PASSES: usize = 16;

impl Partition {
    /// Rewrites the steps into fewer and tighter ones that are linearizable if and only if these
    /// are. This is what makes dozens of operations of unknown fate affordable: they never end, so
    /// each of them is concurrent with all that follows, and the search would try them everywhere.
    pub(super) fn simplify(&mut self) {
        for _ in 0..PASSES {
            if !self.tighten() {
                break;
            }
        }
        for _ in 0..PASSES {
            if !self.drop_unnoticed() {
                break;
            }
        }
        self.merge_untested_values();
    }

    /// A write whose value was seen, and that nothing else can have written, did happen, and
    /// before the first of those that saw it ended. Returns whether anything changed.
    fn tighten(&mut self) -> bool {
        let origins = Origins::of(&self.steps, &self.initial);
        let mut sightings: Vec<(usize, u64)> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            let Some(ret) = step.ret else { continue };
            for (key, guard) in &step.guards {
                if let Guard::Is(value) = guard
                    && let Some(writer) = origins.sole_writer(*key, *value)
                    && writer != i
                {
                    sightings.push((writer, ret));
                }
            }
        }
        for seen in &self.witnesses {
            if let Some(writer) = origins.sole_writer(seen.key, seen.value) {
                sightings.push((writer, seen.ret));
            }
        }
        let mut changed = false;
        for (writer, ret) in sightings {
            let step = &mut self.steps[writer];
            if step.ret.is_none_or(|latest| ret < latest) {
                step.ret = Some(ret);
                changed = true;
            }
        }
        changed
    }

    /// Drops writes of unknown fate that no other step can notice. Take a linearization that has
    /// such a write: without it, the register keeps its previous value until the next write.
    /// Whoever tests it in between either needs the value that was written, or needs it not to be
    /// the previous one (a failed cas, a delete that found something): where there is neither, the
    /// rest is a linearization still. Such a test by a step of unknown fate counts as well, until
    /// that step is dropped itself. Returns whether anything changed.
    fn drop_unnoticed(&mut self) -> bool {
        let mut wanted: BTreeSet<(usize, Value)> = BTreeSet::new();
        let mut unwanted: BTreeMap<usize, BTreeSet<Value>> = BTreeMap::new();
        for step in &self.steps {
            for (key, guard) in &step.guards {
                match guard {
                    Guard::Is(value) => {
                        wanted.insert((*key, *value));
                    }
                    Guard::Not(value) => {
                        unwanted.entry(*key).or_default().insert(*value);
                    }
                }
            }
        }
        let noticed = |(key, value): &(usize, Value)| {
            wanted.contains(&(*key, *value))
                || unwanted.get(key).is_some_and(|not| not.iter().any(|v| v != value))
        };
        let before = self.steps.len();
        self.steps.retain(|step| step.ret.is_some() || step.writes.iter().any(noticed));
        self.steps.len() < before
    }

    /// Values that no guard names cannot be told from one another, so neither can the steps that
    /// write them, nor the states that they leave.
    fn merge_untested_values(&mut self) {
        let tested: BTreeSet<(usize, Value)> = self
            .steps
            .iter()
            .flat_map(|step| &step.guards)
            .map(|(key, guard)| match guard {
                Guard::Is(value) | Guard::Not(value) => (*key, *value),
            })
            .collect();
        let merge = |key: usize, value: &mut Value| {
            if *value != ABSENT && !tested.contains(&(key, *value)) {
                *value = OTHER;
            }
        };
        for step in &mut self.steps {
            step.writes.iter_mut().for_each(|(key, value)| merge(*key, value));
        }
        self.initial.iter_mut().enumerate().for_each(|(key, value)| merge(key, value));
    }
}
