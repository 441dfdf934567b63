//! Rows: what one process does in one step.

use super::label::{self, Kind};
use crate::kernel::ProcessId;
use crate::sim::Property;
use crate::sim::disk::Fault;
use crate::sim::facts::Facts;
use crate::sim::monitors::entries;
use crate::sim::trace::{Note, Part, Subject};
use crate::stack::Role;
use std::collections::{BTreeMap, BTreeSet};

/// What one process does in one step; or what happens to the links, at no process.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) step: u64,
    pub(super) at: Option<ProcessId>,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) sends: Vec<Sending>,
    pub(super) notes: Vec<(Tone, String)>,
    pub(super) change: Option<Change>,
    /// The process becomes this.
    pub(super) part: Option<Part>,
    /// What is durable from now on.
    pub(super) facts: Option<Facts>,
    pub(super) ticks: bool,
    /// Whether a reader misses it if it is left out.
    pub(super) telling: bool,
    pub(super) violated: bool,
}

/// A message arrives, or comes to its end.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) id: u64,
    pub(super) from: ProcessId,
    pub(super) label: String,
    pub(super) kind: Kind,
    pub(super) fate: Fate,
    /// Whether the picture is about such messages.
    pub(super) shown: bool,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Arrived,
    Lost,
    Corrupted,
}

/// A message leaves.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) id: u64,
    pub(super) to: ProcessId,
    pub(super) label: String,
    pub(super) kind: Kind,
    /// Whether the picture is about such messages.
    pub(super) shown: bool,
}

/// What a text is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Client,
    Store,
    Part,
    Fault,
}

/// A process falls, or rises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Crash,
    Recovery,
}

impl Row {
    pub(super) fn new(step: u64, at: Option<ProcessId>) -> Self {
        Self {
            step,
            at,
            arrivals: Vec::new(),
            sends: Vec::new(),
            notes: Vec::new(),
            change: None,
            part: None,
            facts: None,
            ticks: false,
            telling: false,
            violated: false,
        }
    }

    fn says(&mut self, tone: Tone, text: String) {
        if !text.is_empty() {
            self.notes.push((tone, text));
        }
    }

    fn arrives(&mut self, id: u64, from: ProcessId, label: label::Label, fate: Fate, focus: &Focus) {
        let shown = focus.about.contains(&label.about);
        self.telling |= shown && label.kind >= focus.least;
        self.arrivals.push(Arrival { id, from, label: label.text, kind: label.kind, fate, shown });
    }
}

/// What a picture is about.
struct Focus {
    /// The least telling kind of message that is shown.
    least: Kind,
    /// What else is going on meanwhile is left out.
    about: &'static [Subject],
}

