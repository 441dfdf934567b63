//! Every execution within bounds: breadth-first over states, each visited once.
//!
//! What was sent once may arrive at any time, any number of times, or never: frames are a set that only
//! grows, so that loss, duplication and reordering cost no steps of their own. A process may crash
//! before what it stored is durable, or after that and before anything has left. Time is bounded: so
//! many ticks of each process.
//!
//! Liveness is judged from states at which nothing is left to happen, and from a fixed part of the
//! others: what is in flight is lost there, faults stop, everybody recovers.

use super::links::Links;
use super::scenario::{Scenario, Size};
use super::world::World;
use crate::kernel::{Mutants, ProcessId, Timing};
use crate::sim::disk::Fault;
use crate::sim::property::{Failure, Property, Verdict};
use crate::sim::said_in_panic;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// States that were visited.
    pub states: usize,
    /// The longest way, in steps, to any of them.
    pub depth: usize,
    /// Whether there are no others within the bounds.
    pub complete: bool,
    /// States from which liveness was judged.
    pub judged: usize,
    /// The first property that did not hold, if one did not, on a shortest way to it.
    pub found: Option<Found>,
}

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub property: Property,
    /// What is wrong.
    pub detail: String,
    /// How it came to that, step by step.
    pub trace: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.trace.iter().enumerate() {
            writeln!(f, "  {:>4}  {line}", i + 1)?;
        }
        write!(f, "{} is violated: {}", self.property, self.detail)
    }
}

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The layer above asks the one at this place among what it may.
    Ask { at: ProcessId, which: u8 },
    /// A frame in flight arrives.
    Deliver { flight: u16 },
    /// A process hears what it said to itself.
    Hear { at: ProcessId },
    /// Time passes.
    Tick { at: ProcessId },
    /// What was stored becomes durable.
    Sync { at: ProcessId },
    /// A process crashes; what it was storing may have become durable.
    Crash { at: ProcessId, survives: bool },
    /// It recovers.
    Recover { at: ProcessId },
    /// Faults stop, for good.
    Calm,
}

/// One of so many states is one from which liveness is judged.
const PART: u128 = 64;
/// Ticks after which what has to happen has.
const REST: usize = 12;

/// Explores a scenario within bounds, as far as `limit` states.
pub(super) fn explore<S: Scenario>(size: Size, limit: usize, mutants: Mutants) -> Explored {
    let mut explorer = Explorer::<S> {
        size,
        limit,
        mutants,
        ways: Vec::new(),
        seen: HashSet::new(),
        next: VecDeque::new(),
        explored: Explored { states: 0, depth: 0, complete: false, judged: 0, found: None },
    };
    match explorer.run() {
        Ok(complete) => explorer.explored.complete = complete,
        Err(Violated { way, failure }) => {
            explorer.explored.found = Some(Found {
                property: failure.property,
                detail: failure.detail,
                trace: explorer.tell(&way),
            });
        }
    }
    explorer.explored
}

struct Explorer<S: Scenario> {
    size: Size,
    limit: usize,
    mutants: Mutants,
    /// Per state the one that it was reached from, and by what.
    ways: Vec<(usize, Step)>,
    /// Digests of the states that were reached.
    seen: HashSet<u128>,
    /// States whose successors are still to be visited, with their number and depth.
    next: VecDeque<(usize, usize, World<S>)>,
    explored: Explored,
}

/// What was found, and by which steps from the start, with `Calm` at the end where faults stopped.
struct Violated {
    way: Vec<Step>,
    failure: Failure,
}

impl<S: Scenario> Explorer<S> {
    /// At the start everybody is up, and what the boots stored is durable.
    fn start(&self) -> Result<World<S>, Failure> {
        let timing = Timing { heartbeat: 1, election: 4, resend: 1 };
        let links = Links::whole(self.size.processes);
        let mut world = World::new(links, self.size.processes, timing, self.mutants);
        world.allowed = self.size.requests;
        world.lasting = true;
        for p in world.members() {
            world.boot(p)?;
            world.settle(p)?;
        }
        Ok(world)
    }

