//! The state of a small world, and what may happen in it: the same for both drivers.

use super::digest;
use super::links::Links;
use super::part::Part;
use super::process::{Alive, Process, Request, members};
use super::scenario::{At, Monitor, Scenario};
use crate::kernel::{Bounds, Config, Incarnation, Mutants, Opened, Origin, ProcessId, Timing, Upon};
use crate::sim::disk::Fault;
use crate::sim::property::{Failure, Property, Verdict};
use crate::sim::said::Said;
use crate::sim::trace;
use bytes::Bytes;

/// A frame on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Flight {
    pub(super) from: ProcessId,
    pub(super) to: ProcessId,
    /// The incarnation of the sender.
    pub(super) inc: Incarnation,
    pub(super) bytes: Bytes,
    pub(super) digest: u128,
}

impl Flight {
    pub(super) fn new(from: ProcessId, to: ProcessId, inc: Incarnation, bytes: Bytes) -> Self {
        let digest = digest::of_bytes(&[&[from.0, to.0], &bytes[..]].concat());
        Self { from, to, inc, bytes, digest }
    }
}

/// Everything that there is. What two states share they share in memory, too.
#[derive(Clone)]
pub(super) struct World<S: Scenario> {
    pub(super) processes: Vec<Part<Process<S>>>,
    pub(super) monitor: Part<S::Monitor>,
    /// What is in flight, in the order in which it left.
    pub(super) flights: Vec<Flight>,
    /// Requests that there may be altogether.
    pub(super) allowed: usize,
    pub(super) links: Links,
    /// What happened, in words, where somebody wants to read it.
    pub(super) words: Option<Vec<String>>,
}

