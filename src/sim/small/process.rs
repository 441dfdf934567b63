//! A process of the small world: a stack over a journal, a disk that outlives it, and what waits
//! between them.

use super::scenario::{At, Scenario};
use super::world::Flight;
use crate::kernel::{
    Batch, Config, Exposed, Held, Incarnation, Journal, Logged, Opened, Outgoing, ProcessId, Protocol,
    Release, Turn, Undecodable, Upon,
};
use crate::sim::disk::{Fault, SimDisk};
use std::collections::VecDeque;
use std::fmt;

/// What may be asked of a scenario's stack.
pub(super) type Request<S> = <<S as Scenario>::Process as Protocol>::Request;
/// What it tells.
pub(super) type Indication<S> = <<S as Scenario>::Process as Protocol>::Indication;

/// A process, up or down.
#[derive(Clone)]
pub(super) struct Process<S: Scenario> {
    pub(super) config: Config,
    pub(super) disk: SimDisk,
    pub(super) alive: Option<Alive<S>>,
    /// Crashes so far.
    pub(super) crashes: usize,
    /// Ticks so far.
    pub(super) ticks: usize,
}

/// Everything that a crash takes.
#[derive(Clone)]
pub(super) struct Alive<S: Scenario> {
    pub(super) stack: S::Process,
    pub(super) journal: Journal<Indication<S>>,
    pub(super) inc: Incarnation,
    /// Arrived and not handled; what a process said to itself among it.
    pub(super) inbox: VecDeque<Upon<Request<S>>>,
    /// Released, and not sent.
    pub(super) frames: VecDeque<Exposed<Outgoing>>,
    /// Released, and not shown.
    pub(super) indications: VecDeque<Exposed<Indication<S>>>,
}

/// Without the rest of its configuration, which never changes.
impl<S: Scenario> fmt::Debug for Process<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.config.me, &self.disk, self.crashes, self.ticks, &self.alive).fmt(f)
    }
}

impl<S: Scenario> fmt::Debug for Alive<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (&self.stack, &self.journal, self.inc, &self.inbox, &self.frames, &self.indications).fmt(f)
    }
}

impl<S: Scenario> Process<S> {
    pub(super) fn new(config: Config) -> Self {
        Self { config, disk: SimDisk::default(), alive: None, crashes: 0, ticks: 0 }
    }

    /// As its monitor sees it, while it is up.
    pub(super) fn at(&self) -> Option<At<'_>> {
        let alive = self.alive.as_ref()?;
        Some(At { process: self.config.me, inc: alive.inc, disk: &self.disk })
    }

    /// Boots from what the disk holds. The incarnation is stored in the first turn, so that nothing
    /// leaves before it is durable.
    pub(super) fn boot(&mut self) -> Result<(), Undecodable> {
        assert!(self.alive.is_none(), "{} boots twice", self.config.me);
        let stored = self.disk.stored();
        let mut last = Logged::recover("small/inc", &stored, 0)?;
        let inc = *last + 1;
        let config = Config { boot: inc, ..self.config.clone() };
        let mut journal = Journal::new(config.mutants);
        let (stack, release) = journal.turn(|turn, up| {
            last.set(inc, turn);
            S::Process::start(config, inc, &stored, turn, up)
        });
        let mut alive = Alive {
            stack: stack?,
            journal,
            inc,
            inbox: VecDeque::new(),
            frames: VecDeque::new(),
            indications: VecDeque::new(),
        };
        alive.release(release);
        self.alive = Some(alive);
        Ok(())
    }

    /// What was stored becomes durable, and is released; or it meets with a fault, and the process is
    /// about to crash. Returns what was stored.
    pub(super) fn sync(&mut self, fault: Option<Fault>) -> Option<Batch> {
        let alive = self.alive.as_mut()?;
        let commit = alive.journal.next_commit()?;
        if let Some(fault) = fault {
            self.disk.arm(fault);
        }
        if let Ok(synced) = commit.run(&mut self.disk) {
            let release = alive.journal.synced(synced);
            alive.release(release);
        }
        Some(commit.batch().clone())
    }

    /// Loses everything but the disk.
    pub(super) fn crash(&mut self) {
        self.disk.crash();
        self.alive = None;
        self.crashes += 1;
    }
}

impl<S: Scenario> Alive<S> {
    /// One turn, for all of these events.
    pub(super) fn react(&mut self, events: impl Iterator<Item = Upon<Request<S>>>) {
        let stack = &mut self.stack;
        let react = |turn: &mut Turn, up: &mut Held<_>| events.for_each(|event| stack.upon(event, turn, up));
        let ((), release) = self.journal.turn(react);
        self.release(release);
    }

    /// The next frame leaves: it is in flight then, unless it is for the process itself.
    pub(super) fn send(&mut self, me: ProcessId) -> Option<Flight> {
        let Outgoing { to, frame } = self.frames.pop_front()?.into_inner();
        let bytes = frame.bytes().clone();
        if to != me {
            return Some(Flight::new(me, to, self.inc, bytes));
        }
        // What a process says to itself is part of it: reliable and in order, until it crashes.
        if let Ok(frame) = Opened::check(bytes) {
            self.inbox.push_back(Upon::Frame { from: me, frame });
        }
        None
    }

    /// Whether something was told, and the next frame is for the process itself.
    pub(super) fn tells_before_it_hears(&self, me: ProcessId) -> bool {
        !self.indications.is_empty() && self.frames.front().is_some_and(|frame| frame.get().to == me)
    }

    fn release(&mut self, release: Release<Indication<S>>) {
        self.frames.extend(release.frames);
        self.indications.extend(release.indications);
    }

    /// Whether something is to be stored.
    pub(super) fn has_stores(&self) -> bool {
        !self.journal.is_settled()
    }

    /// Whether something waits to leave.
    pub(super) fn has_exposures(&self) -> bool {
        !(self.frames.is_empty() && self.indications.is_empty())
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.inbox.is_empty() && !self.has_stores() && !self.has_exposures()
    }
}

/// The processes of a world.
pub(super) fn members(processes: usize) -> impl Iterator<Item = ProcessId> + use<> {
    (0..processes as u8).map(ProcessId)
}
