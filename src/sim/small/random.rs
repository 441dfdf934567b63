//! Executions drawn from a seed: first faults, then calm and the judgement of liveness.

use super::coverage::{Class, Coverage};
use super::links::Links;
use super::scenario::Scenario;
use super::world::World;
use crate::kernel::{Mutant, Mutants, Opened, ProcessId, Timing, Upon};
use crate::sim::disk::Fault;
use crate::sim::property::{Failure, Property, Verdict};
use crate::sim::{Violation, said_in_panic};
use bytes::Bytes;
use fastrand::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was injected, and what came of it.
    pub coverage: Coverage,
    /// The first property that did not hold, if one did not.
    pub violation: Option<Violation>,
}

/// Steps under faults.
const STEPS: u64 = 4_000;
/// Ticks of calm in which the layer above still asks, and those after which things are at rest.
const PROBE: usize = 30;
const REST: usize = 100;
/// Lines of the trace that a violation shows.
const LINES: usize = 60;

/// Runs one seed.
pub(super) fn run<S: Scenario>(seed: u64, mutants: Mutants) -> Run {
    let first = execute::<S>(seed, mutants, false);
    match first.violation {
        None => first,
        // Once more, this time with a trace.
        Some(_) => execute::<S>(seed, mutants, true),
    }
}

fn execute<S: Scenario>(seed: u64, mutants: Mutants, told: bool) -> Run {
    let mut rng = Rng::with_seed(seed);
    let processes = rng.usize(2..=5);
    let links = match rng.u8(..4) {
        0 if processes > 2 => Links::incomplete(processes, &mut rng),
        _ => Links::whole(processes),
    };
    let timing = Timing { heartbeat: 2, election: 12, resend: 3 };
    let mut world = World::<S>::new(links, processes, timing, mutants);
    world.words = told.then(Vec::new);
    let mut adversary = Adversary::new(rng, processes);
    let result = catch_unwind(AssertUnwindSafe(|| adversary.live(&mut world)));
    let failure = match result {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(Failure { property: Property::Assertions, detail: said_in_panic(&*panic) }),
    };
    let words = world.words.take().unwrap_or_default();
    let violation = failure.map(|Failure { property, detail }| Violation {
        property,
        seed,
        step: adversary.coverage.of(Class::Steps),
        detail,
        trace: words[words.len().saturating_sub(LINES)..].to_vec(),
    });
    Run { coverage: adversary.coverage, violation }
}

/// How likely what is, in this run.
struct Adversary {
    rng: Rng,
    coverage: Coverage,
    /// Per process how fast its clock goes, how fast its disk is, how eager its threads are.
    clock: Vec<u32>,
    disk: Vec<u32>,
    eager: Vec<u32>,
    deliver: u32,
    ask: u32,
    crash: u32,
    recover: u32,
    reshape: u32,
    /// In a hundred frames.
    lost: u8,
    doubled: u8,
    damaged: u8,
    overtaking: u8,
}

impl Adversary {
    fn new(mut rng: Rng, processes: usize) -> Self {
        let mut each = |range: std::ops::Range<u32>| -> Vec<u32> {
            (0..processes).map(|_| rng.u32(range.clone())).collect()
        };
        let (clock, disk, eager) = (each(20..160), each(60..600), each(200..800));
        Self {
            coverage: Coverage::default(),
            clock,
            disk,
            eager,
            deliver: rng.u32(400..1600),
            ask: rng.u32(20..200),
            crash: [0, 1, 2, 5][rng.usize(..4)],
            recover: rng.u32(20..200),
            reshape: rng.u32(0..8),
            lost: rng.u8(..20),
            doubled: rng.u8(..15),
            damaged: rng.u8(..5),
            overtaking: rng.u8(..60),
            rng,
        }
    }

    fn live<S: Scenario>(&mut self, world: &mut World<S>) -> Verdict {
        if !world.links.is_whole() {
            self.coverage.count(Class::Incomplete);
        }
        for p in world.members() {
            world.boot(p)?;
        }
        world.allowed = self.rng.usize(4..100);
        for _ in 0..STEPS {
            self.coverage.count(Class::Steps);
            self.step(world)?;
        }
        world.allowed += 2 * world.members().count();
        world.calm(PROBE, REST)
    }

    /// One step: something that may happen, drawn by weight.
    fn step<S: Scenario>(&mut self, world: &mut World<S>) -> Verdict {
        let up: Vec<ProcessId> = world.members().filter(|p| world.is_up(*p)).collect();
        let down: Vec<ProcessId> = world.members().filter(|p| !world.is_up(*p)).collect();
        let mut choices = vec![
            (self.deliver * world.flights.len().min(3) as u32, Action::Deliver),
            (self.reshape, Action::Reshape),
        ];
        for p in up {
            let (i, process) = (p.index(), world.process(p));
            let Some(alive) = &process.alive else { continue };
            choices.push((self.clock[i], Action::Tick(p)));
            choices.push((self.ask, Action::Ask(p)));
            choices.push((self.crash, Action::Crash(p)));
            choices.push((self.eager[i] * u32::from(!alive.inbox.is_empty()), Action::Handle(p)));
            choices.push((self.eager[i] * u32::from(alive.has_exposures()), Action::Expose(p)));
            choices.push((self.disk[i] * u32::from(alive.has_stores()), Action::Sync(p)));
        }
        choices.extend(down.into_iter().map(|p| (self.recover, Action::Recover(p))));
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.rng.u32(..total.max(1));
        for (weight, action) in choices {
            if drawn < weight {
                return self.perform(world, action);
            }
            drawn -= weight;
        }
        Ok(())
    }

