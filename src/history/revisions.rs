//! What revisions promise: cheap checks over the whole history, all keys together.
//!
//! A store has one revision. Every operation that changes it raises the revision by one, and
//! carries the new one in the header of its answer; every other answer carries the revision of
//! the state that it saw.

use super::operation::{Change, Operation};
use super::sightings::Sighting;
use super::verify::{Finding, Property};
use std::collections::BTreeMap;

/// The first violation of each property.
pub(super) fn check(history: &[Operation], sightings: &[Sighting<'_>]) -> Vec<Finding> {
    let orders = [
        order(history, Property::SessionOrder, |o| Some(o.client), false),
        order(history, Property::RevisionOrder, |_| Some(0), false),
        order(history, Property::ReplicaOrder, Operation::replica, true),
    ];
    let mut found: Vec<Finding> = orders.into_iter().flatten().collect();
    found.extend(unique(history));
    found.extend(agreement(history, sightings));
    found.extend(Values::of(history).check(history, sightings));
    found
}

/// No two changes have one revision.
fn unique(history: &[Operation]) -> Option<Finding> {
    let mut changes: BTreeMap<u64, usize> = BTreeMap::new();
    for (op, operation) in history.iter().enumerate() {
        let (Change::Made, Some(revision)) = (operation.change(), operation.revision()) else { continue };
        if let Some(other) = changes.insert(revision, op) {
            return Some(Finding {
                property: Property::UniqueRevisions,
                statement: format!("two changes of the store have revision {revision}"),
                operations: vec![other, op],
            });
        }
    }
    None
}

/// Within each group, an operation that began after another had ended has a revision that is not
/// lower, and higher if it changed the store. Serializable reads may lag, so they are held to this
/// only where the group is one replica; but what they saw existed, so they bind those after them.
fn order(
    history: &[Operation],
    property: Property,
    group: impl Fn(&Operation) -> Option<u64>,
    binds_serializable: bool,
) -> Option<Finding> {
    let known: Vec<(usize, &Operation, u64, u64)> =
        history.iter().enumerate().filter_map(|(op, o)| Some((op, o, group(o)?, o.revision()?))).collect();
    let mut by_end = known.clone();
    by_end.sort_by_key(|(_, o, _, _)| o.deadline());
    let mut by_start = known;
    by_start.sort_by_key(|(_, o, _, _)| o.start_ns);
    let mut ended = by_end.into_iter().peekable();
    // Per group: the highest revision of those that have ended, and whose it is.
    let mut highest: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for (op, operation, group, revision) in by_start {
        while let Some((op, _, group, revision)) =
            ended.next_if(|(_, other, _, _)| other.deadline() < operation.start_ns)
        {
            let top = highest.entry(group).or_insert((revision, op));
            if revision > top.0 {
                *top = (revision, op);
            }
        }
        if operation.is_serializable() && !binds_serializable {
            continue;
        }
        let Some(&(floor, before)) = highest.get(&group) else { continue };
        let changed = operation.change() == Change::Made;
        if revision < floor || (changed && revision == floor) {
            let statement = format!(
                "revision {floor} had been shown, and then {} {revision}",
                if changed { "a change got" } else { "an answer carried" }
            );
            return Some(Finding { property, statement, operations: vec![before, op] });
        }
    }
    None
}

/// At one revision a key has one value.
fn agreement(history: &[Operation], sightings: &[Sighting<'_>]) -> Option<Finding> {
    let mut seen: BTreeMap<(&str, u64), &Sighting<'_>> = BTreeMap::new();
    for saw in sightings {
        let Some(revision) = saw.revision else { continue };
        let first = seen.entry((saw.key, revision)).or_insert(saw);
        if first.value != saw.value {
            return Some(Finding {
                property: Property::ValueAtRevision,
                statement: format!("{} had two values at revision {revision}", saw.key),
                operations: explain(history, [first.op, saw.op]),
            });
        }
    }
    None
}

fn explain<const N: usize>(history: &[Operation], mut ops: [usize; N]) -> Vec<usize> {
    ops.sort_by_key(|op| history[*op].start_ns);
    ops.to_vec()
}

/// The value of a key as a function of the revision, as far as answers tell.
struct Values<'a> {
    /// Per key and revision: the value written, and the operation.
    written: BTreeMap<(&'a str, u64), (Option<&'a str>, usize)>,
    /// Revisions of which the change is known, whatever its key; sorted.
    accounted: Vec<u64>,
    /// Writes whose revision nobody was told, or that may not have happened: when the first of
    /// each key and value began.
    loose: BTreeMap<(&'a str, Option<&'a str>), u64>,
}

impl<'a> Values<'a> {
    fn of(history: &'a [Operation]) -> Values<'a> {
        let mut values = Values { written: BTreeMap::new(), accounted: Vec::new(), loose: BTreeMap::new() };
        for (op, operation) in history.iter().enumerate().filter(|(_, o)| o.may_write()) {
            let at = operation.revision().filter(|_| operation.change() == Change::Made);
            values.accounted.extend(at);
            for (key, value) in operation.call.writes() {
                match at {
                    Some(revision) => {
                        values.written.entry((key, revision)).or_insert((value, op));
                    }
                    None => {
                        let first = values.loose.entry((key, value)).or_insert(operation.start_ns);
                        *first = operation.start_ns.min(*first);
                    }
                }
            }
        }
        values.accounted.sort_unstable();
        values.accounted.dedup();
        values
    }

    /// A value seen at a revision is the one last written at or below it. The exception is a write
    /// whose revision is not known, where there is one that fits, and a revision left for it.
    fn check(&self, history: &[Operation], sightings: &[Sighting<'_>]) -> Option<Finding> {
        sightings.iter().find_map(|saw| {
            let at = saw.revision?;
            let last = self.written.range((saw.key, 0)..=(saw.key, at)).next_back();
            // An empty store is at revision 1.
            let (since, value, writer) = match last {
                Some((&(_, revision), &(value, op))) => (revision, value, Some(op)),
                None => (1, None, None),
            };
            if value == saw.value {
                return None;
            }
            let up_to = |revision: u64| self.accounted.partition_point(|r| *r <= revision) as u64;
            let room = at.saturating_sub(since) > up_to(at).saturating_sub(up_to(since));
            let begun = self.loose.get(&(saw.key, saw.value));
            if room && begun.is_some_and(|start| *start <= history[saw.op].deadline()) {
                return None;
            }
            let statement = match writer {
                Some(_) => format!(
                    "at revision {at}, {} must have the value that was written at revision {since}",
                    saw.key
                ),
                None => format!("at revision {at}, nothing had been written to {} yet", saw.key),
            };
            let operations = writer.into_iter().chain([saw.op]).collect();
            Some(Finding { property: Property::ValueAtRevision, statement, operations })
        })
    }
}
