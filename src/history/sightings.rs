//! What operations saw: which value, in which key, at which revision.

use super::operation::{Change, Operation, Outcome, Reply};
use super::verify::{Finding, Property};
use std::collections::BTreeMap;

/// An answered operation knows that a key had a value.
pub(super) struct Sighting<'a> {
    /// Index of the operation in the history.
    pub(super) op: usize,
    pub(super) key: &'a str,
    /// `None` where the key was absent.
    pub(super) value: Option<&'a str>,
    /// The revision of the store at which it had the value, where known.
    pub(super) revision: Option<u64>,
}

/// Everything that answers say about values. Reads of an operation that changed the store saw the
/// revision before its own.
pub(super) fn sightings(history: &[Operation]) -> Vec<Sighting<'_>> {
    let mut all = Vec::new();
    for (op, operation) in history.iter().enumerate() {
        let Some(reply) = operation.reply() else { continue };
        let after = operation.revision();
        let before = match operation.change() {
            Change::Made => after.and_then(|r| r.checked_sub(1)),
            Change::None => after,
            Change::Unsaid => None,
        };
        let mut saw = |key, value, revision| all.push(Sighting { op, key, value, revision });
        match (&operation.call, reply) {
            (super::Call::Get { key, .. }, Reply::Get(value)) => saw(key, value.as_deref(), after),
            (super::Call::Cas { key, expected, .. }, Reply::Cas(true)) => {
                saw(key, expected.as_deref(), before)
            }
            // Found nothing, or did not say: absent now in any case.
            (super::Call::Delete { key }, Reply::Delete(Some(false) | None)) => saw(key, None, after),
            (super::Call::Txn { reads, writes }, Reply::Txn(values)) => {
                for (key, value) in reads.iter().zip(values) {
                    saw(key, value.as_deref(), before);
                }
                if operation.change() == Change::Unsaid {
                    writes.iter().for_each(|w| saw(&w.key, None, after));
                }
            }
            (_, Reply::Put | Reply::Get(_) | Reply::Delete(_) | Reply::Cas(true | false) | Reply::Txn(_)) => {
            }
        }
    }
    all
}

/// No creation: a value that was read had been written. The only check that serializable reads
/// without a revision are under.
pub(super) fn no_creation(history: &[Operation], sightings: &[Sighting<'_>]) -> Option<Finding> {
    let mut written: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (op, operation) in history.iter().enumerate() {
        for (key, value) in operation.call.writes() {
            if let Some(value) = value {
                written.entry((key, value)).or_default().push(op);
            }
        }
    }
    let wrong = sightings.iter().find_map(|saw| {
        let value = saw.value?;
        let writers = written.get(&(saw.key, value)).map_or(&[][..], Vec::as_slice);
        let in_time = |op: &usize| history[*op].start_ns <= history[saw.op].deadline();
        let explained = writers.iter().any(|op| in_time(op) && history[*op].may_write());
        (!explained).then_some((saw, value, writers))
    });
    let (saw, value, writers) = wrong?;
    let why = match writers.first().map(|op| &history[*op].outcome) {
        None => "nobody ever wrote it",
        Some(Outcome::Fail) => "its write surely failed",
        Some(Outcome::Ok { .. } | Outcome::Unknown) => "it was written later, or not at all",
    };
    Some(Finding {
        property: Property::NoCreation,
        statement: format!("{} had the value {value:?}, but {why}", saw.key),
        operations: writers.iter().copied().chain([saw.op]).collect(),
    })
}
