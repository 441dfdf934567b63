//! The adversary: chooses every step of a run, from a seed.
//!
//! Most of what it does it draws by weights. A few executions are too long to be met by chance, and
//! it steers towards them: see [`Adversary::ambush`], [`Adversary::opening`] and `ending.rs`.

use super::action::{Action, Delivery, Haste, Shape, Step};
use super::disk::Fault;
use super::ending::Ending;
use super::weights::{Character, Weights};
use super::world::World;
use super::{Options, Profile};
use crate::kernel::{Mutant, ProcessId};
use crate::stack::Role;
use fastrand::Rng;

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
    /// A replica is to be wiped while the cluster forms, and who must not hear of it before.
    opening: Option<Opening>,
}

/// See [`Adversary::opening`].
#[derive(Clone, Copy, Debug)]
struct Opening {
    victim: ProcessId,
    blind: u64,
    /// The step at which the victim was wiped.
    wiped: Option<u64>,
}

impl Adversary {
    pub(super) fn new(mut rng: Rng, processes: usize, options: &Options) -> Self {
        let character = Character {
            crashes: rng.u8(..8) != 0,
            network: rng.u8(..8) != 0,
            partitions: rng.u8(..4) != 0,
            lasting: rng.u8(..3) == 0,
            ambushes: rng.bool(),
            disks: rng.bool(),
            skew: rng.bool(),
            lies: options.mutants.on(Mutant::LyingSync),
        };
        // While the cluster forms, or later.
        let (opening, wipe_at) = match (options.profile, rng.u8(..4)) {
            (Profile::Model, _) => (None, None),
            (Profile::Amnesia, 0) => {
                let victim = rng.usize(..processes);
                let others = (1..processes / 2 + 1).map(|i| 1 << ((victim + i) % processes));
                let blind = others.sum();
                (Some(Opening { victim: ProcessId(victim as u8), blind, wiped: None }), None)
            }
            (Profile::Amnesia, 1) => (None, Some(rng.u64(..150))),
            (Profile::Amnesia, _) => (None, Some(rng.u64(..options.steps / 2 + 1))),
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
            opening,
        }
    }

