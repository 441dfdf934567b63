//! The deterministic simulator: the production [`Stack`](crate::stack::Stack) under an adversary
//! that chooses every step, watched by monitors that know nothing of its insides.
//!
//! A run is a pure function of its seed. First safety, under the faults of its profile; then
//! liveness: faults stop, links heal, to a chain or a star at times, and within a bound everything
//! must come to rest.
//!
//! | profile | what befalls processes and messages |
//! |---|---|
//! | calm | nothing: everyone gets on at a pace of its own, in any order |
//! | crashes | crashes between any two of handling, storing, syncing and exposing, and inside a write; right after a boot, in loops, of everyone at once; stale frames; skewed clocks |
//! | partitions | send and receive omission, loss, duplication, reordering, delay, corruption; links cut in halves, one way, to a chain or a star, here and there, flapping |
//! | disk | slow disks, failed writes and syncs, full disks, torn batches; disks lost, damaged, rolled back, put back to an earlier moment |
//! | all | all of these |
//!
//! The budgets are those of the model: everyone who crashes recovers in the end, links heal, and what
//! was durable stays, but at a minority, of which each may lose its memory once (`losses.rs`). A few runs
//! end beyond that budget, with a disk that is put back where no record can show it: then nothing may be
//! overwritten silently (`divergence.rs`).

mod action;
mod adversary;
mod atomicity;
mod bounds;
mod broadcasts;
mod choices;
mod clients;
mod configuration;
mod coverage;
mod disk;
mod divergence;
mod draw;
mod elsewhere;
mod ending;
mod execution;
mod facts;
mod faults;
mod image;
mod ledger;
mod liveness;
mod losses;
mod monitors;
mod network;
mod outlet;
mod probes;
mod process;
mod property;
mod receivers;
mod registers;
mod said;
mod script;
mod service;
mod shadow;
mod shrink;
mod sizes;
pub mod small;
mod subscriber;
mod topics;
mod trace;
mod weights;
mod words;
mod world;

use self::adversary::Adversary;
use self::property::{Failure, Verdict};
use self::world::World;
use crate::kernel::Mutants;
use fastrand::Rng;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::coverage::{Class, Coverage, Group};
pub use self::execution::{Execution, Size};
pub use self::property::Property;

/// Which faults a run has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// None.
    Calm,
    /// Processes crash and recover; their clocks run at different speeds.
    Crashes,
    /// Messages are omitted, lost, duplicated, reordered, delayed, damaged; links are cut.
    Partitions,
    /// Disks are slow, fail, and lose their memory.
    Disk,
    /// All of these.
    #[default]
    All,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 5] = [Self::Calm, Self::Crashes, Self::Partitions, Self::Disk, Self::All];

    /// Whether processes crash by themselves.
    pub fn has_crashes(self) -> bool {
        matches!(self, Self::Crashes | Self::All)
    }

    /// Whether messages and links fail.
    pub fn has_partitions(self) -> bool {
        matches!(self, Self::Partitions | Self::All)
    }

    /// Whether disks fail.
    pub fn has_disks(self) -> bool {
        matches!(self, Self::Disk | Self::All)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calm => "calm",
            Self::Crashes => "crashes",
            Self::Partitions => "partitions",
            Self::Disk => "disk",
            Self::All => "all",
        })
    }
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
        Self {
            steps: 20_000,
            processes: 0,
            profile: Profile::default(),
            mutants: Mutants::default(),
            lines: 40,
        }
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
    let live = || {
        suffer(&mut world, &mut adversary, options)?;
        rest(&mut world, &mut adversary)
    };
    let failure = caught(live).err();
    world.sum_up(adversary.coverage());
    let violation = failure.map(|failure| Violation {
        property: failure.property,
        seed,
        step: world.steps(),
        detail: failure.detail,
        trace: world.trace.lines(options.lines),
    });
    Outcome { seed, coverage: world.coverage, hash: world.trace.hash(), violation }
}

/// Everyone boots.
fn boot(world: &mut World) -> Verdict {
    world.members().try_for_each(|p| world.recover(p))
}

/// The part of a run that has faults.
fn suffer(world: &mut World, adversary: &mut Adversary, options: &Options) -> Verdict {
    boot(world)?;
    while world.steps() < options.steps {
        world.take(adversary)?;
    }
    Ok(())
}

/// The part of a run that has none, and the verdict of the clients.
fn rest(world: &mut World, adversary: &mut Adversary) -> Verdict {
    if adversary.losses.diverges {
        return divergence::check(world, adversary);
    }
    liveness::check(world, adversary)?;
    world.clients.judge(&mut world.coverage)
}

/// A violated assertion of the code is a finding like any other.
fn caught(run: impl FnOnce() -> Verdict) -> Verdict {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(verdict) => verdict,
        Err(panic) => Err(Failure { property: Property::Assertions, detail: said_in_panic(&*panic) }),
    }
}

fn said_in_panic(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "a panic without words".to_owned(),
    }
}
