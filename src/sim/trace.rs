//! The trace: the last steps of a run, in the words of the protocol, and a hash of all of them.

use super::disk::Fault;
use super::facts::Facts;
use super::said::Said;
use crate::kernel::{Ballot, Batch, Component, Incarnation, ProcessId, Store};
use crate::register::Cell;
use crate::stack::Role;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// What somebody asks about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The log, and the store.
    Log,
    /// What stands on the log beside the store.
    Ledger,
    /// Registers.
    Registers,
    /// Topics, but for those in total order.
    Topics,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// A frame arrived, once or not for the last time.
    Delivered { from: ProcessId, to: ProcessId, id: u64, bytes: Bytes },
    /// A frame was lost.
    Dropped { from: ProcessId, to: ProcessId, id: u64, bytes: Bytes },
    /// A frame, or a copy of it, was held back.
    Held { from: ProcessId, to: ProcessId, bytes: Bytes },
    /// A frame was damaged on its way, and refused.
    Corrupted { from: ProcessId, to: ProcessId, id: u64 },
    /// A frame left; which of all sendings this was.
    Sent { from: ProcessId, to: ProcessId, id: u64, bytes: Bytes },
    /// A batch became durable.
    Stored { at: ProcessId, batch: Box<str>, before: Facts, after: Facts },
    /// Time passed.
    Ticked { at: ProcessId },
    /// A process crashed.
    Crashed { at: ProcessId, during: Option<Fault> },
    /// A process recovered.
    Recovered { at: ProcessId, inc: Incarnation },
    /// A process plays another part, or knows more to be decided.
    Turned { at: ProcessId, part: Part },
    /// A client asked something of a process.
    Asked { at: ProcessId, about: Subject, text: Box<str> },
    /// A process answered somebody.
    Told { at: ProcessId, about: Subject, text: Box<str> },
    /// A process shows another state.
    Shown { at: ProcessId, revision: u64 },
    /// Something else that happened to a process.
    Befell { at: ProcessId, text: Box<str> },
    /// Something about links and phases.
    Said { text: Box<str> },
}

/// What a process says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) role: Role,
    /// The ballot that it leads or stands in, or has promised.
    pub(super) ballot: Ballot,
    pub(super) decided: u64,
}

/// The trace of one run.
#[derive(Debug)]
pub(super) struct Trace {
    notes: VecDeque<(u64, Note)>,
    /// The part of each process, as noted last.
    parts: BTreeMap<ProcessId, Part>,
    hash: u64,
    /// Notes kept, older ones are forgotten; none but in the run of a seed that is shown.
    keep: usize,
}

impl Trace {
    pub(super) fn new(keep: usize) -> Self {
        Self { notes: VecDeque::new(), parts: BTreeMap::new(), hash: 0xcbf2_9ce4_8422_2325, keep }
    }

