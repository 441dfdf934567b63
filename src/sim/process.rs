//! One simulated process: the production stack and journal, between an inbox and an outbox whose
//! every item the adversary moves.

use super::disk::{Loss, SimDisk};
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
    /// How often it has booted.
    pub(super) boots: u64,
    /// The step until which its disk stands still.
    pub(super) stalled: u64,
    /// Crashes in a row, each right after a boot.
    pub(super) loops: u32,
    /// How often its disk lost its memory.
    losses: u64,
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
    /// Its ticks when that began.
    pub(super) committing: Ticks,
    /// Durable, and the process does not know yet.
    pub(super) synced: Option<Synced>,
    /// Released and not sent.
    pub(super) frames: VecDeque<Exposed<Outgoing>>,
    /// Released and not shown.
    pub(super) indications: VecDeque<Exposed<Up>>,
    /// Frames that it sends next, and that do not leave it.
    pub(super) mute: u32,
    /// Frames that reach it next, and that it does not receive.
    pub(super) deaf: u32,
    /// The view published last.
    pub(super) view: Option<View>,
}

impl Process {
    pub(super) fn new(config: Config) -> Self {
        Self {
            id: config.me,
            config,
            disk: SimDisk::default(),
            alive: None,
            led: false,
            ticks: 0,
            boots: 0,
            stalled: 0,
            loops: 0,
            losses: 0,
        }
    }

    /// Boots from what the disk holds. Returns what the boot exposes.
    pub(super) fn boot(&mut self, boot: u64, step: u64) -> Result<Release<Up>, StartError> {
        assert!(self.alive.is_none(), "{} boots twice", self.id);
        if !self.disk.is_sound() {
            self.start_over();
            self.config.damaged = true;
        }
        self.boots += 1;
        let config = Config { boot, ..self.config.clone() };
        let stored = self.disk.stored();
        let mut journal = Journal::start(&config, stored.commits);
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
            committing: 0,
            synced: None,
            frames: VecDeque::new(),
            indications: VecDeque::new(),
            mute: 0,
            deaf: 0,
            view: None,
        }));
        Ok(release)
    }

    /// The disk loses its memory.
    pub(super) fn lose(&mut self, how: Loss) {
        assert!(self.alive.is_none(), "{} loses its disk while it runs", self.id);
        self.losses += 1;
        match how {
            Loss::Lost => self.start_over(),
            Loss::Damaged | Loss::RolledBack(_) => self.disk.lose(how),
        }
    }

    /// The data directory is made anew, with another id.
    fn start_over(&mut self) {
        self.disk.lose(Loss::Lost);
        self.config.disk += 1000;
    }

    /// Which replica it is: another one, once its disk has lost its memory.
    pub(super) fn replica(&self) -> u64 {
        1000 * self.losses + u64::from(self.id.0)
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
