//! The production stack under the adversary, for a fixed number of seeds of each profile;
//! `KVORUM_SEEDS` asks for more.

use kvorum::sim::{self, Coverage, Options, Outcome, Profile};
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

/// Runs a profile. Every property must hold, and every class that the profile has must have happened:
/// a run that injected nothing proves nothing.
fn holds(profile: Profile, seeds: u64) -> Vec<Outcome> {
    let options = Options { profile, ..Options::default() };
    assert!(options.steps >= 20_000);
    let outcomes = run_all(seeds, &options);
    let mut total = Coverage::default();
    for outcome in &outcomes {
        if let Some(violation) = &outcome.violation {
            panic!("profile {profile}: {violation}");
        }
        total += outcome.coverage;
    }
    println!("profile {profile}, {seeds} seeds\n{total}");
    let never = total.missing(profile);
    assert!(never.is_empty(), "profile {profile}: never happened: {never:?}");
    outcomes
}

#[test]
fn every_property_holds_on_every_seed() {
    let outcomes = holds(Profile::All, seeds());
    let (crashes, leaders, decided) = (
        median(&outcomes, |c| c.crashes),
        median(&outcomes, |c| c.leader_changes),
        median(&outcomes, |c| c.decided),
    );
    println!("median: {crashes} crashes, {leaders} leader changes, {decided} entries decided");
    assert!(crashes >= 10, "the median run crashed {crashes} times");
    assert!(leaders >= 3, "the median run changed its leader {leaders} times");
    assert!(decided >= 500, "the median run decided {decided} entries");
}

#[test]
fn every_property_holds_under_the_faults_of_each_profile() {
    for profile in [Profile::Calm, Profile::Crashes, Profile::Partitions, Profile::Disk] {
        holds(profile, seeds().div_ceil(4));
    }
}

#[test]
fn a_profile_has_no_faults_but_its_own() {
    let options = |profile| Options { profile, steps: 5_000, ..Options::default() };
    for seed in 0..4 {
        let calm = sim::run(seed, &options(Profile::Calm)).coverage;
        assert_eq!((calm.crashes, calm.corrupted, calm.cuts, calm.late), (0, 0, 0, 0), "seed {seed}");
        let crashes = sim::run(seed, &options(Profile::Crashes)).coverage;
        assert_eq!((crashes.corrupted, crashes.cuts, crashes.full_disks), (0, 0, 0), "seed {seed}");
        let partitions = sim::run(seed, &options(Profile::Partitions)).coverage;
        assert_eq!((partitions.crashes, partitions.failed_syncs), (0, 0), "seed {seed}");
        let disk = sim::run(seed, &options(Profile::Disk)).coverage;
        // Its end may cut links: to let two logs differ.
        assert_eq!((disk.duplicated, disk.one_way, disk.corrupted), (0, 0, 0), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_execution() {
    let options = Options { steps: 5_000, ..Options::default() };
    for seed in 0..4 {
        assert_eq!(sim::run(seed, &options).hash, sim::run(seed, &options).hash, "seed {seed}");
    }
    assert_ne!(sim::run(0, &options).hash, sim::run(1, &options).hash);
}
