//! Every execution within bounds: breadth-first over states, each visited once.
//!
//! What was sent may arrive at any time, or never: to be lost is no step, since what stays in flight to
//! the end is lost. It arrives once, or, where frames are a set that only grows, any number of times
//! (`Size::again`). A process may crash before what it stored is durable, or after that and before
//! anything has left. Time is bounded: so many ticks of each process.
//!
//! What a process does depends on nothing but itself and the event, so that it is found once and
//! remembered: there are far fewer states of processes than of worlds.
//!
//! Liveness is judged from the first states and a fixed part of all others: what is in flight is lost there, faults stop,
//! everybody recovers.

use super::digest::{self, Table};
use super::links::Links;
use super::part::Part;
use super::process::{Process, Request, members};
use super::reaction::{Event, Reaction};
use super::scenario::{Monitor, Scenario, Size};
use super::world::{Flight, World};
use crate::kernel::{Mutants, ProcessId, Timing};
use crate::sim::property::{Failure, Property};
use crate::sim::said_in_panic;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// States that were reached.
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
    /// A frame that was sent arrives.
    Deliver { frame: u32 },
    /// A process hears what it said to itself.
    Hear { at: ProcessId },
    /// Time passes.
    Tick { at: ProcessId },
    /// What was stored becomes durable.
    Sync { at: ProcessId },
    /// A process crashes; what it was storing may have become durable.
    Crash { at: ProcessId, survives: bool },
    /// It boots.
    Boot { at: ProcessId },
}

/// Liveness is judged from the first states, and from one of so many of the others.
const FIRST: usize = 500;
const PART: u128 = 128;
/// Ticks after which things are at rest.
const REST: usize = 16;

/// Explores a scenario within bounds, as far as `limit` states. Where one property alone is asked for,
/// whatever violates another ends there, and is not told.
pub(super) fn explore<S: Scenario>(
    size: Size,
    limit: usize,
    only: Option<Property>,
    mutants: Mutants,
) -> Explored {
    let timing = Timing { heartbeat: 1, election: 4, resend: 1 };
    let world = World::<S>::new(Links::whole(size.processes), size.processes, timing, mutants);
    let mut explorer = Explorer {
        size,
        limit,
        only,
        world,
        frames: Vec::new(),
        numbers: Table::default(),
        reactions: Table::default(),
        ways: Vec::new(),
        seen: Table::default(),
        next: VecDeque::new(),
        explored: Explored { states: 0, depth: 0, complete: false, judged: 0, found: None },
    };
    let ran = explorer.run();
    explorer.explored.states = explorer.seen.len();
    match ran {
        Ok(complete) => explorer.explored.complete = complete,
        Err((number, last, Failure { property, detail })) => {
            let trace = explorer.tell(number, last);
            explorer.explored.found = Some(Found { property, detail, trace });
        }
    }
    explorer.explored
}

/// The state of everything.
struct State<S: Scenario> {
    processes: Vec<Part<Process<S>>>,
    monitor: Part<S::Monitor>,
    /// The numbers of the frames that may arrive, in order.
    sent: Rc<Vec<u32>>,
    /// The sum of their digests.
    sum: u128,
}

impl<S: Scenario> State<S> {
    fn another(&self) -> Self {
        let Self { processes, monitor, sent, sum } = self;
        Self { processes: processes.clone(), monitor: monitor.clone(), sent: sent.clone(), sum: *sum }
    }

    fn insert(&mut self, frame: u32, digest: u128) {
        let sent = Rc::make_mut(&mut self.sent);
        sent.insert(sent.partition_point(|f| *f < frame), frame);
        self.sum = self.sum.wrapping_add(digest);
    }

    fn remove(&mut self, frame: u32, digest: u128) {
        let sent = Rc::make_mut(&mut self.sent);
        sent.remove(sent.partition_point(|f| *f < frame));
        self.sum = self.sum.wrapping_sub(digest);
    }

    fn digest(&mut self) -> u128 {
        let parts = self.processes.iter_mut().map(Part::digest);
        digest::of_numbers([self.sum, self.monitor.digest()].into_iter().chain(parts))
    }
}

/// A reaction, its digest, and the numbers of the frames that it sent.
struct Known<S: Scenario> {
    reaction: Reaction<S>,
    digest: u128,
    sent: Vec<u32>,
}

