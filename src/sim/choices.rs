//! What the adversary draws: one kind of step by the weights, and then which step of that kind.

use super::action::{Action, Delivery, Shape};
use super::adversary::Adversary;
use super::disk::Fault;
use super::world::World;
use crate::kernel::ProcessId;
use fastrand::Rng;

/// Steps for which a process counts as just booted.
const YOUTH: u64 = 600;

/// A way to choose a step of one kind, if there is one.
type Choice = fn(&mut Adversary, &World) -> Option<Action>;

impl Adversary {
    /// Draws a step; none, if there is none of the kind that was drawn.
    pub(super) fn draw(&mut self, world: &World) -> Option<Action> {
        let w = &self.weights;
        // Most of the time all are up: not to draw what cannot be saves half of the draws.
        let down = world.processes.iter().any(|p| p.alive.is_none());
        let table: [(u32, Choice); 17] = [
            (w.deliver, Self::deliver),
            (w.handle, Self::handle),
            (w.disk, Self::disk),
            (w.expose, Self::expose),
            (w.tick, Self::tick),
            (w.client, Self::client),
            (w.crash, Self::crash),
            (if down { w.recover } else { 0 }, Self::recover),
            (w.links, Self::cut),
            (w.heal, Self::heal),
            (w.hand_over, Self::hand_over),
            (w.refuse, Self::refuse),
            (w.late, Self::late),
            (w.omit, Self::omit),
            (w.stall, Self::stall),
            (w.tear, Self::tear),
            (w.crash_loop, Self::begin_crash_loop),
        ];
        let mut at = self.rng.u32(..table.iter().map(|(weight, _)| weight).sum::<u32>());
        let (_, choose) = table.iter().find(|(weight, _)| {
            let hit = at < *weight;
            at = at.wrapping_sub(*weight);
            hit
        })?;
        choose(self, world)
    }

    fn deliver(&mut self, world: &World) -> Option<Action> {
        let (from, to) = world.network().any(&mut self.rng)?;
        let waiting = world.network().in_flight(from, to);
        let at = if self.chance(self.weights.reorder) { self.rng.usize(..waiting) } else { 0 };
        let hold = self.weights.hold * if world.network().is_consensus(from, to, at) { 4 } else { 1 };
        let how = if self.losses.opening.is_some_and(|o| o.victim == to && o.wiped.is_none()) {
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

    fn handle(&mut self, world: &World) -> Option<Action> {
        let at = self.who(|p| world.alive(p).is_some_and(|a| !a.inbox.is_empty()))?;
        let waiting = world.alive(at)?.inbox.len();
        let events = if self.rng.bool() { waiting } else { self.rng.usize(1..=waiting) };
        Some(Action::Handle { at, events })
    }

    fn disk(&mut self, world: &World) -> Option<Action> {
        let slow = self.slow_disk();
        let at = self.who(|p| p != slow && world.disk_may_move(p))?;
        let ends = world.alive(at)?.commit.is_some();
        Some(Action::Disk { at, fault: if ends { self.disk_fault() } else { None } })
    }

    fn expose(&mut self, world: &World) -> Option<Action> {
        let at = self.who(|p| world.alive(p).is_some_and(|a| a.has_exposures()))?;
        let alive = world.alive(at)?;
        let frame = match (alive.frames.is_empty(), alive.indications.is_empty()) {
            (false, true) => true,
            (true, _) => false,
            (false, false) => self.rng.bool(),
        };
        Some(Action::Expose { at, frame })
    }

    fn tick(&mut self, world: &World) -> Option<Action> {
        let mut at = self.rng.u32(..self.weights.clocks.iter().sum::<u32>());
        let clock = self.weights.clocks.iter().position(|speed| {
            let hit = at < *speed;
            at = at.wrapping_sub(*speed);
            hit
        })?;
        let at = ProcessId(clock as u8);
        world.is_up(at).then_some(Action::Tick { at })
    }

    fn client(&mut self, world: &World) -> Option<Action> {
        Some(Action::Client { number: self.rng.usize(..world.clients()) })
    }

    fn recover(&mut self, world: &World) -> Option<Action> {
        self.who(|p| !world.is_up(p)).map(|at| Action::Recover { at })
    }

    fn cut(&mut self, world: &World) -> Option<Action> {
        Some(Action::Links { shape: self.shape(world), forget: self.rng.bool() })
    }

    fn heal(&mut self, world: &World) -> Option<Action> {
        world.has_cuts().then(|| Action::Links { shape: Shape::Whole, forget: self.rng.bool() })
    }

    fn hand_over(&mut self, world: &World) -> Option<Action> {
        self.leader(world).map(|at| Action::HandOver { at })
    }

    fn refuse(&mut self, world: &World) -> Option<Action> {
        let at = self.who(|p| world.is_up(p))?;
        let peer = self.who(|p| p != at)?;
        Some(Action::Refuse { at, peer })
    }

    /// A process whose next frames get lost before the network has them, or after.
    fn omit(&mut self, world: &World) -> Option<Action> {
        let at = self.who(|p| world.is_up(p))?;
        let frames = 1 << self.rng.u32(..6);
        Some(if self.rng.bool() { Action::Mute { at, frames } } else { Action::Deafen { at, frames } })
    }

    fn stall(&mut self, world: &World) -> Option<Action> {
        let at = self.who(|p| world.disk_may_move(p))?;
        Some(Action::Stall { at, steps: 1 << self.rng.u64(8..14) })
    }

    fn tear(&mut self, world: &World) -> Option<Action> {
        let at = self.who(|p| world.alive(p).is_some_and(|a| a.commit.is_some()))?;
        Some(Action::Crash { at, fault: Fault::CrashTorn })
    }

    fn begin_crash_loop(&mut self, world: &World) -> Option<Action> {
        if self.crash_loop.is_some() {
            return None;
        }
        let at = self.who(|p| world.is_up(p))?;
        self.crash_loop = Some((at, self.rng.u8(3..8)));
        Some(Action::Crash { at, fault: crash_fault(&mut self.rng) })
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

    fn slow_disk(&mut self) -> ProcessId {
        let most = self.weights.disks.iter().max().copied().unwrap_or(1);
        let at = self.rng.usize(..self.processes);
        if self.rng.u32(..most) < self.weights.disks[at] { ProcessId(u8::MAX) } else { ProcessId(at as u8) }
    }

    fn disk_fault(&mut self) -> Option<Fault> {
        if self.chance(self.weights.lie) {
            return Some(Fault::Lie);
        }
        if !self.chance(self.weights.disk_fault) {
            return None;
        }
        Some(match self.rng.u8(..4) {
            0 => Fault::FailedWrite,
            1 => Fault::Full,
            _ => Fault::FailedSync { survives: self.rng.bool() },
        })
    }

    fn crash(&mut self, world: &World) -> Option<Action> {
        if self.chance(self.weights.blackout) {
            for p in 0..self.processes {
                let fault = crash_fault(&mut self.rng);
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
        Some(Action::Crash { at, fault: crash_fault(&mut self.rng) })
    }

    pub(super) fn shape(&mut self, world: &World) -> Shape {
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
}

/// What becomes of a commit under way when its process crashes.
pub(super) fn crash_fault(rng: &mut Rng) -> Fault {
    match rng.u8(..4) {
        0 => Fault::CrashBefore,
        1 => Fault::CrashTorn,
        _ => Fault::CrashWritten { survives: rng.bool() },
    }
}