    /// Folds a number into the hash.
    pub(super) fn fold(&mut self, x: u64) {
        self.hash = (self.hash.rotate_left(5) ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// The hash of everything so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Notes something, where notes are kept.
    pub(super) fn note(&mut self, step: u64, note: impl FnOnce() -> Note) {
        if self.keep == 0 {
            return;
        }
        if self.notes.len() == self.keep {
            self.notes.pop_front();
        }
        self.notes.push_back((step, note()));
    }

    /// Notes what part a process plays, where that is another one than before.
    pub(super) fn turned(&mut self, step: u64, at: ProcessId, part: impl FnOnce() -> Part) {
        if self.keep == 0 {
            return;
        }
        let part = part();
        if self.parts.insert(at, part) != Some(part) {
            self.note(step, || Note::Turned { at, part });
        }
    }

    /// The notes that were kept, with the step of each.
    pub(super) fn notes(&self) -> impl DoubleEndedIterator<Item = &(u64, Note)> {
        self.notes.iter()
    }

    /// The last `lines` notes that tell something, one line each.
    pub(super) fn lines(&self, lines: usize) -> Vec<String> {
        let telling = self.notes.iter().rev().filter(|(_, note)| note.tells());
        let mut last: Vec<String> =
            telling.take(lines).map(|(step, note)| format!("{step:>8}  {note}")).collect();
        last.reverse();
        last
    }
}

impl Note {
    /// Ticks and heartbeats fill a trace and tell little.
    fn tells(&self) -> bool {
        match self {
            Self::Ticked { .. } | Self::Shown { .. } => false,
            Self::Delivered { bytes, .. }
            | Self::Dropped { bytes, .. }
            | Self::Held { bytes, .. }
            | Self::Sent { bytes, .. } => bytes[1] != Component::Detector as u8,
            Self::Corrupted { .. }
            | Self::Stored { .. }
            | Self::Crashed { .. }
            | Self::Recovered { .. }
            | Self::Turned { .. }
            | Self::Asked { .. }
            | Self::Told { .. }
            | Self::Befell { .. }
            | Self::Said { .. } => true,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { from, to, bytes, .. } if from == to => {
                write!(f, "{to} hears itself  {}", Words(bytes))
            }
            Self::Delivered { from, to, bytes, .. } => write!(f, "{from} ─▶ {to}  {}", Words(bytes)),
            Self::Dropped { from, to, bytes, .. } => write!(f, "{from} ─✗ {to}  {}", Words(bytes)),
            Self::Held { from, to, bytes } => write!(f, "{from} ─… {to}  {}", Words(bytes)),
            Self::Corrupted { from, to, .. } => write!(f, "{from} ─~ {to}  a damaged frame, refused"),
            Self::Sent { from, to, bytes, .. } => write!(f, "{from} ── {to}  {}", Words(bytes)),
            Self::Stored { at, batch, .. } => write!(f, "{at} stored  {batch}"),
            Self::Ticked { at } => write!(f, "{at} ticks"),
            Self::Crashed { at, during: None } => write!(f, "{at} CRASHES"),
            Self::Crashed { at, during: Some(fault) } => write!(f, "{at} CRASHES inside a commit: {fault:?}"),
            Self::Recovered { at, inc } => write!(f, "{at} RECOVERS as incarnation {inc}"),
            Self::Turned { at, part } => write!(f, "{at} {part}"),
            Self::Asked { at, text, .. } => write!(f, "a client asks {at}: {text}"),
            Self::Told { at, text, .. } => write!(f, "{at} {text}"),
            Self::Shown { at, revision } => write!(f, "{at} shows revision {revision}"),
            Self::Befell { at, text } => write!(f, "{at} {text}"),
            Self::Said { text } => write!(f, "{text}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, ballot, decided } = self;
        match role {
            Role::Forming => write!(f, "waits for its cluster to form"),
            Role::Learner(why) => write!(f, "learns only ({why:?}), decided {decided}"),
            Role::Follower => write!(f, "follows, prom {ballot}, decided {decided}"),
            Role::Candidate => write!(f, "stands in {ballot}, decided {decided}"),
            Role::Leader => write!(f, "leads in {ballot}, decided {decided}"),
        }
    }
}

/// A frame in the words of the protocol.
pub(super) struct Words<'a>(pub(super) &'a Bytes);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Said::read(self.0.clone()) {
            Ok(said) => write!(f, "{said}"),
            Err(error) => write!(f, "{error}"),
        }
    }
}

/// A batch in a few words.
pub(super) fn words(batch: &Batch) -> Box<str> {
    let stores = batch.stores().iter().map(|store| match store {
        Store::Put { var, value } => match var.as_ref() {
            "log/inc" | "log/decided" => {
                format!("{var} := {}", postcard::from_bytes::<u64>(value).unwrap_or_default())
            }
            "log/prom" | "log/acc" => {
                let ballot = postcard::from_bytes::<Ballot>(value).unwrap_or_default();
                format!("{var} := {ballot}")
            }
            _ => match (var.strip_prefix("register/"), postcard::from_bytes::<Cell>(value)) {
                (Some(name), Ok(cell)) => {
                    format!("register {name} := {} at {}", String::from_utf8_lossy(&cell.value), cell.tag)
                }
                _ => format!("{var} ({} bytes)", value.len()),
            },
        },
        Store::Remove { var } => format!("no {var}"),
        Store::Append { log, first, entries } => {
            format!("log {} [{first}..{})", log.0, first + entries.len() as u64)
        }
        Store::TruncateSuffix { log, len } => format!("log {} cut to {len}", log.0),
        Store::TruncatePrefix { log, before } => format!("log {} trimmed below {before}", log.0),
        Store::Reset { log, first } => format!("log {} emptied, to go on at {first}", log.0),
        Store::PutRow { key, .. } => format!("row {}/{}/{}", key.generation, key.main, key.sub),
        Store::DeleteRow { key } => format!("no row {}/{}/{}", key.generation, key.main, key.sub),
        Store::DropOtherGenerations { keep, .. } => format!("no rows but of generation {keep}"),
    });
    let mut stores: Vec<String> = stores.collect();
    if stores.len() > 8 {
        let more = stores.len() - 7;
        stores.truncate(7);
        stores.push(format!("{more} more"));
    }
    stores.join(", ").into()
}
