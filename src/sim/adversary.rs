//! The adversary: chooses every step of a run, from a seed.
//!
//! Most of what it does it draws by weights (`weights.rs`, `choices.rs`). A few executions are too
//! long to be met by chance, and it steers towards them: a leader that falls as it answers, a process
//! that crashes at each boot, a link that flaps, a disk that loses its memory (`losses.rs`), and how a
//! run ends (`ending.rs`).

use super::action::{Action, Haste, Shape, Step};
use super::choices::crash_fault;
use super::coverage::Coverage;
use super::disk::{Loss, Part};
use super::ending::Ending;
use super::losses::Losses;
use super::weights::{Character, Weights};
use super::world::World;
use super::{Options, Profile};
use crate::kernel::{Mutant, ProcessId};
use crate::stack::Role;
use fastrand::Rng;

/// The adversary of one run.
#[derive(Clone, Debug)]
pub(super) struct Adversary {
    pub(super) rng: Rng,
    pub(super) processes: usize,
    profile: Profile,
    character: Character,
    pub(super) weights: Weights,
    /// The step at which the next phase begins.
    phase_ends: u64,
    /// What is to happen next, the last one first.
    pub(super) agenda: Vec<Action>,
    /// Whether faults have stopped for good.
    calm: bool,
    pub(super) losses: Losses,
    /// A process that crashes soon after each boot, and how often it still does.
    pub(super) crash_loop: Option<(ProcessId, u8)>,
    flapping: Option<Flapping>,
    /// What only the adversary knows that it did.
    coverage: Coverage,
}

/// Links that are cut and heal again and again, for a phase.
#[derive(Clone, Copy, Debug)]
struct Flapping {
    shape: Shape,
    /// Steps between two changes.
    every: u64,
    next: u64,
    cut: bool,
}

impl Adversary {
    pub(super) fn new(mut rng: Rng, processes: usize, options: &Options) -> Self {
        let profile = options.profile;
        let character = Character {
            crashes: rng.u8(..8) != 0 && profile.has_crashes(),
            network: rng.u8(..8) != 0 && profile.has_partitions(),
            partitions: rng.u8(..4) != 0 && profile.has_partitions(),
            lasting: rng.u8(..3) == 0,
            ambushes: rng.bool() && profile.has_crashes(),
            disks: (rng.bool() || profile == Profile::Disk) && profile.has_disks(),
            skew: rng.bool() && profile.has_crashes(),
            lies: options.mutants.on(Mutant::LyingSync),
        };
        let losses = Losses::draw(&mut rng, processes, options);
        let opens = losses.opening.is_some();
        Self {
            rng,
            processes,
            profile,
            character,
            weights: if opens { Weights::calm(processes) } else { Weights::default() },
            phase_ends: 0,
            agenda: Vec::new(),
            calm: false,
            losses,
            crash_loop: None,
            flapping: None,
            coverage: Coverage::default(),
        }
    }

    /// What only the adversary knows that it did.
    pub(super) fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Faults stop: from now on every process is scheduled fairly.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.agenda.clear();
        self.crash_loop = None;
        self.flapping = None;
        self.weights = Weights::calm(self.processes);
    }

    /// Whether clients begin nothing for a while, once faults have stopped.
    pub(super) fn hush(&mut self, quiet: bool) {
        self.weights.client = if quiet { 0 } else { Weights::calm(self.processes).client };
    }

    fn new_phase(&mut self, world: &World) {
        let step = world.steps();
        self.weights = Weights::phase(&mut self.rng, &self.character, self.processes);
        let longest = if self.character.lasting { 6000 } else { 2500 };
        self.phase_ends = step + self.rng.u64(200..longest);
        if self.character.lasting || self.flapping.is_some() {
            self.agenda.push(Action::Links { shape: Shape::Whole, forget: false });
        }
        self.coverage.skewed_clocks +=
            u64::from(self.weights.clocks.iter().any(|c| *c != self.weights.clocks[0]));
        self.flapping = (self.weights.flaps && self.processes > 1).then(|| {
            (self.weights.links, self.weights.heal) = (0, 0);
            let every = 1 << self.rng.u64(4..9);
            Flapping { shape: self.shape(world), every, next: step + every, cut: false }
        });
    }

    pub(super) fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.rng.u32(..1000) < thousandths
    }

    /// Chooses the next step.
    pub(super) fn next(&mut self, world: &World) -> Step {
        if !self.calm {
            if self.losses.opening.is_none() && world.steps() >= self.phase_ends {
                self.new_phase(world);
            }
            self.steer(world);
        }
        let haste = match (self.chance(self.weights.core_haste), self.chance(self.weights.disk_haste)) {
            (false, _) => Haste::None,
            (true, false) => Haste::Core,
            (true, true) => Haste::Disk,
        };
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

    /// Puts on the agenda what is due by plan.
    fn steer(&mut self, world: &World) {
        if !self.agenda.is_empty() {
            return;
        }
        let Self { losses, rng, .. } = self;
        self.agenda = losses.due(world, || crash_fault(rng));
        // A copy that boots often, before anybody hears of it.
        if let Some(Action::Lose { at, how: Loss::RolledBack(Part::Directory) }) = self.agenda.first()
            && self.rng.bool()
        {
            self.crash_loop = Some((*at, 4));
        }
        if self.agenda.is_empty() {
            self.ambush(world);
            self.go_on_looping(world);
            self.go_on_flapping(world);
        }
    }

    fn go_on_looping(&mut self, world: &World) {
        let Some((at, left)) = self.crash_loop else { return };
        if !world.is_up(at) {
            self.agenda.push(Action::Recover { at });
        } else if left == 0 {
            self.crash_loop = None;
        } else if self.rng.u8(..8) == 0 {
            self.crash_loop = Some((at, left - 1));
            let fault = crash_fault(&mut self.rng);
            self.agenda.push(Action::Crash { at, fault });
        }
    }

    fn go_on_flapping(&mut self, world: &World) {
        let Some(flapping) = self.flapping.as_mut().filter(|f| f.next <= world.steps()) else { return };
        flapping.next = world.steps() + flapping.every;
        flapping.cut = !flapping.cut;
        self.coverage.flaps += u64::from(flapping.cut);
        let shape = if flapping.cut { flapping.shape } else { Shape::Whole };
        self.agenda.push(Action::Links { shape, forget: self.rng.bool() });
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
            0 if self.profile.has_partitions() => {
                Action::Links { shape: Shape::Halves(1 << at.0), forget: true }
            }
            _ => Action::Crash { at, fault: crash_fault(&mut self.rng) },
        };
        self.agenda.extend([fate, Action::Silence { at }]);
    }

    /// A process for which `fits` holds.
    pub(super) fn who(&mut self, fits: impl Fn(ProcessId) -> bool) -> Option<ProcessId> {
        let n = self.processes;
        let start = self.rng.usize(..n);
        (start..n).chain(0..start).map(|p| ProcessId(p as u8)).find(|p| fits(*p))
    }

    pub(super) fn leader(&mut self, world: &World) -> Option<ProcessId> {
        self.who(|p| world.role(p) == Some(Role::Leader))
    }

    /// How the run ends.
    pub(super) fn ending(&mut self, world: &World) -> Ending {
        let n = self.processes as u8;
        if !self.profile.has_partitions() || !world.wiped.is_empty() || n <= 2 {
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
            4 if self.profile.has_crashes() => Ending::Left,
            5 => Ending::Rivals,
            6 => Ending::Narrow,
            _ => Ending::AsItIs(Shape::Whole),
        }
    }
}
