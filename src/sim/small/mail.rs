//! Letters between processes: what the layer above a link has sent, and what became of it.

use super::scenario::At;
use crate::kernel::{ProcessId, ProcessSet};
use crate::sim::property::{Failure, Property};
use bytes::Bytes;

/// A numbered message, to be sent to one process or several.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) number: usize,
    pub(super) to: ProcessSet,
}

impl Letter {
    /// What it says: its number, which no other has.
    pub(super) fn text(&self) -> Bytes {
        Bytes::from(format!("letter {}", self.number))
    }
}

/// How far the sending of a letter got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Posted {
    /// It was asked for.
    Asked,
    /// It was confirmed.
    Confirmed,
    /// It was refused.
    Refused,
}

/// A letter, and who has it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) from: ProcessId,
    /// The life of each process when it was sent; that of its sender first of all.
    lives: Vec<u8>,
    pub(super) to: ProcessSet,
    pub(super) posted: Posted,
    /// Who was handed it, in which of its lives; once for each time.
    pub(super) handed: Vec<(ProcessId, u8)>,
}

impl Sent {
    /// Whether another letter is one of the same life of the same sender.
    pub(super) fn is_akin(&self, other: &Sent) -> bool {
        self.from == other.from && self.lives[self.from.index()] == other.lives[self.from.index()]
    }

    /// Whether a process was ever handed it.
    pub(super) fn reached(&self, p: ProcessId) -> bool {
        self.handed.iter().any(|(q, _)| *q == p)
    }
}

/// Letters of a process that nobody has yet, before it writes more: they are to last for many lives.
const PENDING: usize = 3;

/// All letters.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) letters: Vec<Sent>,
    /// How often each process has crashed. A life that ended before its incarnation was durable has
    /// shared it with the next one: incarnations do not tell lives apart here.
    lives: Vec<u8>,
}

impl Mail {
    pub(super) fn new(processes: usize) -> Self {
        Self { letters: Vec::new(), lives: vec![0; processes] }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.lives.len() as u8).map(ProcessId)
    }

    /// A process crashed.
    pub(super) fn crashed(&mut self, p: ProcessId) {
        self.lives[p.index()] += 1;
    }

    /// Whether a process has not crashed since a letter was sent.
    pub(super) fn stayed(&self, p: ProcessId, letter: &Sent) -> bool {
        self.lives[p.index()] == letter.lives[p.index()]
    }

    /// How often a process was handed a letter, in its present life.
    pub(super) fn times(&self, number: usize, p: ProcessId) -> usize {
        let now = (p, self.lives[p.index()]);
        self.letters[number].handed.iter().filter(|handed| **handed == now).count()
    }

    /// A process is handed a letter.
    pub(super) fn handed(&mut self, number: usize, p: ProcessId) {
        let life = self.lives[p.index()];
        self.letters[number].handed.push((p, life));
    }

    /// The letters that a process may send now: to each of the others one.
    pub(super) fn to_each(&self, from: ProcessId, allowed: usize) -> Vec<Letter> {
        if self.letters.len() >= allowed || self.pending(from) >= PENDING {
            return Vec::new();
        }
        self.members()
            .filter(|to| *to != from)
            .map(|to| Letter { number: self.letters.len(), to: [to].into_iter().collect() })
            .collect()
    }

    /// The letter to everybody that may be sent now.
    pub(super) fn to_all(&self, from: ProcessId, allowed: usize) -> Vec<Letter> {
        let to = self.members().collect();
        let may = self.letters.len() < allowed && self.pending(from) < PENDING;
        may.then_some(Letter { number: self.letters.len(), to }).into_iter().collect()
    }

    /// How many letters of the present life of a process nobody has yet.
    fn pending(&self, from: ProcessId) -> usize {
        let open = |l: &&Sent| l.from == from && self.stayed(from, l) && l.posted != Posted::Refused;
        self.letters.iter().filter(open).filter(|l| l.handed.is_empty()).count()
    }

    /// A letter is to be sent.
    pub(super) fn asked(&mut self, at: At<'_>, letter: &Letter) {
        let (from, lives, to) = (at.process, self.lives.clone(), letter.to);
        self.letters.push(Sent { from, lives, to, posted: Posted::Asked, handed: Vec::new() });
    }

    /// The number of a letter that was handed to a process as one of another's.
    ///
    /// # Errors
    /// When nobody sent this to it.
    pub(super) fn read(&self, at: At<'_>, from: ProcessId, text: &Bytes) -> Result<usize, Failure> {
        let number = std::str::from_utf8(text).ok().and_then(|t| t.strip_prefix("letter ")?.parse().ok());
        let sent = |number: &usize| {
            self.letters.get(*number).is_some_and(|l| l.from == from && l.to.contains(at.process))
        };
        number.filter(sent).ok_or_else(|| Failure {
            property: Property::NoCreation,
            detail: format!("{} is handed {text:?}, which {from} never sent it", at.process),
        })
    }
}