/// What was found after a step from the state of this number, or at the end of a calm after it.
type Violated = (usize, Option<Step>, Failure);

struct Explorer<S: Scenario> {
    size: Size,
    limit: usize,
    only: Option<Property>,
    /// The world before anybody has booted.
    world: World<S>,
    /// Every frame that was ever sent, by number.
    frames: Vec<Flight>,
    /// Their numbers, by digest.
    numbers: Table<u32>,
    /// What comes of an event at a process, by the digest of both.
    reactions: Table<Rc<Known<S>>>,
    /// Per state the one that it was reached from, and by what; the states of the boot have none.
    ways: Vec<(usize, Option<Step>)>,
    /// The states that were reached.
    seen: Table<()>,
    /// States whose successors are still to be visited, with their number and depth.
    next: VecDeque<(usize, usize, State<S>)>,
    explored: Explored,
}

impl<S: Scenario> Explorer<S> {
    /// At the start everybody has booted, and what that stored is durable.
    fn start(&mut self) -> Result<State<S>, Failure> {
        let World { processes, monitor, .. } = self.world.clone();
        let mut state = State { processes, monitor, sent: Rc::default(), sum: 0 };
        for at in members(self.size.processes) {
            for step in [Step::Boot { at }, Step::Sync { at }] {
                state = self.take(&mut state, step)?.unwrap_or(state);
            }
        }
        Ok(state)
    }

    /// Visits states until there are none left, or too many. Returns whether none are left.
    fn run(&mut self) -> Result<bool, Violated> {
        let mut start = self.start().map_err(|failure| (0, None, failure))?;
        self.seen.insert(start.digest(), ());
        self.ways.push((0, None));
        self.next.push_back((0, 0, start));
        while let Some((number, depth, mut state)) = self.next.pop_front() {
            self.explored.depth = depth;
            if number < FIRST || state.digest().is_multiple_of(PART) {
                self.explored.judged += 1;
                if let Err(failure) = guard(|| self.judge(&state))
                    && self.counts(&failure)
                {
                    return Err((number, None, failure));
                }
            }
            for step in self.steps(&state) {
                let mut reached = match guard(|| self.take(&mut state, step)) {
                    Ok(Some(reached)) => reached,
                    Ok(None) => continue,
                    Err(failure) if self.counts(&failure) => return Err((number, Some(step), failure)),
                    Err(_) => continue,
                };
                if self.seen.insert(reached.digest(), ()).is_none() {
                    if self.seen.len() > self.limit {
                        return Ok(false);
                    }
                    self.next.push_back((self.ways.len(), depth + 1, reached));
                    self.ways.push((number, Some(step)));
                }
            }
        }
        Ok(true)
    }

    fn counts(&self, failure: &Failure) -> bool {
        self.only.is_none_or(|property| property == failure.property)
    }

