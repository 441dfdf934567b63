//! The verdict on a history, and the report of what is wrong with it.

use super::operation::{Operation, Outcome};
use super::partition::{Origins, Partition, partition};
use super::revisions;
use super::search::{Found, search};
use super::shrink::Core;
use super::sightings::{no_creation, sightings};
use super::zones::clash;
use std::collections::BTreeSet;
use std::fmt;

/// Bounds on the work of [`verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Configurations of the search for a linearization, over all keys; each takes a few hundred
    /// bytes. Beyond it, the verdict is [`Verdict::Undecided`].
    pub configurations: u64,
    /// Work spent on finding the fewest operations that show a violation, in configurations and
    /// operations looked at. Beyond it, the report shows more operations than it had to.
    pub explanation: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { configurations: 1_000_000, explanation: 4_000_000 }
    }
}

/// What a correct store's history has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// There is one order of all operations, except serializable reads, in which each takes
    /// effect at an instant between its start and its end, and gives the answer that it gave.
    Linearizability,
    /// A value that was read had been written.
    NoCreation,
    /// No two changes of the store have one revision.
    UniqueRevisions,
    /// An operation that begins after another ended has a revision that is not lower, and higher
    /// if it changes the store.
    RevisionOrder,
    /// The same, for the operations of one client.
    SessionOrder,
    /// The same, for the answers of one replica, serializable reads included.
    ReplicaOrder,
    /// A value seen at a revision is the one last written at or below it.
    ValueAtRevision,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Property::Linearizability => "linearizability",
            Property::NoCreation => "no creation",
            Property::UniqueRevisions => "unique revisions",
            Property::RevisionOrder => "revision order",
            Property::SessionOrder => "session order",
            Property::ReplicaOrder => "replica order",
            Property::ValueAtRevision => "value at revision",
        })
    }
}

/// The answer of [`verify`] in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every property holds.
    Holds,
    /// At least one property is violated.
    Violated,
    /// No violation was found, but some keys were not decided within the [`Limits`]: this is not
    /// a pass.
    Undecided,
}

/// A property that does not hold, and operations that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What does not hold.
    pub property: Property,
    /// What is wrong with these operations.
    pub statement: String,
    /// As few operations as were found to show it, by their start.
    pub operations: Vec<Operation>,
}

/// Keys whose operations were not decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The keys; several where transactions join them.
    pub keys: Vec<String>,
    /// How many operations name them.
    pub operations: usize,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Operations in the history.
    pub operations: usize,
    /// Of these: executed and answered.
    pub ok: usize,
    /// Of these: surely not executed.
    pub failed: usize,
    /// Of these: of unknown fate.
    pub unknown: usize,
    /// Clients that took part.
    pub clients: usize,
    /// Keys named.
    pub keys: usize,
    /// Configurations that the search generated.
    pub configurations: u64,
    /// The first violation found of each property (of linearizability: for each key).
    pub violations: Vec<Violation>,
    /// What was left open.
    pub undecided: Vec<Undecided>,
}

/// A violation, by the indices of its operations.
pub(super) struct Finding {
    pub(super) property: Property,
    pub(super) statement: String,
    pub(super) operations: Vec<usize>,
}

/// Checks every [`Property`] of a history. Time and memory are bounded by the limits.
pub fn verify(history: &[Operation], limits: &Limits) -> Report {
    let sightings = sightings(history);
    let mut findings: Vec<Finding> = no_creation(history, &sightings).into_iter().collect();
    findings.extend(revisions::check(history, &sightings));

    let mut budget = limits.configurations;
    let mut explanation = limits.explanation;
    let mut undecided = Vec::new();
    for partition in partition(history) {
        match decide(&partition, &mut budget, &mut explanation) {
            Decision::Holds => {}
            Decision::Violated(keys, operations) => {
                let keys = keys.join(", ");
                let statement = format!("no order of these operations on {keys} explains their answers");
                findings.push(Finding { property: Property::Linearizability, statement, operations });
            }
            Decision::Undecided => undecided.push(Undecided {
                operations: partition.steps.len() + partition.witnesses.len(),
                keys: partition.keys,
            }),
        }
    }

    let outcomes = |of: fn(&Outcome) -> bool| history.iter().filter(|o| of(&o.outcome)).count();
    Report {
        operations: history.len(),
        ok: outcomes(|o| matches!(o, Outcome::Ok { .. })),
        failed: outcomes(|o| matches!(o, Outcome::Fail)),
        unknown: outcomes(|o| matches!(o, Outcome::Unknown)),
        clients: history.iter().map(|o| o.client).collect::<BTreeSet<u64>>().len(),
        keys: history.iter().flat_map(|o| o.call.keys()).collect::<BTreeSet<&str>>().len(),
        configurations: limits.configurations - budget,
        violations: findings.into_iter().map(|finding| finding.of(history)).collect(),
        undecided,
    }
}