    /// Faults stop: from now on every process is scheduled fairly.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.agenda.clear();
        self.weights = Weights::calm(self.processes);
    }

    /// Whether clients begin nothing for a while, once faults have stopped.
    pub(super) fn hush(&mut self, quiet: bool) {
        self.weights.client = if quiet { 0 } else { Weights::calm(self.processes).client };
    }

    fn new_phase(&mut self, step: u64) {
        self.weights = Weights::phase(&mut self.rng, &self.character, self.processes);
        let longest = if self.character.lasting { 6000 } else { 2500 };
        self.phase_ends = step + self.rng.u64(200..longest);
        if self.character.lasting {
            self.agenda.push(Action::Links { shape: Shape::Whole, forget: false });
        }
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.rng.u32(..1000) < thousandths
    }

    /// Chooses the next step.
    pub(super) fn next(&mut self, world: &World) -> Step {
        if let Some(opening) = self.opening {
            self.opening(opening, world);
        } else if !self.calm && world.steps() >= self.phase_ends {
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
        self.ambush(world);
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
            w.late,
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
            9 => world.has_cuts().then_some(Action::Links { shape: Shape::Whole, forget: self.rng.bool() }),
            10 => self.leader(world).map(|at| Action::HandOver { at }),
            11 => {
                let at = self.who(|p| world.is_up(p))?;
                let peer = self.who(|p| p != at)?;
                Some(Action::Refuse { at, peer })
            }
            12 => self.late(world),
            _ => unreachable!("the table has thirteen rows"),
        }
    }

    /// A frame that was held back, most likely one for a process that has just booted: it may answer
    /// what the process said in its life before.
    fn late(&mut self, world: &World) -> Option<Action> {
        let waits = |to: ProcessId| world.members().any(|from| world.network().held(from, to) > 0);
        let young = |to: ProcessId| world.alive(to).is_some_and(|a| world.steps() - a.born < YOUTH);
        let to = match self.who(|to| young(to) && waits(to)) {
            Some(to) => to,
            None if self.rng.u8(..8) == 0 => self.who(|to| world.is_up(to) && waits(to))?,
            None => return None,
        };
        let from = self.who(|from| world.network().held(from, to) > 0)?;
        let picky = self.rng.bool();
        let at = world.network().any_held(from, to, picky, &mut self.rng)?;
        (!world.network().is_cut(from, to)).then_some(Action::Late { from, to, at })
    }

    /// A leader that has just answered a client falls, or is cut off, before anyone else can know
    /// why it answered.
    fn ambush(&mut self, world: &World) {
        let Some((at, step)) = world.told else { return };
        if step != world.steps() || world.role(at) != Some(Role::Leader) || !self.chance(self.weights.ambush)
        {
            return;
        }
        let fate = match self.rng.u8(..3) {
            0 => Action::Links { shape: Shape::Halves(1 << at.0), forget: true },
            _ => Action::Crash { at, fault: self.crash_fault() },
        };
        self.agenda.extend([fate, Action::Silence { at }]);
    }

    /// The execution for which members form in two exchanges. Nobody of a majority hears the victim,
    /// until it is wiped; it then hears of the others what they had said before that:
    ///
    /// ```text
    /// A      hears B1, C1 ─ knows {A,B1,C}, and so does B1
    /// B      tells B1 ──── wiped: B2 ── hears what A said first ── tells B2 ┐
    /// C                                             (never heard of B1)   knows {A,B2,C}, as B2 does
    /// ```
    fn opening(&mut self, opening: Opening, world: &World) {
        let Opening { victim, blind, wiped } = opening;
        if world.steps() == 0 {
            self.weights = Weights::calm(self.processes);
            self.agenda.push(Action::Links { shape: Shape::Unheard(victim.0, blind), forget: false });
        }
        let formed = world.processes[victim.index()].disk.facts().formed;
        match wiped {
            None if formed && world.is_up(victim) || world.steps() > OPENING => {
                let side = blind | 1 << victim.0;
                let old = world.members().filter(|from| side >> from.0 & 1 == 0);
                let fault = self.crash_fault();
                // The last one first.
                self.agenda.extend(old.map(|from| Action::Late { from, to: victim, at: 0 }));
                self.agenda.extend([
                    Action::Recover { at: victim },
                    Action::Links { shape: Shape::Halves(side), forget: true },
                    Action::Wipe { at: victim },
                    Action::Silence { at: victim },
                    Action::Crash { at: victim, fault },
                ]);
                self.opening = Some(Opening { wiped: Some(world.steps()), ..opening });
            }
            Some(at) if world.steps() > at + 2 * OPENING => self.opening = None,
            None | Some(_) => {}
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
        let hold = self.weights.hold * if world.network().is_consensus(from, to, at) { 4 } else { 1 };
        let how = if self.opening.is_some_and(|o| o.victim == to && o.wiped.is_none()) {
            Delivery::Kept
        } else if self.chance(self.weights.lose) {
            Delivery::Lost
        } else if self.chance(self.weights.damage) {
            Delivery::Damaged { byte: self.rng.u32(..), by: self.rng.u8(1..) }
        } else if self.chance(self.weights.again) {
            Delivery::Again
        } else if self.chance(hold) {
            if self.rng.bool() { Delivery::Held } else { Delivery::Kept }
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

    /// How the run ends.
    pub(super) fn ending(&mut self, world: &World) -> Ending {
        let n = self.processes as u8;
        if !world.wiped.is_empty() || n <= 2 {
            // A hub that counts in no majority leaves the rim without one.
            return Ending::AsItIs(Shape::Whole);
        }
        match self.rng.u8(..8) {
            0 | 1 => Ending::AsItIs(Shape::Chain(self.rng.u8(..n))),
            2 | 3 => {
                // A star with the old leader at the rim.
                let leader = self.leader(world);
                let hub = self.who(|p| Some(p) != leader).unwrap_or_default();
                Ending::AsItIs(Shape::Star(hub.0))
            }
            4 => Ending::Left,
            5 => Ending::Rivals,
            _ => Ending::AsItIs(Shape::Whole),
        }
    }
}

/// Steps for which a process counts as just booted.
const YOUTH: u64 = 600;
/// Steps that a cluster has to form, before a member is wiped.
const OPENING: u64 = 1000;
