//! `kvorum sim --module`: one module alone, in the small world.

use super::{Failure, output};
use crate::kernel::Mutants;
use crate::sim::small::{Coverage, MODULES, Module, Size};
use std::ops::Range;
use std::time::Instant;

/// States after which an exploration ends.
const STATES: usize = 1_500_000;

/// The module of a name.
pub(super) fn module(name: &str) -> Result<&'static Module, String> {
    let names = || MODULES.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
    Module::named(name).ok_or_else(|| format!("there are: {}", names()))
}

/// Runs seeds of it.
pub(super) fn seeds(module: &Module, seeds: Range<u64>, mutants: Mutants) -> Result<(), Failure> {
    let mut total = Coverage::default();
    for seed in seeds.clone() {
        let run = module.run(seed, mutants);
        total += run.coverage;
        if let Some(violation) = run.violation {
            output::line(format_args!("{violation}\n"))?;
            return Err(Failure::Other(format!("seed {seed} violated a property of {}", module.name)));
        }
    }
    output::line(format_args!("{total}"))?;
    output::line(format_args!("{} seeds of {}: every property held", seeds.end - seeds.start, module.name))
}

/// Tries all of its executions within its two bounds; of those within the second, as many as there is
/// time for.
pub(super) fn all(module: &Module, mutants: Mutants) -> Result<(), Failure> {
    let (mut complete, mut states) = (0, 0);
    let sizes: Vec<Size> = [module.closed, module.wide].into_iter().flatten().collect();
    for size in sizes.iter().copied() {
        let begun = Instant::now();
        let explored = module.explore(size, STATES, mutants);
        let Size { processes, requests, crashes, ticks, .. } = size;
        output::line(format_args!(
            "{processes} processes, {requests} requests, of each {crashes} crashes and {ticks} ticks: {} states, \
             {} steps deep, {}; {:.1} s",
            explored.states,
            explored.depth,
            if explored.complete { "complete" } else { "cut off" },
            begun.elapsed().as_secs_f64(),
        ))?;
        if let Some(found) = explored.found {
            output::line(format_args!("{found}\n"))?;
            return Err(Failure::Other(format!("an execution of {} violates a property", module.name)));
        }
        complete += usize::from(explored.complete);
        states += explored.states;
    }
    output::line(format_args!(
        "{}: every property held in {states} states; {complete} of {} sizes tried in all executions",
        module.name,
        sizes.len(),
    ))
}
