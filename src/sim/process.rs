//! One simulated process: the production stack and journal, between an inbox and an outbox whose
//! every item the adversary moves.

use super::disk::SimDisk;
use super::service::{Machine, Up, View};
use crate::kernel::{
    Commit, Config, Exposed, Incarnation, Journal, Outgoing, ProcessId, Release, Synced, Ticks,
};
use crate::stack::{Event, Stack, StartError};
use std::collections::VecDeque;

/// A process, up or down.
pub(super) struct Process {
    pub(super) id: ProcessId,
    config: Config,
    /// Its stable storage, which outlives it.
    pub(super) disk: SimDisk,
    /// What there is only while it is up.
    pub(super) alive: Option<Box<Alive>>,
    /// Whether it led when it crashed.
    pub(super) led: bool,
    /// Ticks that it lived through, over all incarnations.
    pub(super) ticks: Ticks,
}

/// Everything that a crash takes.
pub(super) struct Alive {
    pub(super) stack: Stack<Machine>,
    pub(super) journal: Journal<Up>,
    pub(super) inc: Incarnation,
    /// The step of its boot.
    pub(super) born: u64,
    /// Arrived and not handled.
    pub(super) inbox: VecDeque<Event>,
    /// On its way to the disk.
    pub(super) commit: Option<Commit>,
    /// Durable, and the process does not know yet.
    pub(super) synced: Option<Synced>,
    /// Released and not sent.
    pub(super) frames: VecDeque<Exposed<Outgoing>>,
    /// Released and not shown.
    pub(super) indications: VecDeque<Exposed<Up>>,
    /// The view published last.
    pub(super) view: Option<View>,
}

impl Process {
    pub(super) fn new(config: Config) -> Self {
        Self { id: config.me, config, disk: SimDisk::default(), alive: None, led: false, ticks: 0 }
    }

    /// Boots from what the disk holds. Returns what the boot exposes.
    pub(super) fn boot(&mut self, boot: u64, step: u64) -> Result<Release<Up>, StartError> {
        assert!(self.alive.is_none(), "{} boots twice", self.id);
        let config = Config { boot, ..self.config.clone() };
        let stored = self.disk.stored();
        let mut journal = Journal::new(config.mutants);
        let (stack, release) = journal.turn(|turn, up| Stack::start(config, stored, turn, up));
        let stack = stack?;
        let inc = stack.status().incarnation;
        self.alive = Some(Box::new(Alive {
            stack,
            journal,
            inc,
            born: step,
            inbox: VecDeque::new(),
            commit: None,
            synced: None,
            frames: VecDeque::new(),
            indications: VecDeque::new(),
            view: None,
        }));
        Ok(release)
    }

    /// Loses the disk's content; the directory is made anew, with another id.
    pub(super) fn wipe(&mut self, disk: u64) {
        assert!(self.alive.is_none(), "{} is wiped while it runs", self.id);
        self.disk = SimDisk::default();
        self.config.disk = disk;
    }

    /// The id of its data directory.
    pub(super) fn disk_id(&self) -> u64 {
        self.config.disk
    }

    /// The number of the incarnation that is up.
    pub(super) fn inc(&self) -> Option<Incarnation> {
        self.alive.as_ref().map(|a| a.inc)
    }
}

impl Alive {
    /// Handles the first `events` of what has arrived, in one turn. Returns how many there were,
    /// and what the turn exposes.
    pub(super) fn handle(&mut self, events: usize) -> (usize, Release<Up>) {
        let (stack, inbox) = (&mut self.stack, &mut self.inbox);
        let events = events.min(inbox.len());
        self.journal.turn(|turn, up| {
            stack.upon(inbox.drain(..events), turn, up);
            events
        })
    }

    /// Whether something waits to leave.
    pub(super) fn has_exposures(&self) -> bool {
        !self.frames.is_empty() || !self.indications.is_empty()
    }
}
