//! The quick way to refute: values that cannot have taken turns.
//!
//! A value that only one write can bring into a register is there during one stretch of the
//! order: from its write until the next, and all who saw it fall in between. So if anyone in the
//! stretch of x ended before anyone in the stretch of y began, all of x lies before all of y. Two
//! values each of which lies before the other refute the history. For writes and reads of unique
//! values this is the whole of linearizability (Gibbons and Korach, *Testing shared memories*,
//! 1997); comparisons and deletes need the search. It takes a sort, where a search that fails has
//! to go back through all that might have been otherwise.

use super::partition::{Guard, Origins, Partition, Value};
use std::collections::BTreeMap;

/// Two values of a key that did not take turns.
pub(super) struct Clash {
    pub(super) key: usize,
    /// The operations that show it (indices in the history), with the writers.
    pub(super) operations: Vec<usize>,
}

/// The stretch of one value.
#[derive(Clone, Copy)]
struct Zone {
    key: usize,
    value: Value,
    /// The first end of those in the stretch, and whose it is: nobody's for what was there at first.
    end: (u64, Option<usize>),
    /// The last beginning, and whose it is.
    begin: (u64, Option<usize>),
}

/// Finds a clash, if there is one.
pub(super) fn clash(partition: &Partition) -> Option<Clash> {
    let zones = zones(partition);
    // Forward zones: someone saw the value after someone else was through with it, so it was
    // there all the time between the two. No other stretch may cover any of that.
    let (mut forward, backward): (Vec<Zone>, Vec<Zone>) =
        zones.into_iter().partition(|zone| zone.end.0 < zone.begin.0);
    forward.sort_by_key(|zone| (zone.key, zone.end.0));
    let pair = forward.windows(2).map(|pair| (pair[0], pair[1])).find(|(a, b)| clashes(a, b));
    let pair = pair.or_else(|| {
        // These do not overlap, so a backward zone can only lie in the last that ends before it.
        backward.into_iter().find_map(|inner| {
            let after = forward.partition_point(|zone| (zone.key, zone.end.0) < (inner.key, inner.begin.0));
            let outer = forward[..after].last()?;
            clashes(outer, &inner).then_some((*outer, inner))
        })
    });
    let (a, b) = pair?;
    let ends = [a.end.1, a.begin.1, b.end.1, b.begin.1];
    let mut operations: Vec<usize> = ends.into_iter().flatten().collect();
    for zone in [a, b] {
        let writers = partition.steps.iter().filter(|step| step.sets(zone.key, zone.value));
        operations.extend(writers.map(|step| step.op));
    }
    operations.sort_unstable();
    operations.dedup();
    Some(Clash { key: a.key, operations })
}

fn clashes(a: &Zone, b: &Zone) -> bool {
    a.key == b.key && a.end.0 < b.begin.0 && b.end.0 < a.begin.0
}

fn zones(partition: &Partition) -> Vec<Zone> {
    type Extremes = (Option<(u64, Option<usize>)>, Option<(u64, Option<usize>)>);
    let origins = Origins::of(&partition.steps, &partition.initial);
    let mut extremes: BTreeMap<(usize, Value), Extremes> = BTreeMap::new();
    let mut note = |key: usize, value: Value, op: Option<usize>, begin: Option<u64>, end: Option<u64>| {
        if origins.is_single(key, value) {
            let (first_end, last_begin) = extremes.entry((key, value)).or_default();
            *first_end = first_end.iter().copied().chain(end.map(|end| (end, op))).min();
            *last_begin = begin.map(|begin| (begin, op)).max(*last_begin);
        }
    };
    for (key, value) in partition.initial.iter().enumerate() {
        note(key, *value, None, None, Some(0));
    }
    for step in &partition.steps {
        for (key, value) in &step.writes {
            note(*key, *value, Some(step.op), Some(step.call), step.ret);
        }
        for (key, guard) in &step.guards {
            if let (Guard::Is(value), Some(_)) = (guard, step.ret) {
                note(*key, *value, Some(step.op), Some(step.call), step.ret);
            }
        }
    }
    for seen in &partition.witnesses {
        note(seen.key, seen.value, Some(seen.op), None, Some(seen.ret));
    }
    // Without an end, nothing says that the value was ever there.
    let zone = |((key, value), (end, begin)): ((usize, Value), Extremes)| {
        Some(Zone { key, value, end: end?, begin: begin? })
    };
    extremes.into_iter().filter_map(zone).collect()
}