enum Decision {
    Holds,
    /// On these keys, by these operations.
    Violated(Vec<String>, Vec<usize>),
    Undecided,
}

/// Configurations per step that a search may take before it is suspected to fail. Searches that
/// succeed take one to four.
const SUSPICION: u64 = 8;

/// First what needs no search; then a search that is enough if all is well; then windows around where it got stuck, since
/// those are refuted faster than the whole; then a search with all that is left of the budget.
fn decide(partition: &Partition, budget: &mut u64, explanation: &mut u64) -> Decision {
    if let Some(clash) = clash(partition) {
        return Decision::Violated(vec![partition.keys[clash.key].clone()], clash.operations);
    }
    let origins = Origins::of(&partition.steps, &partition.initial);
    let mut core = Core::new(partition, &origins);
    let mut patience = (SUSPICION * partition.steps.len() as u64).min(*budget);
    *budget -= patience;
    let first = search(partition, &mut patience);
    *budget += patience;
    let found = match first {
        Found::Undecided(at) if core.close_in(at, budget) => {
            return Decision::Violated(partition.keys.clone(), core.shrink(explanation));
        }
        Found::Undecided(_) => search(partition, budget),
        Found::Linearizable | Found::Stuck(_) => first,
    };
    match found {
        Found::Linearizable => Decision::Holds,
        Found::Stuck(at) => {
            core.close_in(at, explanation);
            Decision::Violated(partition.keys.clone(), core.shrink(explanation))
        }
        Found::Undecided(_) => Decision::Undecided,
    }
}

impl Finding {
    fn of(self, history: &[Operation]) -> Violation {
        let mut operations: Vec<Operation> =
            self.operations.into_iter().map(|op| history[op].clone()).collect();
        operations.sort_by_key(|o| (o.start_ns, o.deadline()));
        Violation { property: self.property, statement: self.statement, operations }
    }
}

impl Report {
    /// The answer in one word.
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if !self.undecided.is_empty() {
            Verdict::Undecided
        } else {
            Verdict::Holds
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} on {}: {} ok, {} failed, {} of unknown fate",
            counted(self.operations, "operation"),
            counted(self.clients, "client"),
            counted(self.keys, "key"),
            self.ok,
            self.failed,
            self.unknown
        )?;
        for violation in &self.violations {
            write!(f, "{violation}")?;
        }
        for open in &self.undecided {
            writeln!(f, "undecided: {} on {}", counted(open.operations, "operation"), open.keys.join(", "))?;
        }
        match self.verdict() {
            Verdict::Holds => write!(f, "every property holds ({} configurations)", self.configurations),
            Verdict::Violated => write!(f, "VIOLATED"),
            Verdict::Undecided => {
                write!(
                    f,
                    "UNDECIDED after {} configurations: record fewer operations per key, or raise the limit",
                    self.configurations
                )
            }
        }
    }
}

/// Operations shown in the report of a violation; the rest is counted.
const SHOWN: usize = 40;

/// Several lines: the property, what is wrong, and a table of the operations, with times from the
/// start of the first.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "violation of {}: {}", self.property, self.statement)?;
        let origin = self.operations.first().map_or(0, |o| o.start_ns);
        let last = self.operations.iter().filter_map(|o| o.end_ns).max().unwrap_or(origin);
        let (unit, scale) = match last.saturating_sub(origin) {
            0..100_000 => ("ns", 0),
            100_000.. => ("ms", 3),
        };
        let time = |at: u64| {
            let relative = at.saturating_sub(origin);
            if scale == 0 {
                relative.to_string()
            } else {
                format!("{}.{:03}", relative / 1_000_000, relative / 1_000 % 1_000)
            }
        };
        writeln!(
            f,
            "  {:>8} {:>12} {:>12} {:>9}  operation",
            "client",
            format!("start {unit}"),
            format!("end {unit}"),
            "revision"
        )?;
        for o in self.operations.iter().take(SHOWN) {
            let end = match o.outcome {
                Outcome::Ok { .. } | Outcome::Fail => o.end_ns.map_or("-".to_owned(), time),
                Outcome::Unknown => "-".to_owned(),
            };
            let revision = o.revision().map_or("-".to_owned(), |r| r.to_string());
            writeln!(f, "  {:>8} {:>12} {end:>12} {revision:>9}  {o}", o.client, time(o.start_ns))?;
        }
        match self.operations.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}
