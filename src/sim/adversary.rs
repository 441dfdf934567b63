//! The adversary: chooses every step of a run, from a seed.
//!
//! Each seed draws its own character (swarm testing): which faults there are at all, how often, and
//! how fast the parts of a process get on. A run goes through phases, some of them calm, since much
//! goes wrong only where something had gone well before.

use super::disk::Fault;
use super::world::World;
use super::{Options, Profile};
use crate::kernel::{Mutant, ProcessId};
use crate::stack::Role;
use fastrand::Rng;

/// One step of an execution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    /// Whether the process does at once all that it can do by itself.
    pub(super) haste: Haste,
}

/// How fast a process gets on after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Haste {
    /// What was released waits, what arrived waits.
    None,
    /// What arrived is handled, and what is released leaves.
    Core,
    /// The disk is as fast.
    Disk,
}

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Action {
    /// A frame arrives; of those in flight between the two the one at this position.
    Deliver { from: ProcessId, to: ProcessId, at: usize, how: Delivery },
    /// A process handles so many of the events that wait.
    Handle { at: ProcessId, events: usize },
    /// The disk of a process gets on by one stage: a commit begins, ends, or is reported.
    Disk { at: ProcessId, fault: Option<Fault> },
    /// The next thing released leaves the process: a frame, or an indication.
    Expose { at: ProcessId, frame: bool },
    /// Time passes at a process.
    Tick { at: ProcessId },
    /// A process crashes; if a commit is under way, this becomes of it.
    Crash { at: ProcessId, fault: Fault },
    /// A process recovers.
    Recover { at: ProcessId },
    /// The disk of a process that is down loses its memory.
    Wipe { at: ProcessId },
    /// The links take another shape; what is in flight on a link that is cut is forgotten, or not.
    Links { shape: Shape, forget: bool },
    /// A client does something, or loses patience.
    Client { number: usize },
    /// A process is asked to give its leadership away.
    HandOver { at: ProcessId },
    /// A process is told, rightly or not, that a peer is dead.
    Refuse { at: ProcessId, peer: ProcessId },
}

/// What becomes of a frame in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    /// It arrives.
    Once,
    /// It arrives, and stays in flight.
    Again,
    /// It is lost.
    Lost,
    /// A byte of it is changed on the way.
    Damaged { byte: u32, by: u8 },
}

/// Which links there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// All.
    Whole,
    /// None between these processes (a bit set) and the others.
    Halves(u64),
    /// None from these to the others; back, there are.
    OneWay(u64),
    /// Each to its neighbours, in the order that starts here.
    Chain(u8),
    /// This one to each other.
    Star(u8),
    /// Each one missing with a chance of one in four, by these bits.
    Holes(u64),
}

impl Shape {
    /// Whether the link from one process to another is cut.
    pub(super) fn cuts(self, from: ProcessId, to: ProcessId, processes: usize) -> bool {
        let within = |set: u64, p: ProcessId| set >> p.0 & 1 == 1;
        match self {
            Self::Whole => false,
            Self::Halves(set) => within(set, from) != within(set, to),
            Self::OneWay(set) => within(set, from) && !within(set, to),
            Self::Chain(start) => {
                let place = |p: ProcessId| (p.index() + processes - usize::from(start)) % processes;
                place(from).abs_diff(place(to)) != 1
            }
            Self::Star(hub) => from.0 != hub && to.0 != hub,
            Self::Holes(bits) => {
                let at = 2 * ((from.index() * processes + to.index()) % 32);
                bits >> at & 3 == 0
            }
        }
    }
}

/// How often things happen, relative to one another; and how often faults do, in thousandths of
/// what they befall.
#[derive(Clone, Debug, Default)]
struct Weights {
    deliver: u32,
    handle: u32,
    disk: u32,
    expose: u32,
    tick: u32,
    client: u32,
    crash: u32,
    recover: u32,
    links: u32,
    heal: u32,
    hand_over: u32,
    refuse: u32,

