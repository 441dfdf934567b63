//! The production stack under the adversary, for a fixed number of seeds; `KVORUM_SEEDS` asks for
//! more.

use kvorum::sim::{self, Coverage, Options, Outcome};
use std::sync::atomic::{AtomicU64, Ordering};

fn seeds() -> u64 {
    std::env::var("KVORUM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

/// Runs seeds on both cores of the machine, whatever their order.
fn run_all(seeds: u64, options: &Options) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return outcomes;
            }
            outcomes.push(sim::run(seed, options));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a run does not panic")).collect()
    })
}

fn median(outcomes: &[Outcome], of: impl Fn(&Coverage) -> u64) -> u64 {
    let mut values: Vec<u64> = outcomes.iter().map(|o| of(&o.coverage)).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn every_property_holds_on_every_seed() {
    let options = Options::default();
    assert!(options.steps >= 20_000);
    let outcomes = run_all(seeds(), &options);
    let mut total = Coverage::default();
    for outcome in &outcomes {
        if let Some(violation) = &outcome.violation {
            panic!("{violation}");
        }
        total += outcome.coverage;
    }
    let (crashes, leaders, decided) = (
        median(&outcomes, |c| c.crashes),
        median(&outcomes, |c| c.leader_changes),
        median(&outcomes, |c| c.decided),
    );
    println!(
        "{} seeds; median: {crashes} crashes, {leaders} leader changes, {decided} entries decided",
        seeds()
    );
    for (class, count) in total.classes() {
        println!("{count:>12} {class}");
    }
    assert!(crashes >= 10, "the median run crashed {crashes} times");
    assert!(leaders >= 3, "the median run changed its leader {leaders} times");
    assert!(decided >= 500, "the median run decided {decided} entries");
    // Wipes belong to the profile of amnesia; an undecided history is no class to wish for.
    let optional = ["disks wiped", "client histories undecided"];
    let never: Vec<&str> =
        total.classes().filter(|(class, n)| *n == 0 && !optional.contains(class)).map(|(c, _)| c).collect();
    assert!(never.is_empty(), "never happened: {never:?}");
}

#[test]
fn the_same_seed_gives_the_same_execution() {
    let options = Options { steps: 5_000, ..Options::default() };
    for seed in 0..4 {
        assert_eq!(sim::run(seed, &options).hash, sim::run(seed, &options).hash, "seed {seed}");
    }
    assert_ne!(sim::run(0, &options).hash, sim::run(1, &options).hash);
}
