//! The small world: each scenario for a fixed number of seeds, and in all executions within bounds.

use kvorum::kernel::Mutants;
use kvorum::sim::small::{Coverage, Explored, MODULES, Module, Size};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Seeds of each scenario.
const SEEDS: u64 = 200;
/// The scenario whose processes have nothing to say to each other.
const SILENT: &str = "logged-cursor";
/// States after which an exploration that is to close has not.
const CLOSED: usize = 1_500_000;
/// States that are reached with three processes.
const MILLION: usize = 1_000_000;

/// Does something for each item, on both cores of the machine. Returns the results in order.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(at)
                {
                    let result = work(item);
                    results.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn every_property_holds_on_every_seed() {
    for module in MODULES {
        let seeds: Vec<u64> = (0..SEEDS).collect();
        let mut total = Coverage::default();
        for run in each(&seeds, |seed| module.run(*seed, Mutants::default())) {
            if let Some(violation) = run.violation {
                panic!("{}: {violation}", module.name);
            }
            total += run.coverage;
        }
        println!("{}, {SEEDS} seeds\n{total}", module.name);
        let happens = |class: &str| module.name != SILENT || !class.contains("frames");
        let never: Vec<&str> =
            total.classes().filter(|(class, n)| *n == 0 && happens(class)).map(|(class, _)| class).collect();
        assert!(never.is_empty(), "{}: never happened: {never:?}", module.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_execution() {
    for module in MODULES {
        for seed in 0..5 {
            let [one, other] = [(); 2].map(|()| module.run(seed, Mutants::default()).coverage);
            assert_eq!(one, other, "{}, seed {seed}", module.name);
        }
    }
}

/// Explores every scenario that has such bounds.
fn explore(bounds: impl Fn(&Module) -> Option<Size> + Sync, limit: usize) -> Vec<(&'static str, Explored)> {
    let modules: Vec<(&Module, Size)> = MODULES.iter().filter_map(|m| Some((m, bounds(m)?))).collect();
    each(&modules, |(module, size)| {
        let begun = Instant::now();
        let explored = module.explore(*size, limit, Mutants::default());
        println!(
            "{}: {} states, {} steps deep, {}, liveness judged from {}, {:.1} s",
            module.name,
            explored.states,
            explored.depth,
            if explored.complete { "complete" } else { "cut off" },
            explored.judged,
            begun.elapsed().as_secs_f64(),
        );
        if let Some(found) = &explored.found {
            panic!("{}: {found}", module.name);
        }
        (module.name, explored)
    })
}

#[test]
fn every_execution_of_two_processes_is_tried() {
    for (module, explored) in explore(|m| m.closed, CLOSED) {
        assert!(explored.complete, "{module} has more than {CLOSED} states");
        assert!(explored.judged > 0, "{module}: liveness was judged nowhere");
    }
}

#[test]
fn a_million_states_of_three_processes_are_tried() {
    for (module, explored) in explore(|m| m.wide, MILLION) {
        assert!(explored.states >= MILLION, "{module} has {} states", explored.states);
    }
}

#[cfg(feature = "mutants")]
#[test]
fn mutants_are_found_in_all_executions() {
    let mut found = 0;
    for module in MODULES {
        for trial in module.trials {
            let Some(size) = trial.within else { continue };
            let explored = module.hunt(trial, size, MILLION);
            let Some(violation) = explored.found else {
                panic!("{}: {:?} is not found in {} states", module.name, trial.mutant, explored.states);
            };
            assert_eq!(violation.property, trial.by);
            assert!(!violation.trace.is_empty());
            println!("{}: {:?} is found after {} states", module.name, trial.mutant, explored.states);
            found += 1;
        }
    }
    assert!(found > 0);
}