    reorder: u32,
    lose: u32,
    again: u32,
    damage: u32,
    disk_fault: u32,
    lie: u32,
    aim: u32,
    blackout: u32,
    core_haste: u32,
    disk_haste: u32,
    /// Relative speed of each process's clock.
    clocks: Vec<u32>,
    /// Relative speed of each process's disk.
    disks: Vec<u32>,
}

/// What kinds of faults a seed has at all.
#[derive(Clone, Debug)]
struct Character {
    crashes: bool,
    network: bool,
    partitions: bool,
    disks: bool,
    skew: bool,
    lies: bool,
}

/// The adversary of one run.
#[derive(Debug)]
pub(super) struct Adversary {
    rng: Rng,
    processes: usize,
    character: Character,
    weights: Weights,
    /// The step at which the next phase begins.
    phase_ends: u64,
    /// Processes that are to crash, or to recover, one after the other.
    agenda: Vec<Action>,
    /// Whether faults have stopped for good.
    calm: bool,
    /// When a disk is to lose its memory.
    wipe_at: Option<u64>,
}

impl Adversary {
    pub(super) fn new(mut rng: Rng, processes: usize, options: &Options) -> Self {
        let character = Character {
            crashes: rng.u8(..8) != 0,
            network: rng.u8(..8) != 0,
            partitions: rng.u8(..4) != 0,
            disks: rng.bool(),
            skew: rng.bool(),
            lies: options.mutants.on(Mutant::LyingSync),
        };
        // While the cluster forms, or later.
        let wipe_at = match options.profile {
            Profile::Model => None,
            Profile::Amnesia if rng.bool() => Some(rng.u64(..150)),
            Profile::Amnesia => Some(rng.u64(..options.steps / 2 + 1)),
        };
        Self {
            rng,
            processes,
            character,
            weights: Weights::default(),
            phase_ends: 0,
            agenda: Vec::new(),
            calm: false,
            wipe_at,
        }
    }