/// What matters to a property.
fn focus(property: Option<Property>) -> Focus {
    use Property as P;
    use Subject::{Ledger, Log, Registers, Topics};
    const EVERYTHING: &[Subject] = &[Log, Ledger, Registers, Topics];
    let (least, about): (Kind, &[Subject]) = match property {
        None | Some(P::Exposure | P::Determinism | P::Assertions | P::BoundedMemory | P::NoCreation) => {
            (Kind::Protocol, EVERYTHING)
        }
        Some(P::Learners | P::Incarnations) => (Kind::Membership, &[Log]),
        Some(
            P::Promises
            | P::OneValue
            | P::DurableMajority
            | P::PrefixAgreement
            | P::LoudDivergence
            | P::ChosenStays
            | P::ElectedBallots
            | P::Leader
            | P::LeaderAccuracy
            | P::LeaderAgreement
            | P::BoundedLog
            | P::BoundedWindow
            | P::SpaceKept
            | P::Progress,
        ) => (Kind::Protocol, &[Log, Ledger]),
        Some(P::RegisterAtomicity | P::RegisterTermination) => (Kind::Protocol, &[Registers]),
        Some(P::AtMostOnce | P::BoundedCost | P::ClientHistory) => (Kind::Aside, &[Log]),
        Some(
            P::StateAgreement
            | P::Reload
            | P::DivergedStops
            | P::ConsensusValidity
            | P::ConsensusIntegrity
            | P::ConsensusAgreement
            | P::ConsensusTermination
            | P::CommitValidity
            | P::AbortValidity
            | P::CommitIntegrity
            | P::CommitAgreement
            | P::CommitTermination
            | P::CommitRedelivery
            | P::TotalOrder
            | P::PublishedOnce
            | P::Retention,
        ) => (Kind::Aside, &[Log, Ledger]),
        // Subscribers of topics in total order stand on the log.
        Some(P::Stop | P::Recurrence | P::BoundedPending) => (Kind::Aside, &[Topics, Ledger]),
        Some(
            P::Validity
            | P::NoDuplication
            | P::UniformAgreement
            | P::FifoDelivery
            | P::CausalDelivery
            | P::DurableHint
            | P::CompleteHint
            | P::StablePositions
            | P::ToldFirst
            | P::KeptForCursor
            | P::ContiguousEffects
            | P::FairLoss
            | P::FiniteDuplication
            | P::StubbornDelivery
            | P::ReliableDelivery,
        ) => (Kind::Aside, &[Topics]),
    };
    Focus { least, about }
}

/// Sorts what happened into rows.
pub(super) fn rows(notes: &[&(u64, Note)], property: Option<Property>) -> Vec<Row> {
    let focus = focus(property);
    let mut rows: Vec<Row> = Vec::new();
    let mut parts: BTreeMap<ProcessId, Part> = BTreeMap::new();
    let mut shown: BTreeMap<ProcessId, u64> = BTreeMap::new();
    for (step, note) in notes {
        let at = place(note);
        let same = rows.last().is_some_and(|row| row.step == *step && row.at == at);
        if !same {
            rows.push(Row::new(*step, at));
        }
        let Some(row) = rows.last_mut() else { continue };
        match note {
            Note::Delivered { from, to, .. } if from == to => {}
            Note::Delivered { from, id, bytes, .. } => {
                row.arrives(*id, *from, label::label(bytes), Fate::Arrived, &focus);
            }
            Note::Dropped { from, id, bytes, .. } => {
                row.arrives(*id, *from, label::label(bytes), Fate::Lost, &focus);
            }
            Note::Corrupted { from, id, .. } => {
                let label = "damaged, refused".into();
                let (kind, fate) = (Kind::Aside, Fate::Corrupted);
                row.arrivals.push(Arrival { id: *id, from: *from, label, kind, fate, shown: true });
            }
            Note::Held { .. } => {}
            Note::Sent { to, id, bytes, .. } => {
                let label = label::label(bytes);
                let shown = focus.about.contains(&label.about);
                let label::Label { text, kind, .. } = label;
                row.sends.push(Sending { id: *id, to: *to, label: text, kind, shown });
            }
            Note::Stored { batch, before, after, .. } => {
                let (text, telling) = label::stored(before, after, batch);
                row.says(Tone::Store, if text.is_empty() { text } else { format!("durable: {text}") });
                row.telling |= telling;
                row.facts = Some(*after);
            }
            Note::Ticked { .. } => row.ticks = true,
            Note::Crashed { during, .. } => {
                row.says(Tone::Fault, crash(*during).into());
                row.change = Some(Change::Crash);
                row.telling = true;
            }
            Note::Recovered { at, inc } => {
                parts.remove(at);
                row.says(Tone::Fault, format!("boots, incarnation {inc}"));
                row.change = Some(Change::Recovery);
                row.telling = true;
            }
            Note::Turned { at, part } => {
                let before = parts.insert(*at, *part);
                turned(row, before, *part);
            }
            Note::Asked { about, .. } | Note::Told { about, .. } if !focus.about.contains(about) => {}
            Note::Asked { text, .. } => {
                row.says(Tone::Client, format!("asked: {text}"));
                row.telling = true;
            }
            Note::Told { text, .. } => {
                row.says(Tone::Client, text.to_string());
                row.telling = true;
            }
            Note::Shown { at, revision } => {
                if shown.insert(*at, *revision) != Some(*revision) {
                    row.says(Tone::Client, format!("shows revision {revision}"));
                    row.telling |= property == Some(Property::ClientHistory);
                }
            }
            Note::Befell { text, .. } => {
                row.says(Tone::Fault, text.to_string());
                row.telling = true;
                if text.starts_with("halts") {
                    row.change = Some(Change::Crash);
                }
            }
            Note::Said { text } => {
                row.says(Tone::Fault, text.to_string());
                row.telling = true;
            }
        }
    }
    let arrived: BTreeSet<u64> =
        rows.iter().filter(|r| r.telling).flat_map(|r| &r.arrivals).map(|a| a.id).collect();
    for row in &mut rows {
        let told = |s: &Sending| s.shown && s.kind >= focus.least && arrived.contains(&s.id);
        row.telling |= row.step > 0 && row.sends.iter().any(told);
    }
    rows
}