    /// Visits states until there are none left, or too many. Returns whether none are left.
    fn run(&mut self) -> Result<bool, Violated> {
        let mut start = self.start().map_err(|failure| Violated { way: Vec::new(), failure })?;
        self.seen.insert(start.digest());
        self.ways.push((0, Step::Calm));
        self.next.push_back((0, 0, start));
        while let Some((number, depth, world)) = self.next.pop_front() {
            self.explored.states += 1;
            self.explored.depth = depth;
            let steps = self.steps(&world);
            let digest = world.clone().digest();
            if steps.is_empty() || digest.is_multiple_of(PART) {
                self.explored.judged += 1;
                let judged = guard(|| take(&mut world.clone(), Step::Calm));
                judged.map_err(|failure| self.violated(number, Step::Calm, failure))?;
            }
            for step in steps {
                let mut reached = world.clone();
                guard(|| take(&mut reached, step)).map_err(|failure| self.violated(number, step, failure))?;
                if self.seen.insert(reached.digest()) {
                    if self.seen.len() > self.limit {
                        return Ok(false);
                    }
                    self.ways.push((number, step));
                    self.next.push_back((self.ways.len() - 1, depth + 1, reached));
                }
            }
        }
        Ok(true)
    }

    /// Everything that may happen next.
    fn steps(&self, world: &World<S>) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in world.members() {
            let process = world.process(at);
            let Some(alive) = &process.alive else {
                steps.push(Step::Recover { at });
                continue;
            };
            steps.extend((0..world.asks(at).len() as u8).map(|which| Step::Ask { at, which }));
            if !alive.inbox.is_empty() {
                steps.push(Step::Hear { at });
            }
            if alive.has_stores() {
                steps.push(Step::Sync { at });
            }
            if process.ticks < self.size.ticks {
                steps.push(Step::Tick { at });
            }
            if process.crashes < self.size.crashes {
                steps.push(Step::Crash { at, survives: false });
                if alive.has_stores() {
                    steps.push(Step::Crash { at, survives: true });
                }
            }
        }
        let up = world.flights.iter().enumerate().filter(|(_, frame)| world.is_up(frame.to));
        steps.extend(up.map(|(flight, _)| Step::Deliver { flight: flight as u16 }));
        steps
    }

    fn violated(&self, mut number: usize, last: Step, failure: Failure) -> Violated {
        let mut way = vec![last];
        while number > 0 {
            let (before, step) = self.ways[number];
            way.push(step);
            number = before;
        }
        way.reverse();
        Violated { way, failure }
    }

    /// Goes the way again, and tells what happens on it.
    fn tell(&self, way: &[Step]) -> Vec<String> {
        let Ok(mut world) = self.start() else { return Vec::new() };
        world.words = Some(Vec::new());
        for step in way {
            // The last one fails again, as it should.
            let _ = guard(|| take(&mut world, *step));
        }
        world.words.unwrap_or_default()
    }
}

/// Takes a step.
fn take<S: Scenario>(world: &mut World<S>, step: Step) -> Verdict {
    match step {
        Step::Ask { at, which } => {
            let request = world.asks(at).swap_remove(usize::from(which));
            world.ask(at, request);
            world.expose(at)
        }
        Step::Deliver { flight } => {
            let flight = world.take(usize::from(flight), true);
            world.deliver(&flight);
            world.expose(flight.to)
        }
        Step::Hear { at } => {
            world.handle(at, 1);
            world.expose(at)
        }
        Step::Tick { at } => {
            world.tick(at);
            world.expose(at)
        }
        Step::Sync { at } => {
            world.sync(at, None)?;
            world.expose(at)
        }
        Step::Crash { at, survives: true } => world.sync(at, Some(Fault::CrashWritten { survives: true })),
        Step::Crash { at, survives: false } => {
            world.crash(at);
            Ok(())
        }
        Step::Recover { at } => {
            world.boot(at)?;
            world.expose(at)
        }
        Step::Calm => {
            world.say(|| "what is in flight is lost, and faults stop".to_owned());
            world.flights.clear();
            world.lasting = false;
            world.calm(REST, false)?;
            world.judge()
        }
    }
}

/// A violated assertion of the code is a finding.
fn guard(step: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        Err(Failure { property: Property::Assertions, detail: said_in_panic(&*panic) })
    })
}