    /// Faults stop: from now on every process is scheduled fairly.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.agenda.clear();
        self.weights = Weights {
            deliver: 600,
            handle: 150,
            disk: 250,
            expose: 150,
            tick: 40,
            client: 30,
            recover: 1000,
            reorder: 100,
            core_haste: 700,
            disk_haste: 600,
            clocks: vec![1; self.processes],
            disks: vec![1; self.processes],
            ..Weights::default()
        };
    }

    fn new_phase(&mut self, step: u64) {
        let (rng, c) = (&mut self.rng, &self.character);
        self.phase_ends = step + rng.u64(200..2500);
        let stormy = rng.u8(..3) != 0;
        // From one to `most`, each power of two as likely as the others.
        let mut log = |most: u32| (1u32 << rng.u32(..=most.ilog2())).min(most);
        let mut w = Weights {
            deliver: 600,
            handle: 100 + log(128),
            disk: 100 + log(256),
            expose: 100 + log(128),
            tick: 16 + log(32),
            client: 15 + log(32),
            recover: 1 + log(64),
            heal: 2 + log(8),
            reorder: 50,
            ..Weights::default()
        };
        if stormy {
            if c.crashes {
                w.crash = log(4);
                w.aim = 100 * log(8);
                w.blackout = log(128);
                w.hand_over = u32::from(log(4) == 1);
            }
            if c.network {
                w.lose = log(256);
                w.again = log(256);
                w.damage = log(64);
                w.reorder = log(1024);
                w.refuse = u32::from(log(8) == 1);
            }
            if c.partitions {
                w.links = log(8);
                w.heal = log(8);
            }
            if c.disks {
                w.disk_fault = log(32);
            }
        }
        if c.lies {
            w.lie = 100;
        }
        w.core_haste = 150 + rng.u32(..800);
        w.disk_haste = 50 + rng.u32(..700);
        let skew = c.skew && stormy;
        let speeds =
            |rng: &mut Rng| (0..self.processes).map(|_| if skew { 1 << rng.u32(..4) } else { 1 }).collect();
        w.clocks = speeds(rng);
        w.disks = speeds(rng);
        self.weights = w;
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.rng.u32(..1000) < thousandths
    }

    /// Chooses the next step.
    pub(super) fn next(&mut self, world: &World) -> Step {
        if !self.calm && world.steps() >= self.phase_ends {
            self.new_phase(world.steps());
        }
        let haste = match (self.chance(self.weights.core_haste), self.chance(self.weights.disk_haste)) {
            (false, _) => Haste::None,
            (true, false) => Haste::Core,
            (true, true) => Haste::Disk,
        };
        if self.wipe_at.is_some_and(|at| world.steps() >= at) {
            self.wipe_at = None;
            let at = ProcessId(self.rng.u8(..self.processes as u8));
            let fault = self.crash_fault();
            self.agenda.extend([Action::Wipe { at }, Action::Crash { at, fault }]);
        }
        if let Some(action) = self.agenda.pop() {
            return Step { action, haste: Haste::None };
        }
        for _ in 0..64 {
            if let Some(action) = self.draw(world) {
                return Step { action, haste };
            }
        }
        let at = ProcessId(self.rng.u8(..self.processes as u8));
        let action = match world.is_up(at) {
            true => Action::Tick { at },
            false => Action::Recover { at },
        };
        Step { action, haste }
    }

    fn draw(&mut self, world: &World) -> Option<Action> {
        let w = &self.weights;
        let table = [
            w.deliver,
            w.handle,
            w.disk,
            w.expose,
            w.tick,
            w.client,
            w.crash,
            w.recover,
            w.links,
            w.heal,
            w.hand_over,
            w.refuse,
        ];
        let mut at = self.rng.u32(..table.iter().sum::<u32>());
        let drawn = table.iter().position(|weight| {
            let hit = at < *weight;
            at = at.wrapping_sub(*weight);
            hit
        })?;
        match drawn {
            0 => self.deliver(world),
            1 => {
                let at = self.who(|p| world.alive(p).is_some_and(|a| !a.inbox.is_empty()))?;
                let waiting = world.alive(at)?.inbox.len();
                let events = if self.rng.bool() { waiting } else { self.rng.usize(1..=waiting) };
                Some(Action::Handle { at, events })
            }
            2 => {
                let slow = self.slow_disk();
                let at = self.who(|p| p != slow && world.disk_may_move(p))?;
                let ends = world.alive(at)?.commit.is_some();
                Some(Action::Disk { at, fault: if ends { self.disk_fault() } else { None } })
            }
            3 => {
                let at = self.who(|p| world.alive(p).is_some_and(|a| a.has_exposures()))?;
                let alive = world.alive(at)?;
                let frame = match (alive.frames.is_empty(), alive.indications.is_empty()) {
                    (false, true) => true,
                    (true, _) => false,
                    (false, false) => self.rng.bool(),
                };
                Some(Action::Expose { at, frame })
            }
            4 => {
                let mut at = self.rng.u32(..self.weights.clocks.iter().sum::<u32>());
                let clock = self.weights.clocks.iter().position(|speed| {
                    let hit = at < *speed;
                    at = at.wrapping_sub(*speed);
                    hit
                })?;
                let at = ProcessId(clock as u8);
                world.is_up(at).then_some(Action::Tick { at })
            }
            5 => Some(Action::Client { number: self.rng.usize(..world.clients()) }),
            6 => self.crash(world),
            7 => self.who(|p| !world.is_up(p)).map(|at| Action::Recover { at }),
            8 => Some(Action::Links { shape: self.shape(world), forget: self.rng.bool() }),
            9 => world.has_cuts().then_some(Action::Links { shape: Shape::Whole, forget: false }),
            10 => self.leader(world).map(|at| Action::HandOver { at }),
            11 => {
                let at = self.who(|p| world.is_up(p))?;
                let peer = self.who(|p| p != at)?;
                Some(Action::Refuse { at, peer })
            }
            _ => unreachable!("the table has twelve rows"),
        }
    }

    /// A process for which `fits` holds.
    fn who(&mut self, fits: impl Fn(ProcessId) -> bool) -> Option<ProcessId> {
        let n = self.processes;
        let start = self.rng.usize(..n);
        (start..n).chain(0..start).map(|p| ProcessId(p as u8)).find(|p| fits(*p))
    }

    fn leader(&mut self, world: &World) -> Option<ProcessId> {
        self.who(|p| world.role(p) == Some(Role::Leader))
    }

    fn slow_disk(&mut self) -> ProcessId {
        let most = self.weights.disks.iter().max().copied().unwrap_or(1);
        let at = self.rng.usize(..self.processes);
        if self.rng.u32(..most) < self.weights.disks[at] { ProcessId(u8::MAX) } else { ProcessId(at as u8) }
    }

    fn deliver(&mut self, world: &World) -> Option<Action> {
        let (from, to) = world.network().any(&mut self.rng)?;
        let waiting = world.network().in_flight(from, to);
        let at = if self.chance(self.weights.reorder) { self.rng.usize(..waiting) } else { 0 };
        let how = if self.chance(self.weights.lose) {
            Delivery::Lost
        } else if self.chance(self.weights.damage) {
            Delivery::Damaged { byte: self.rng.u32(..), by: self.rng.u8(1..) }
        } else if self.chance(self.weights.again) {
            Delivery::Again
        } else {
            Delivery::Once
        };
        Some(Action::Deliver { from, to, at, how })
    }

    fn disk_fault(&mut self) -> Option<Fault> {
        if self.chance(self.weights.lie) {
            return Some(Fault::Lie);
        }
        if !self.chance(self.weights.disk_fault) {
            return None;
        }
        Some(match self.rng.bool() {
            true => Fault::FailedSync { survives: self.rng.bool() },
            false => Fault::Full,
        })
    }

    fn crash_fault(&mut self) -> Fault {
        match self.rng.u8(..4) {
            0 => Fault::CrashBefore,
            1 => Fault::CrashTorn,
            _ => Fault::CrashWritten { survives: self.rng.bool() },
        }
    }

    fn crash(&mut self, world: &World) -> Option<Action> {
        if self.chance(self.weights.blackout) {
            for p in 0..self.processes {
                let fault = self.crash_fault();
                self.agenda.push(Action::Crash { at: ProcessId(p as u8), fault });
            }
            return self.agenda.pop();
        }
        let aimed = if self.chance(self.weights.aim) { self.leader(world) } else { None };
        let at = match aimed {
            Some(leader) => leader,
            None if self.rng.bool() => self.who(|p| world.alive(p).is_some_and(|a| a.commit.is_some()))?,
            None => self.who(|p| world.is_up(p))?,
        };
        Some(Action::Crash { at, fault: self.crash_fault() })
    }

    fn shape(&mut self, world: &World) -> Shape {
        let n = self.processes as u8;
        let all = (1u64 << n) - 1;
        match self.rng.u8(..8) {
            0 | 1 => match self.leader(world) {
                Some(leader) if self.rng.bool() => Shape::Halves(1 << leader.0),
                Some(leader) => Shape::OneWay(1 << leader.0),
                None => Shape::Halves(self.rng.u64(1..=all)),
            },
            2 => Shape::Halves(self.rng.u64(1..=all)),
            3 => Shape::OneWay(self.rng.u64(1..=all)),
            4 | 5 => Shape::Chain(self.rng.u8(..n)),
            6 => Shape::Star(self.rng.u8(..n)),
            _ => Shape::Holes(self.rng.u64(..)),
        }
    }

    /// The shape that the links take once faults stop.
    pub(super) fn final_shape(&mut self, world: &World) -> Shape {
        let n = self.processes as u8;
        if !world.wiped.is_empty() {
            // A hub that counts in no majority leaves the rim without one.
            return Shape::Whole;
        }
        match self.rng.u8(..4) {
            0 if n > 2 => Shape::Chain(self.rng.u8(..n)),
            1 if n > 2 => {
                // A star with the old leader at the rim.
                let leader = self.leader(world);
                let hub = self.who(|p| Some(p) != leader).unwrap_or_default();
                Shape::Star(hub.0)
            }
            _ => Shape::Whole,
        }
    }
}
