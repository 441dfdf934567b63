//! An operation on a register, as its asker sees it: consult a majority, then impose on one.

use super::cells::{Cell, Tag};
use super::message::{OperationId, RegisterMessage};
use crate::kernel::{Mutant, Mutants, ProcessId, ProcessSet, Ticks};
use bytes::Bytes;
use thiserror::Error;

/// What is asked of a register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Its value.
    Read,
    /// To hold this value.
    Write(Bytes),
}

impl Ask {
    /// What is to be written, if anything.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Read => None,
            Self::Write(value) => Some(value),
        }
    }
}

/// An operation came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Return {
    /// The request.
    pub request: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an operation.
pub type Outcome = Result<Returned, Failed>;

/// What an operation returned: for a read what it found, for a write when it took place; nothing
/// where the register was never written.
pub type Returned = Option<Cell>;

/// Why an operation returned nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Failed {
    /// The name is empty or too long.
    #[error("kvorum: a register's name has 1 to {} bytes", super::MAX_NAME)]
    Name,
    /// The value is too long.
    #[error("kvorum: a register holds at most {limit} bytes")]
    TooLarge {
        /// The most that is taken.
        limit: usize,
    },
    /// Too many requests wait here; nothing was written.
    #[error("etcdserver: too many requests")]
    TooMany,
    /// There are as many registers as there may be; nothing was written.
    #[error("kvorum: there are as many registers as the replicas keep; use one that exists")]
    Full,
    /// No number is left above that of its value; nothing was written.
    #[error(
        "kvorum: the register can be written no more: its number is at the end of all numbers; use another"
    )]
    Exhausted,
    /// No majority answered in time, and nothing was written.
    #[error("kvorum: no majority of the replicas answered in time; nothing was written")]
    NoMajority,
    /// No majority answered in time; whether the write takes effect is unknown.
    #[error("kvorum: no majority of the replicas answered in time; the write may still take effect")]
    Unknown,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Asks what is held.
    Consult,
    /// Has what was read, or is written, stored.
    Impose,
}

/// What an operation does next.
pub(super) enum Step {
    /// Imposes what it read; a write imposes its own value.
    Impose(Option<Cell>),
    /// Returns.
    Return(Outcome),
}

/// An operation under way.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) request: u64,
    pub(super) name: String,
    pub(super) ask: Ask,
    pub(super) phase: Phase,
    /// Who has answered the question of this phase.
    pub(super) answered: ProcessSet,
    /// Who of them has no room.
    refused: ProcessSet,
    /// The newest cell that was told of; while imposing, the one imposed.
    pub(super) highest: Option<Cell>,
    /// Whether all who answered told of the same.
    unanimous: bool,
    /// Ticks until it is given up.
    pub(super) patience: Ticks,
    /// Ticks until the question is repeated.
    pub(super) resend: Ticks,
}

impl Operation {
    pub(super) fn new(request: u64, name: &str, ask: Ask, patience: Ticks, resend: Ticks) -> Self {
        Self {
            request,
            name: name.to_owned(),
            ask,
            phase: Phase::Consult,
            answered: ProcessSet::default(),
            refused: ProcessSet::default(),
            highest: None,
            unanimous: true,
            patience,
            resend,
        }
    }

    /// What it asks the replicas.
    pub(super) fn question(&self, id: OperationId) -> RegisterMessage {
        match (self.phase, &self.highest) {
            (Phase::Impose, Some(cell)) => {
                RegisterMessage::Impose { id, name: self.name.clone(), cell: cell.clone() }
            }
            (Phase::Impose, None) | (Phase::Consult, _) => {
                RegisterMessage::Query { id, name: self.name.clone(), create: self.ask != Ask::Read }
            }
        }
    }

    pub(super) fn upon_state(&mut self, from: ProcessId, cell: Option<Cell>, refused: bool) {
        let tag = |cell: &Option<Cell>| cell.as_ref().map(|c| c.tag);
        if !self.answered.is_empty() && tag(&cell) != tag(&self.highest) {
            self.unanimous = false;
        }
        if tag(&cell) > tag(&self.highest) {
            self.highest = cell;
        }
        self.answered.insert(from);
        if refused {
            self.refused.insert(from);
        }
    }

    /// What follows once a majority has answered.
    pub(super) fn step(&self, majority: usize, processes: usize, mutants: Mutants) -> Option<Step> {
        match self.phase {
            Phase::Impose if self.answered.len() >= majority => Some(Step::Return(Ok(self.highest.clone()))),
            Phase::Impose => None,
            // Not even all who are still silent could make up a majority with room.
            Phase::Consult if processes - self.refused.len() < majority => {
                Some(Step::Return(Err(Failed::Full)))
            }
            Phase::Consult if self.answered.len() < majority => None,
            Phase::Consult => match (&self.ask, &self.highest) {
                (Ask::Write(_), _) if self.answered.len() - self.refused.len() < majority => None,
                (Ask::Write(_), _) => Some(Step::Impose(None)),
                (Ask::Read, None) => Some(Step::Return(Ok(None))),
                // A majority holds it durably already: every later operation meets it.
                (Ask::Read, Some(_)) if self.unanimous || mutants.on(Mutant::ReadUnimposed) => {
                    Some(Step::Return(Ok(self.highest.clone())))
                }
                (Ask::Read, Some(cell)) => Some(Step::Impose(Some(cell.clone()))),
            },
        }
    }

    /// Goes over to imposing a cell.
    pub(super) fn impose(&mut self, cell: Cell, resend: Ticks) {
        self.phase = Phase::Impose;
        self.highest = Some(cell);
        self.answered = ProcessSet::default();
        self.resend = resend;
    }

    pub(super) fn exhausted(self) -> Return {
        Return { request: self.request, outcome: Err(Failed::Exhausted) }
    }

    pub(super) fn give_up(self) -> Return {
        let why = match (self.phase, self.ask) {
            (Phase::Impose, Ask::Write(_)) => Failed::Unknown,
            (Phase::Impose, Ask::Read) | (Phase::Consult, _) => Failed::NoMajority,
        };
        Return { request: self.request, outcome: Err(why) }
    }
}

/// The tag of what was returned: how operations are ordered.
pub fn tag(returned: &Returned) -> Tag {
    returned.as_ref().map(|cell| cell.tag).unwrap_or_default()
}
