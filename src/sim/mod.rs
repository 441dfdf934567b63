//! The deterministic simulator: the production [`Stack`](crate::stack::Stack) under an adversary
//! that chooses every step, watched by monitors that know nothing of its insides.
//!
//! A run is a pure function of its seed. First safety: processes crash (between any two of handling,
//! storing, syncing and exposing, and in the middle of a write) and recover, frames are lost,
//! duplicated, reordered, damaged, held back across incarnations, links are cut in every shape,
//! clocks and disks run at different speeds. Then liveness: faults stop, links heal, to a chain or a
//! star at times, and within a bound everything must come to rest.

mod action;
mod adversary;
mod atomicity;
mod broadcasts;
mod clients;
mod coverage;
mod disk;
mod ending;
mod facts;
mod faults;
mod liveness;
mod monitors;
mod network;
mod outlet;
mod process;
mod property;
mod registers;
mod said;
mod service;
pub mod small;
mod topics;
mod trace;
mod weights;
mod world;

use self::adversary::Adversary;
use self::property::Failure;
use self::world::World;
use crate::kernel::Mutants;
use fastrand::Rng;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::coverage::Coverage;
pub use self::property::Property;

/// Which faults a run has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// Those of the crash-recovery model: what was durable stays.
    #[default]
    Model,
    /// Beside them, one disk loses its memory, while the cluster forms or later.
    Amnesia,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps under faults; the check of liveness comes after them.
    pub steps: u64,
    /// Processes; 0 lets the seed choose.
    pub processes: usize,
    /// Which faults there are.
    pub profile: Profile,
    /// The bug put in on purpose, if any.
    pub mutants: Mutants,
    /// Lines of the trace that a violation shows.
    pub lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 20_000, processes: 0, profile: Profile::Model, mutants: Mutants::default(), lines: 40 }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was injected, and what came of it.
    pub coverage: Coverage,
    /// A hash of everything that happened: the same for every run of the seed.
    pub hash: u64,
    /// The first property that did not hold, if one did not.
    pub violation: Option<Violation>,
}

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// The seed of the run.
    pub seed: u64,
    /// The step at which it was seen.
    pub step: u64,
    /// What is wrong.
    pub detail: String,
    /// What happened last, one line each, with the step.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(
            f,
            "{} is violated at step {} of seed {}: {}",
            self.property, self.step, self.seed, self.detail
        )
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let first = execute(seed, options, 0);
    match first.violation {
        None => first,
        // Once more, this time with a trace.
        Some(_) => execute(seed, options, NOTES_PER_LINE * options.lines),
    }
}

/// Ticks and heartbeats are noted, and not shown: a line of the trace stands for many notes.
const NOTES_PER_LINE: usize = 64;

fn execute(seed: u64, options: &Options, keep: usize) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(seed, options, &mut rng, keep);
    let mut adversary = Adversary::new(rng.fork(), world.processes.len(), options);
    let result = catch_unwind(AssertUnwindSafe(|| live(&mut world, &mut adversary, options)));
    let failure = match result {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(Failure { property: Property::Assertions, detail: said_in_panic(&*panic) }),
    };
    world.sum_up();
    let violation = failure.map(|failure| Violation {
        property: failure.property,
        seed,
        step: world.steps(),
        detail: failure.detail,
        trace: world.trace.lines(options.lines),
    });
    Outcome { seed, coverage: world.coverage, hash: world.trace.hash(), violation }
}

fn live(world: &mut World, adversary: &mut Adversary, options: &Options) -> monitors::Verdict {
    for p in world.members() {
        world.recover(p)?;
    }
    while world.steps() < options.steps {
        world.take(adversary)?;
    }
    liveness::check(world, adversary)?;
    world.clients.judge(&mut world.coverage)
}

fn said_in_panic(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "a panic without words".to_owned(),
    }
}
