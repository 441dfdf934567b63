//! What a scenario brings: a stack, the monitor that plays the layer above it and judges it, and the
//! bugs that the monitor must find.

use super::links::Links;
use crate::kernel::{Config, Incarnation, Mutant, ProcessId, Protocol};
use crate::sim::disk::SimDisk;
use crate::sim::property::{Property, Verdict};
use std::fmt::Debug;

/// A stack to be tried, and how.
pub(in crate::sim) trait Scenario: Clone + Debug + 'static {
    /// Its name, as it is asked for.
    const NAME: &'static str;
    /// What its monitor judges.
    const PROPERTIES: &'static [Property];
    /// Its mutants.
    const TRIALS: &'static [Trial];
    /// Bounds within which every execution is tried, to the end; none where only what is in the end is
    /// judged.
    const CLOSED: Option<Size>;
    /// Wider bounds, within which as many are tried as there is time for.
    const WIDE: Option<Size>;
    /// The stack.
    type Process: Protocol<Request: Clone + Debug, Indication: Clone + Debug> + Clone + Debug;
    /// Who plays the layer above, and judges.
    type Monitor: Monitor<Self::Process>;

    /// Changes what a process is told at boot.
    fn configure(_config: &mut Config) {}
}

/// Bounds of an exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Processes.
    pub processes: usize,
    /// The first so many of them are asked anything.
    pub askers: usize,
    /// Requests, of all processes together; what counts as one is the monitor's to say.
    pub requests: usize,
    /// Crashes of each process.
    pub crashes: usize,
    /// Ticks of each process, over all incarnations.
    pub ticks: usize,
    /// Whether what was sent once may arrive any number of times, and not once at most.
    pub again: bool,
    /// Whether what a process says to itself may be overtaken by what others say to it. Where nothing
    /// depends on what comes between, it is heard at once: there are fewer states.
    pub overtaken: bool,
}

impl Size {
    /// Two processes, two requests, a crash and a tick each.
    pub const TWO: Size =
        Size { processes: 2, askers: 2, requests: 2, crashes: 1, ticks: 1, again: false, overtaken: false };
    /// The same with three.
    pub const THREE: Size = Size { processes: 3, askers: 3, ..Self::TWO };
}

/// A bug, and what must find it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The bug.
    pub mutant: Mutant,
    /// The only property whose violation counts.
    pub by: Property,
    /// Seeds within which it is found, first the one numbered 0; 0 where chance is not asked.
    pub seeds: u64,
    /// Bounds within which the explorer of all executions finds it, if it does.
    pub within: Option<Size>,
}

/// A process as its monitor sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct At<'a> {
    /// Who.
    pub(in crate::sim) process: ProcessId,
    /// In which life.
    pub(in crate::sim) inc: Incarnation,
    /// What it holds durably.
    pub(in crate::sim) disk: &'a SimDisk,
}

/// The layer above all processes of a world, outside of them: it asks, is told, and judges. It has
/// no memory but what it was told, and is part of the state of an exploration: it keeps what it
/// needs to judge, and nothing that only counts.
pub(in crate::sim) trait Monitor<P: Protocol>: Clone + Debug {
    /// At the start; every process boots after that.
    fn new(processes: usize) -> Self;

    /// What may be asked at a process that is up; in all executions each of it is, at random one.
    /// `allowed` is how many requests there may be altogether.
    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<P::Request>;

    /// A request is made.
    fn asked(&mut self, at: At<'_>, request: &P::Request);

    /// An indication left a process.
    ///
    /// # Errors
    /// When a property does not hold.
    fn indicated(&mut self, at: At<'_>, indication: &P::Indication) -> Verdict;

    /// Something became durable.
    ///
    /// # Errors
    /// When a property does not hold.
    fn stored(&mut self, _at: At<'_>) -> Verdict {
        Ok(())
    }

    /// A process booted, for the first time or after a crash.
    ///
    /// # Errors
    /// When a property does not hold.
    fn booted(&mut self, _at: At<'_>) -> Verdict {
        Ok(())
    }

    /// A process crashed: what it was asked is nobody's any more.
    fn crashed(&mut self, _process: ProcessId) {}

    /// Faults stopped a while ago: what must come to rest has.
    fn settled(&mut self) {}

    /// Faults stopped long ago, everybody is up, and these links are there: what had to happen has
    /// happened.
    ///
    /// # Errors
    /// When it has not.
    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict;
}