impl<S: Scenario> World<S> {
    pub(super) fn new(links: Links, processes: usize, timing: Timing, mutants: Mutants) -> Self {
        let config = |me| {
            let mut config = Config {
                me,
                processes,
                configuration: 1,
                disk: 1 + u64::from(me.0),
                boot: 0,
                damaged: false,
                origin: Origin::Own,
                timing,
                bounds: Bounds::default(),
                mutants,
            };
            S::configure(&mut config);
            config
        };
        Self {
            processes: members(processes).map(|p| Part::new(Process::new(config(p)))).collect(),
            monitor: Part::new(S::Monitor::new(processes)),
            flights: Vec::new(),
            allowed: 0,
            links,
            words: None,
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = ProcessId> + use<S> {
        members(self.processes.len())
    }

    pub(super) fn process(&self, p: ProcessId) -> &Process<S> {
        &self.processes[p.index()]
    }

    /// The bug that everybody has.
    pub(super) fn mutants(&self) -> Mutants {
        self.process(ProcessId(0)).config.mutants
    }

    /// Whether a process is up.
    pub(super) fn is_up(&self, p: ProcessId) -> bool {
        self.process(p).alive.is_some()
    }

    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(words) = &mut self.words {
            words.push(text());
        }
    }

    /// A process boots.
    pub(super) fn boot(&mut self, p: ProcessId) -> Verdict {
        let process = self.processes[p.index()].change();
        process
            .boot()
            .map_err(|e| Failure { property: Property::Assertions, detail: format!("{p}: {e}") })?;
        let Some(at) = process.at() else { return Ok(()) };
        self.monitor.change().booted(at)?;
        let inc = at.inc;
        self.say(|| match inc {
            1 => format!("{p} boots"),
            _ => format!("{p} RECOVERS as incarnation {inc}"),
        });
        Ok(())
    }

    /// A process crashes, wherever it was.
    pub(super) fn crash(&mut self, p: ProcessId) {
        self.processes[p.index()].change().crash();
        self.monitor.change().crashed(p);
        self.say(|| format!("{p} CRASHES"));
    }

    /// What may be asked at a process now.
    pub(super) fn asks(&self, p: ProcessId) -> Vec<Request<S>> {
        match self.process(p).at() {
            None => Vec::new(),
            Some(at) => self.monitor.asks(at, self.allowed),
        }
    }

    /// The layer above asks something.
    pub(super) fn ask(&mut self, p: ProcessId, request: Request<S>) {
        self.say(|| format!("{p} is asked: {request:?}"));
        let process = self.processes[p.index()].change();
        let Some(at) = process.at() else { return };
        self.monitor.change().asked(at, &request);
        if let Some(alive) = &mut process.alive {
            alive.react([Upon::Request(request)].into_iter());
        }
    }

    /// Something arrives at a process, and waits until it is handled.
    pub(super) fn arrive(&mut self, p: ProcessId, event: Upon<Request<S>>) {
        if let Some(alive) = &mut self.processes[p.index()].change().alive {
            alive.inbox.push_back(event);
        }
    }

    /// A process handles the first `events` of what has arrived, in one turn.
    pub(super) fn handle(&mut self, p: ProcessId, events: usize) {
        if let Some(alive) = &mut self.processes[p.index()].change().alive {
            let events = events.min(alive.inbox.len());
            let events: Vec<_> = alive.inbox.drain(..events).collect();
            alive.react(events.into_iter());
        }
    }

    /// Time passes at a process.
    pub(super) fn tick(&mut self, p: ProcessId) {
        self.say(|| format!("{p} ticks"));
        let process = self.processes[p.index()].change();
        if let Some(alive) = &mut process.alive {
            process.ticks += 1;
            alive.react([Upon::Tick].into_iter());
        }
    }

    /// A frame arrives; a copy of it stays in flight if `again`.
    pub(super) fn take(&mut self, flight: usize, again: bool) -> Flight {
        if again { self.flights[flight].clone() } else { self.flights.remove(flight) }
    }

    /// A frame reaches a process that is up, which reacts to it in a turn of its own.
    pub(super) fn deliver(&mut self, flight: &Flight) {
        let Flight { from, to, bytes, .. } = flight;
        self.say(|| format!("{from} ─▶ {to}  {}", words(bytes)));
        let Ok(frame) = Opened::check(bytes.clone()) else { return };
        if let Some(alive) = &mut self.processes[to.index()].change().alive {
            alive.react([Upon::Frame { from: *from, frame }].into_iter());
        }
    }

    /// What a process stored becomes durable, and it is told so; or it meets with a fault, and
    /// crashes.
    pub(super) fn sync(&mut self, p: ProcessId, fault: Option<Fault>) -> Verdict {
        let process = self.processes[p.index()].change();
        let Some(batch) = process.sync(fault) else { return Ok(()) };
        if let Some(at) = process.at() {
            self.monitor.change().stored(at)?;
        }
        self.say(|| {
            format!(
                "{p} {}  {}",
                if fault.is_some() { "was storing" } else { "stored" },
                trace::words(&batch)
            )
        });
        if fault.is_some() {
            self.crash(p);
        }
        Ok(())
    }

    /// The next frame leaves a process.
    pub(super) fn send(&mut self, p: ProcessId) -> Verdict {
        // What it has told before, or with it, reaches those outside before the frame reaches it.
        while self.process(p).alive.as_ref().is_some_and(|alive| alive.tells_before_it_hears(p)) {
            self.show(p)?;
        }
        if let Some(alive) = &mut self.processes[p.index()].change().alive {
            self.flights.extend(alive.send(p));
        }
        self.flights.truncate(WINDOW);
        Ok(())
    }

    /// The next indication leaves a process.
    pub(super) fn show(&mut self, p: ProcessId) -> Verdict {
        let process = self.processes[p.index()].change();
        let Some(exposed) = process.alive.as_mut().and_then(|a| a.indications.pop_front()) else {
            return Ok(());
        };
        let indication = exposed.into_inner();
        if let Some(at) = process.at() {
            self.monitor.change().indicated(at, &indication)?;
        }
        self.say(|| format!("{p} indicates {indication:?}"));
        Ok(())
    }

    /// Everything that may leave a process does.
    pub(super) fn expose(&mut self, p: ProcessId) -> Verdict {
        while self.process(p).alive.as_ref().is_some_and(Alive::has_exposures) {
            self.send(p)?;
            self.show(p)?;
        }
        Ok(())
    }

    /// Faults stop: links heal, everybody recovers, and everything that is said arrives. For `asking`
    /// ticks the layer above still asks; after `waiting` more things must have come to rest, and after
    /// as many again what had to happen has.
    pub(super) fn calm(&mut self, asking: usize, waiting: usize) -> Verdict {
        self.say(|| "faults stop".to_owned());
        self.links.heal();
        for p in self.members().filter(|p| !self.is_up(*p)).collect::<Vec<_>>() {
            self.boot(p)?;
        }
        self.pass(asking, true)?;
        self.pass(waiting, false)?;
        self.monitor.change().settled();
        self.pass(waiting, false)?;
        let up: Vec<At<'_>> = self.processes.iter().filter_map(|p| p.at()).collect();
        self.monitor.finally(&self.links, &up)
    }

    /// Ticks pass, and nothing goes wrong.
    fn pass(&mut self, ticks: usize, asking: bool) -> Verdict {
        for _ in 0..ticks {
            for p in self.members() {
                if let Some(request) = self.asks(p).into_iter().next().filter(|_| asking) {
                    self.ask(p, request);
                }
                self.tick(p);
                self.settle(p)?;
            }
            for _ in 0..HOPS {
                let flights = std::mem::take(&mut self.flights);
                for flight in
                    flights.iter().filter(|f| self.links.open(f.from, f.to)).cloned().collect::<Vec<_>>()
                {
                    self.deliver(&flight);
                    self.settle(flight.to)?;
                }
            }
        }
        Ok(())
    }

    /// A process finishes whatever it has begun.
    pub(super) fn settle(&mut self, p: ProcessId) -> Verdict {
        while self.process(p).alive.as_ref().is_some_and(|a| !a.is_idle()) {
            self.sync(p, None)?;
            self.expose(p)?;
            self.handle(p, usize::MAX);
        }
        Ok(())
    }
}

/// Frames in flight, beyond which new ones are lost.
const WINDOW: usize = 400;
/// Frames that follow from one another within a tick.
const HOPS: usize = 3;

/// A frame in the words of the protocol.
pub(super) fn words(bytes: &Bytes) -> String {
    match Said::read(bytes.clone()) {
        Ok(said) => said.to_string(),
        Err(error) => error.to_string(),
    }
}