/// The process at which something happens.
fn place(note: &Note) -> Option<ProcessId> {
    match note {
        Note::Delivered { to: at, .. }
        | Note::Dropped { to: at, .. }
        | Note::Held { to: at, .. }
        | Note::Corrupted { to: at, .. }
        | Note::Sent { from: at, .. }
        | Note::Stored { at, .. }
        | Note::Ticked { at }
        | Note::Crashed { at, .. }
        | Note::Recovered { at, .. }
        | Note::Turned { at, .. }
        | Note::Asked { at, .. }
        | Note::Told { at, .. }
        | Note::Shown { at, .. }
        | Note::Befell { at, .. } => Some(*at),
        Note::Said { .. } => None,
    }
}

fn crash(during: Option<Fault>) -> &'static str {
    match during {
        None => "crashes",
        Some(Fault::CrashBefore) => "crashes before what it stores is written",
        Some(Fault::CrashTorn) => "crashes in the middle of a write: nothing of it is left",
        Some(Fault::CrashWritten { survives: true }) => "crashes during a sync: the batch survives",
        Some(Fault::CrashWritten { survives: false }) => "crashes during a sync: the batch is lost",
        Some(Fault::FailedWrite) => "crashes as a write fails",
        Some(Fault::FailedSync { .. }) => "crashes as a sync fails",
        Some(Fault::Full) => "crashes as the disk is full",
        Some(Fault::Lie) => "crashes after a sync that lied",
    }
}

/// Says how the part of a process changed.
fn turned(row: &mut Row, before: Option<Part>, now: Part) {
    row.part = Some(now);
    let leads = |p: Part| matches!(p.role, Role::Leader | Role::Candidate).then_some((p.role, p.ballot));
    let same = before.is_some_and(|b| b.role == now.role && leads(b) == leads(now));
    let decided = before.map_or(0, |b| b.decided);
    if !same {
        let text = match now.role {
            Role::Forming => "waits for its cluster to form".into(),
            Role::Learner(why) => format!("learns only: {why:?}"),
            Role::Follower => "follows".into(),
            Role::Candidate => format!("stands in {}", now.ballot),
            Role::Leader => format!("leads in {}", now.ballot),
        };
        // Forming, and following after a boot, is what everybody does.
        let forms = before.is_none_or(|b| b.role == Role::Forming);
        let quiet = forms && matches!(now.role, Role::Forming | Role::Follower);
        row.says(Tone::Part, if quiet { String::new() } else { text });
        row.telling |= !quiet;
    }
    if now.decided > decided && before.is_some() {
        row.says(Tone::Part, format!("takes {} for decided", entries(now.decided)));
    }
}
