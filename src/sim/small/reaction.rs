//! One step of one process, by itself: what comes of an event, whatever the rest of the world.

use super::digest;
use super::part::Part;
use super::process::{Indication, Process, Request};
use super::scenario::{At, Monitor, Scenario};
use super::world::{Flight, words};
use crate::kernel::{Exposed, Opened, Upon};
use crate::sim::disk::Fault;
use crate::sim::property::{Failure, Property, Verdict};
use crate::sim::trace;

/// What may happen to a process.
pub(super) enum Event<S: Scenario> {
    /// The layer above asks something.
    Ask(Request<S>),
    /// A frame arrives.
    Deliver(Flight),
    /// It hears what it said to itself.
    Hear,
    /// Time passes.
    Tick,
    /// What it stored becomes durable, and everything that waited for it leaves.
    Sync,
    /// It crashes; what it was storing may have become durable.
    Crash { survives: bool },
    /// It boots.
    Boot,
}

/// What comes of it.
pub(super) struct Reaction<S: Scenario> {
    /// The process afterwards.
    pub(super) process: Part<Process<S>>,
    /// What it sent to others.
    pub(super) sent: Vec<Flight>,
    /// What it indicated.
    pub(super) shown: Vec<Indication<S>>,
    /// What became durable, in a few words.
    pub(super) stored: Option<Box<str>>,
}

impl<S: Scenario> Event<S> {
    /// By which it is told from other events at the same process.
    pub(super) fn digest(&self) -> u128 {
        match self {
            Self::Ask(request) => digest::of_shown(request),
            Self::Deliver(flight) => flight.digest,
            Self::Hear => 1,
            Self::Tick => 2,
            Self::Sync => 3,
            Self::Crash { survives } => 4 + u128::from(*survives),
            Self::Boot => 6,
        }
    }
}

impl<S: Scenario> Process<S> {
    /// Reacts to an event; what it says to itself it hears at once, unless that may be `overtaken`.
    pub(super) fn react(&self, event: &Event<S>, overtaken: bool) -> Result<Reaction<S>, Failure> {
        let mut process = self.clone();
        let mut stored = None;
        match event {
            Event::Ask(request) => process.upon(Upon::Request(request.clone())),
            Event::Deliver(Flight { from, bytes, .. }) => {
                if let Ok(frame) = Opened::check(bytes.clone()) {
                    process.upon(Upon::Frame { from: *from, frame });
                }
            }
            Event::Hear => process.hear(),
            Event::Tick => {
                process.ticks += 1;
                process.upon(Upon::Tick);
            }
            Event::Sync => stored = process.sync(None),
            Event::Crash { survives } => {
                if *survives {
                    stored = process.sync(Some(Fault::CrashWritten { survives: true }));
                }
                process.crash();
            }
            Event::Boot => process.boot().map_err(|e| Failure {
                property: Property::Assertions,
                detail: format!("{}: {e}", self.config.me),
            })?,
        }
        let stored = stored.map(|batch| trace::words(&batch));
        let (mut sent, mut shown) = (Vec::new(), Vec::new());
        process.expose(&mut sent, &mut shown);
        while !overtaken && process.alive.as_ref().is_some_and(|a| !a.inbox.is_empty()) {
            process.hear();
            process.expose(&mut sent, &mut shown);
        }
        Ok(Reaction { process: Part::new(process), sent, shown, stored })
    }

    fn upon(&mut self, event: Upon<Request<S>>) {
        if let Some(alive) = &mut self.alive {
            alive.react([event].into_iter());
        }
    }

    fn hear(&mut self) {
        if let Some(alive) = &mut self.alive {
            let next = alive.inbox.pop_front();
            alive.react(next.into_iter());
        }
    }

    /// Everything that may leave does.
    fn expose(&mut self, sent: &mut Vec<Flight>, shown: &mut Vec<Indication<S>>) {
        let Some(alive) = &mut self.alive else { return };
        while !alive.frames.is_empty() {
            sent.extend(alive.send(self.config.me));
        }
        shown.extend(alive.indications.drain(..).map(Exposed::into_inner));
    }
}

impl<S: Scenario> Reaction<S> {
    /// Tells the monitor what the process, which was this one, was made to do, and what came of it.
    pub(super) fn tell(
        &self,
        before: &Process<S>,
        event: &Event<S>,
        monitor: &mut Part<S::Monitor>,
    ) -> Verdict {
        let at = self.process.at().or(before.at()).map(|at| At { disk: &self.process.disk, ..at });
        let Some(at) = at else { return Ok(()) };
        match event {
            Event::Ask(request) => monitor.change().asked(at, request),
            Event::Boot => monitor.change().booted(at)?,
            Event::Deliver(_) | Event::Hear | Event::Tick | Event::Sync | Event::Crash { .. } => {}
        }
        if self.stored.is_some() {
            monitor.change().stored(at)?;
        }
        if let Event::Crash { .. } = event {
            monitor.change().crashed(at.process);
        }
        self.shown.iter().try_for_each(|indication| monitor.change().indicated(at, indication))
    }

    /// What happened, in words.
    pub(super) fn words(&self, event: &Event<S>) -> Vec<String> {
        let p = self.process.config.me;
        let mut told = Vec::new();
        if let (Event::Crash { .. }, Some(stored)) = (event, &self.stored) {
            told.push(format!("{p} stored  {stored}"));
        }
        told.push(match (event, &self.stored) {
            (Event::Sync, Some(stored)) => format!("{p} stored  {stored}"),
            (Event::Sync, None) => format!("{p} stored nothing"),
            (Event::Ask(request), _) => format!("{p} is asked: {request:?}"),
            (Event::Deliver(Flight { from, bytes, .. }), _) => format!("{from} ─▶ {p}  {}", words(bytes)),
            (Event::Hear, _) => format!("{p} hears itself"),
            (Event::Tick, _) => format!("{p} ticks"),
            (Event::Crash { .. }, _) => format!("{p} CRASHES"),
            (Event::Boot, _) => format!("{p} RECOVERS"),
        });
        told.extend(self.shown.iter().map(|indication| format!("{p} indicates {indication:?}")));
        told
    }
}
