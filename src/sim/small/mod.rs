//! The small world: a few processes that run one stack of modules, tried at random and, within
//! bounds, in all executions, by the same monitor.
//!
//! # How to add a scenario
//!
//! One file, beside [`register`](self), which holds
//!
//! * an adapter that makes the module a [`Protocol`](crate::kernel::Protocol), where it is not one
//!   already: requests to its methods, what they return to indications, frames to the module that
//!   they are addressed to. It derives `Clone` and `Debug`, as do its requests and indications;
//! * a `Monitor`: the layer above all processes at once. `asks` says what may be requested at a process
//!   now: the explorer asks each of it, the random driver one. `asked`, `indicated`, `stored`, `booted`
//!   and `crashed` tell it what happened, and it answers with a failure that names the
//!   [`Property`], made by `ensure`. `finally` judges liveness: faults have stopped long ago then. An
//!   `At` has the durable image of the disk, so that a monitor can read a delivery log
//!   as the layer above would. The monitor is part of every state of an exploration: a counter in it
//!   that nothing depends on makes states differ that do not;
//! * a `Scenario` that names all this, its properties, its mutants with the property that must catch
//!   each, and two sizes: one that closes, of two processes, and one of three.
//!
//! Then a line in [`MODULES`], the properties in `sim/property.rs`, the mutants in `kernel/mutant.rs`.
//! `cargo test --test small_world` and `--test mutants` do the rest; `kvorum sim --module NAME`, with
//! `--all` or without, tries one of them.
//!
//! In all executions a process has so many ticks (`Size::ticks`) in all: `timing` is 1 tick to resend,
//! so that each of them matters; in random ones it is 3, and heartbeats take 2.
//!
//! States are told apart by the `Debug` of stack, journal, disk and monitor: what is not shown there
//! does not count, and what always differs (a counter of everything) keeps a state space from closing.

mod broadcast;
mod consensus;
mod coverage;
mod cursor;
mod detector;
mod digest;
mod elector;
mod explorer;
mod fifo_link;
mod links;
mod logged_links;
mod lossy;
mod mail;
mod part;
mod process;
mod random;
mod reaction;
mod redelivery;
mod register;
mod scenario;
mod stubborn;
mod world;

pub use self::coverage::{Class, Coverage};
pub use self::explorer::{Explored, Found};
pub use self::random::Run;
pub use self::scenario::{Size, Trial};

use self::scenario::Scenario;
use super::Property;
use crate::kernel::Mutants;

/// A scenario, by name.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// As it is asked for.
    pub name: &'static str,
    /// What is judged.
    pub properties: &'static [Property],
    /// Its mutants, and what must find each.
    pub trials: &'static [Trial],
    /// Bounds within which every execution is tried, to the end.
    pub closed: Option<Size>,
    /// Wider bounds, within which as many are tried as there is time for.
    pub wide: Option<Size>,
    run: fn(u64, Mutants) -> Run,
    explore: fn(Size, usize, Option<Property>, Mutants) -> Explored,
}

/// Every scenario.
pub const MODULES: &[Module] = &[
    Module::of::<register::Register>(),
    Module::of::<lossy::Lossy>(),
    Module::of::<stubborn::StubbornLinks>(),
    Module::of::<fifo_link::FifoLinks>(),
    Module::of::<logged_links::LoggedLinks>(),
    Module::of::<logged_links::LoggedBroadcast>(),
    Module::of::<broadcast::Broadcast<broadcast::Unordered>>(),
    Module::of::<broadcast::Broadcast<broadcast::InFifoOrder>>(),
    Module::of::<broadcast::Broadcast<broadcast::InCausalOrder>>(),
    Module::of::<cursor::Cursor>(),
    Module::of::<redelivery::Redelivery>(),
    Module::of::<consensus::Consensus>(),
    Module::of::<detector::LeaderDetector>(),
];

impl Module {
    const fn of<S: Scenario>() -> Self {
        Self {
            name: S::NAME,
            properties: S::PROPERTIES,
            trials: S::TRIALS,
            closed: S::CLOSED,
            wide: S::WIDE,
            run: random::run::<S>,
            explore: explorer::explore::<S>,
        }
    }

    /// The scenario of this name.
    pub fn named(name: &str) -> Option<&'static Module> {
        MODULES.iter().find(|module| module.name == name)
    }

    /// Runs one seed.
    pub fn run(&self, seed: u64, mutants: Mutants) -> Run {
        (self.run)(seed, mutants)
    }

    /// Tries every execution within bounds, as far as `limit` states.
    pub fn explore(&self, size: Size, limit: usize, mutants: Mutants) -> Explored {
        (self.explore)(size, limit, None, mutants)
    }

    /// The same with a bug, which only the violation of one property finds.
    #[cfg(feature = "mutants")]
    pub fn hunt(&self, trial: &Trial, size: Size, limit: usize) -> Explored {
        (self.explore)(size, limit, Some(trial.by), Mutants::only(trial.mutant))
    }
}