    fn perform<S: Scenario>(&mut self, world: &mut World<S>, action: Action) -> Verdict {
        match action {
            Action::Deliver => {
                self.deliver(world);
                Ok(())
            }
            Action::Reshape => {
                self.reshape(world);
                Ok(())
            }
            Action::Tick(p) => {
                world.tick(p);
                Ok(())
            }
            Action::Ask(p) => {
                let mut asks = world.asks(p);
                if !asks.is_empty() {
                    self.coverage.count(Class::Requests);
                    let request = asks.swap_remove(self.rng.usize(..asks.len()));
                    world.ask(p, request);
                }
                Ok(())
            }
            Action::Crash(p) => {
                self.crash(world, p);
                Ok(())
            }
            Action::Handle(p) => {
                world.handle(p, self.rng.usize(1..5));
                Ok(())
            }
            Action::Expose(p) => self.expose(world, p),
            Action::Sync(p) => self.sync(world, p),
            Action::Recover(p) => {
                self.coverage.count(Class::Recoveries);
                world.boot(p)
            }
        }
    }

    /// A frame arrives, or does not.
    fn deliver<S: Scenario>(&mut self, world: &mut World<S>) {
        let first = world.flights[self.rng.usize(..world.flights.len())].clone();
        let mut place = world.flights.iter().position(|f| (f.from, f.to) == (first.from, first.to));
        if self.rng.u8(..100) < self.overtaking {
            let any = world.flights.iter().position(|f| *f == first);
            self.coverage.add(Class::Reordered, u64::from(any != place));
            place = any;
        }
        let Some(place) = place else { return };
        let again = self.rng.u8(..100) < self.doubled || world.mutants().on(Mutant::FramesMultiply);
        self.coverage.add(Class::Duplicated, u64::from(again));
        let flight = world.take(place, again);
        let (from, to) = (flight.from, flight.to);
        if self.rng.u8(..100) < self.lost || !world.links.open(from, to) || !world.is_up(to) {
            self.coverage.count(Class::Lost);
            world.say(|| format!("{from} ─✗ {to}  {}", super::world::words(&flight.bytes)));
            return;
        }
        let bytes = if self.rng.u8(..100) < self.damaged { self.damage(&flight.bytes) } else { flight.bytes };
        match Opened::check_with(bytes.clone(), world.mutants()) {
            Ok(frame) => {
                self.coverage.count(Class::Delivered);
                self.coverage.add(
                    Class::Stale,
                    u64::from(world.process(from).at().is_none_or(|a| a.inc != flight.inc)),
                );
                world.say(|| format!("{from} ─▶ {to}  {}", super::world::words(&bytes)));
                world.arrive(to, Upon::Frame { from, frame });
            }
            Err(error) => {
                self.coverage.count(Class::Corrupted);
                world.say(|| format!("{from} ─~ {to}  {error}"));
            }
        }
    }

    fn damage(&mut self, bytes: &Bytes) -> Bytes {
        let mut damaged = bytes.to_vec();
        let at = self.rng.usize(..damaged.len());
        damaged[at] ^= 1 << self.rng.u8(..8);
        damaged.into()
    }

    fn reshape<S: Scenario>(&mut self, world: &mut World<S>) {
        if self.rng.u8(..4) == 0 {
            self.coverage.count(Class::Cuts);
            world.links.cut(&mut self.rng);
            world.say(|| "some links are cut".to_owned());
        } else {
            world.links.heal();
            world.say(|| "all links heal".to_owned());
        }
    }

    fn crash<S: Scenario>(&mut self, world: &mut World<S>, p: ProcessId) {
        self.coverage.count(Class::Crashes);
        let leaving = world.process(p).alive.as_ref().is_some_and(|a| a.has_exposures());
        self.coverage.add(Class::CrashesExposing, u64::from(leaving));
        world.crash(p);
    }

    /// A frame or an indication leaves.
    fn expose<S: Scenario>(&mut self, world: &mut World<S>, p: ProcessId) -> Verdict {
        if self.rng.bool() {
            world.send(p)
        } else {
            let told = world.process(p).alive.as_ref().is_some_and(|a| !a.indications.is_empty());
            self.coverage.add(Class::Indications, u64::from(told));
            world.show(p)
        }
    }

    /// The disk gets on, or the process crashes meanwhile.
    fn sync<S: Scenario>(&mut self, world: &mut World<S>, p: ProcessId) -> Verdict {
        if self.crash == 0 || self.rng.u16(..500) > self.crash as u16 {
            self.coverage.count(Class::Commits);
            return world.sync(p, None);
        }
        self.coverage.count(Class::Crashes);
        self.coverage.count(Class::CrashesWriting);
        let fault = match self.rng.u8(..4) {
            0 => Fault::CrashTorn,
            1 => Fault::FailedSync { survives: self.rng.bool() },
            _ => Fault::CrashWritten { survives: self.rng.bool() },
        };
        world.sync(p, Some(fault))
    }
}

/// Something that may happen.
enum Action {
    Deliver,
    Reshape,
    Tick(ProcessId),
    Ask(ProcessId),
    Crash(ProcessId),
    Handle(ProcessId),
    Expose(ProcessId),
    Sync(ProcessId),
    Recover(ProcessId),
}