    /// Everything that may happen next.
    fn steps(&self, state: &State<S>) -> Vec<Step> {
        let mut steps = Vec::new();
        for process in &state.processes {
            let at = process.config.me;
            let Some(alive) = &process.alive else {
                steps.push(Step::Boot { at });
                continue;
            };
            steps.extend((0..self.asks(state, at).len() as u8).map(|which| Step::Ask { at, which }));
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
        let up = |frame: &u32| state.processes[self.frames[*frame as usize].to.index()].alive.is_some();
        steps.extend(state.sent.iter().copied().filter(up).map(|frame| Step::Deliver { frame }));
        steps.dedup();
        steps
    }

    fn asks(&self, state: &State<S>, at: ProcessId) -> Vec<Request<S>> {
        let at = state.processes[at.index()].at().filter(|_| at.index() < self.size.askers);
        at.map_or_else(Vec::new, |at| state.monitor.asks(at, self.size.requests))
    }

    fn event(&self, state: &State<S>, step: Step) -> (ProcessId, Event<S>) {
        match step {
            Step::Ask { at, which } => (at, Event::Ask(self.asks(state, at).swap_remove(usize::from(which)))),
            Step::Deliver { frame } => {
                let flight = &self.frames[frame as usize];
                (flight.to, Event::Deliver(flight.clone()))
            }
            Step::Hear { at } => (at, Event::Hear),
            Step::Tick { at } => (at, Event::Tick),
            Step::Sync { at } => (at, Event::Sync),
            Step::Crash { at, survives } => (at, Event::Crash { survives }),
            Step::Boot { at } => (at, Event::Boot),
        }
    }

    /// Takes a step. Returns the state that it leads to, if that is another one.
    fn take(&mut self, state: &mut State<S>, step: Step) -> Result<Option<State<S>>, Failure> {
        let (at, event) = self.event(state, step);
        let process = &mut state.processes[at.index()];
        let before = process.digest();
        let known = self.react(process, before, &event)?;
        let tells = known.reaction.stored.is_some() || !known.reaction.shown.is_empty();
        let new = |frame: &&u32| !self.size.again || state.sent.binary_search(frame).is_err();
        let new: Vec<u32> = known.sent.iter().filter(new).copied().collect();
        let stays = match &event {
            Event::Ask(_) => false,
            Event::Deliver(_) => self.size.again,
            Event::Hear | Event::Tick | Event::Sync | Event::Crash { .. } | Event::Boot => true,
        };
        if known.digest == before && new.is_empty() && !tells && stays {
            return Ok(None);
        }
        let mut next = state.another();
        known.reaction.tell(&state.processes[at.index()], &event, &mut next.monitor)?;
        next.processes[at.index()] = known.reaction.process.clone();
        if let (Step::Deliver { frame }, false) = (step, self.size.again) {
            next.remove(frame, self.frames[frame as usize].digest);
        }
        for frame in new {
            next.insert(frame, self.frames[frame as usize].digest);
        }
        Ok(Some(next))
    }

    /// What comes of an event at a process.
    fn react(
        &mut self,
        process: &Process<S>,
        before: u128,
        event: &Event<S>,
    ) -> Result<Rc<Known<S>>, Failure> {
        let name = digest::of_numbers([before, event.digest()].into_iter());
        if let Some(known) = self.reactions.get(&name) {
            return Ok(known.clone());
        }
        let mut reaction = process.react(event, self.size.overtaken)?;
        let sent = reaction.sent.drain(..).map(|flight| {
            *self.numbers.entry(flight.digest).or_insert_with(|| {
                self.frames.push(flight);
                self.frames.len() as u32 - 1
            })
        });
        let sent = sent.collect();
        let known = Rc::new(Known { digest: reaction.process.digest(), reaction, sent });
        self.reactions.insert(name, known.clone());
        Ok(known)
    }

    /// From here on there are no faults: what has to happen does.
    fn judge(&self, state: &State<S>) -> Result<(), Failure> {
        let mut world = self.world_of(state);
        world.calm(0, REST)
    }

    fn world_of(&self, state: &State<S>) -> World<S> {
        World { processes: state.processes.clone(), monitor: state.monitor.clone(), ..self.world.clone() }
    }

    /// Goes the way to a state again, and one step or the calm after it: tells what happens.
    fn tell(&mut self, number: usize, last: Option<Step>) -> Vec<String> {
        let mut way = vec![last];
        let mut at = number;
        while let Some((before, Some(step))) = self.ways.get(at) {
            way.push(Some(*step));
            at = *before;
        }
        let Ok(mut state) = self.start() else { return Vec::new() };
        let mut told = Vec::new();
        for step in way.into_iter().rev() {
            let Some(step) = step else {
                let mut world = self.world_of(&state);
                world.words = Some(vec!["what is in flight is lost".to_owned()]);
                let _ = guard(|| world.calm(0, REST));
                told.extend(world.words.unwrap_or_default());
                break;
            };
            let (at, event) = self.event(&state, step);
            let process = &mut state.processes[at.index()];
            let before = process.digest();
            match guard(|| self.react(process, before, &event)) {
                Ok(known) => told.extend(known.reaction.words(&event)),
                Err(failure) => told.push(format!("{at}: {}", failure.detail)),
            }
            if let Ok(Some(next)) = guard(|| self.take(&mut state, step)) {
                state = next;
            }
        }
        told
    }
}

/// A violated assertion of the code is a finding.
fn guard<T>(step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        Err(Failure { property: Property::Assertions, detail: said_in_panic(&*panic) })
    })
}
