//! Bugs put in on purpose, one for each sentence of the protocol that can be left out. Each must be
//! found by the monitor that watches this very sentence, within a stated number of seeds; and what
//! is found must be the bug: without one, the same seeds find nothing.
#![cfg(feature = "mutants")]

use kvorum::kernel::{Mutant, Mutants};
use kvorum::sim::small::{self, MODULES, Module};
use kvorum::sim::{self, Options, Outcome, Profile, Property};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What must find a mutant.
struct Trial {
    /// The only property whose violation counts.
    by: Property,
    profile: Profile,
    /// Steps under faults.
    steps: u64,
    /// The first seed that is tried.
    first: u64,
    /// Seeds within which it is found.
    seeds: u64,
}

const STEPS: u64 = 20_000;
/// Liveness is judged when the faults are over: few of them do.
const FEW: u64 = 2_000;

/// Nothing for the mutants of the small modules, which have a world of their own, and for those that a test
/// beside the code finds.
fn trial(mutant: Mutant) -> Option<Trial> {
    use Profile::{All, Disk};
    use Property as P;
    let (by, profile, steps, seeds) = match mutant {
        Mutant::IncarnationKept => (P::Incarnations, All, STEPS, 10),
        Mutant::ResumeBallot => (P::ElectedBallots, All, STEPS, 20),
        Mutant::StoreAdoptionApart => (P::ChosenStays, All, STEPS, 40),
        // Told of an old end of the log, a recovered process shows less than before its crash.
        Mutant::SyncWithoutSession => (P::ClientHistory, All, STEPS, 50),
        Mutant::SyncFromTheEnd => (P::OneValue, All, STEPS, 100),
        Mutant::SyncShortens => (P::Promises, All, STEPS, 40),
        // The process that took half of a log later learns what it lacks.
        Mutant::StagedTakenHalf => (P::LoudDivergence, All, STEPS, 20),
        Mutant::LeaderNeverGivesUp => (P::Progress, All, FEW, 40),
        Mutant::PromiseIgnoresQueue => (P::ChosenStays, All, STEPS, 300),
        Mutant::ReadIndexEarly => (P::ClientHistory, All, STEPS, 100),
        Mutant::QuorumOfMessages => (P::DurableMajority, All, STEPS, 20),
        Mutant::LeaderCountsEarly => (P::DurableMajority, All, STEPS, 20),
        Mutant::ExposeBeforeSync => (P::Exposure, All, STEPS, 10),
        Mutant::LyingSync => (P::Exposure, All, STEPS, 10),
        Mutant::DecideUnaccepted => (P::PrefixAgreement, All, STEPS, 300),
        Mutant::DecideUnsaid => (P::Progress, All, FEW, 20),
        Mutant::ReadAtOnce => (P::ClientHistory, All, STEPS, 100),
        Mutant::ServeAtOnce => (P::ClientHistory, All, STEPS, 20),
        Mutant::ForwardUnfiltered => (P::AtMostOnce, All, STEPS, 40),
        Mutant::UnwantedSkipped => (P::StateAgreement, All, STEPS, 40),
        Mutant::FilterForgotten => (P::AtMostOnce, All, STEPS, 200),
        Mutant::EvictedSessionExecutes => (P::AtMostOnce, All, STEPS, 40),
        Mutant::BudgetIgnored => (P::BoundedCost, All, STEPS, 20),
        Mutant::BudgetOfVersions => (P::StateAgreement, All, STEPS, 100),
        Mutant::FormAfterOneExchange => (P::Learners, All, FEW, 100),
        Mutant::WipedVotes => (P::Learners, Disk, STEPS, 40),
        Mutant::CopyVotes => (P::Learners, Disk, STEPS, 40),
        Mutant::MarkForgotten => (P::Learners, Disk, STEPS, 60),
        Mutant::PrefixHashUnchecked => (P::LoudDivergence, Disk, FEW, 60),
        Mutant::CandidacyOnNack => (P::Leader, All, FEW, 300),
        Mutant::HappyWithoutMajority => (P::Leader, All, FEW, 200),
        Mutant::ReadUnimposed => (P::RegisterAtomicity, All, STEPS, 300),
        Mutant::WriteUnconsulted => (P::RegisterAtomicity, All, STEPS, 40),
        Mutant::SessionsByUseAlone => (P::Reload, All, STEPS, 40),
        Mutant::ReplyDrifts => (P::StateAgreement, All, STEPS, 10),
        Mutant::DivergenceIgnored => (P::DivergedStops, All, FEW, 40),
        Mutant::StubbornGivesUp
        | Mutant::GapSkipped
        | Mutant::GapAcknowledged
        | Mutant::RepeatDelivered
        | Mutant::StaleStream
        | Mutant::OutboxForgotten
        | Mutant::DeliveredForgotten
        | Mutant::OneReceiverSuffices
        | Mutant::FrameUnchecked
        | Mutant::FramesMultiply
        | Mutant::OneLeftOut
        | Mutant::QuestionOnce
        | Mutant::LatePromiseIgnored
        | Mutant::GapFilled
        | Mutant::CandidacyUnconnected
        | Mutant::CopiedVotes
        | Mutant::ChunkOfAnotherSession
        | Mutant::BootAnew
        | Mutant::MarkAnew
        | Mutant::ShortSyncTaken
        | Mutant::LearnedUncompared
        | Mutant::CleanedWhole
        | Mutant::BallotOfAnyLife
        | Mutant::SuffixWithoutTheCandidates
        | Mutant::TrimmedUntold
        | Mutant::StrangersBelieved
        | Mutant::NotRedelivered
        // Seen in a test of the journal: a run has no bytes enough.
        | Mutant::DiskWaitedFor
        | Mutant::CursorStoredApart => return None,
        Mutant::NospaceAtApplyOnly => (P::SpaceKept, All, STEPS, 20),
        Mutant::TailUnbounded => (P::BoundedLog, All, STEPS, 20),
        Mutant::WindowUnbounded => (P::BoundedWindow, All, STEPS, 20),
        Mutant::OwnCopyCountedTwice => (P::UniformAgreement, All, FEW, 300),
        Mutant::DeliveredWithoutMajority => (P::UniformAgreement, All, FEW, 300),
        Mutant::RelayedForgotten => (P::UniformAgreement, All, STEPS, 40),
        Mutant::FifoGaps => (P::FifoDelivery, All, STEPS, 40),
        Mutant::CausalContextIgnored => (P::CausalDelivery, All, STEPS, 40),
        Mutant::HintRestartsAtTheEnd => (P::CompleteHint, All, STEPS, 20),
        Mutant::PositionsByName => (P::StablePositions, All, STEPS, 20),
        Mutant::SessionsKept => (P::BoundedMemory, All, STEPS, 60),
        Mutant::DeliveriesKept => (P::BoundedMemory, All, 3 * STEPS, 20),
        Mutant::TrimmedUnacknowledged => (P::KeptForCursor, All, STEPS, 20),
        Mutant::RedeliveredAfterStop => (P::Stop, All, STEPS, 20),
        Mutant::WindowIgnored => (P::BoundedPending, All, STEPS, 20),
        Mutant::StoppedUnsaved => (P::Stop, All, STEPS, 100),
        Mutant::ReceivedUnconfirmed => (P::Stop, All, STEPS, 40),
        Mutant::LastProposalDecides => (P::ConsensusAgreement, All, STEPS, 20),
        Mutant::DecisionUnproposed => (P::ConsensusValidity, All, STEPS, 10),
        Mutant::CheckpointForgets => (P::ConsensusIntegrity, All, STEPS, 100),
        Mutant::ProposalTakesRoom => (P::ConsensusTermination, All, STEPS, 40),
        Mutant::CommitWithoutAll => (P::CommitValidity, All, STEPS, 20),
        Mutant::TimeoutOfAnother => (P::AbortValidity, All, STEPS, 100),
        Mutant::LateVoteFlips => (P::CommitAgreement, All, STEPS, 40),
        Mutant::TimeoutAfterOutcome => (P::CommitIntegrity, All, STEPS, 40),
        Mutant::TimeoutUnsaid => (P::CommitTermination, All, FEW, 40),
        Mutant::OneAcknowledgesForAll => (P::CommitRedelivery, All, STEPS, 20),
        Mutant::PositionOfRetained => (P::TotalOrder, All, STEPS, 20),
        Mutant::PublishedAgain => (P::PublishedOnce, All, STEPS, 300),
        Mutant::FellOffSilently => (P::Retention, All, STEPS, 20),
    };
    // What chance seldom brings about is looked for where it is known to come.
    let first = match mutant {
        Mutant::ReadIndexEarly => 100,
        Mutant::SyncWithoutSession => 500,
        _ => 0,
    };
    Some(Trial { by, profile, steps, first, seeds })
}

fn run(seed: u64, trial: &Trial, mutants: Mutants) -> Outcome {
    let options = Options { profile: trial.profile, steps: trial.steps, mutants, ..Options::default() };
    sim::run(seed, &options)
}

/// Does something for each item, on both cores of the machine. Returns the results in order.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
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

/// A line of the table.
struct Row {
    property: Property,
    monitor: String,
    mutant: String,
    seeds: String,
}

/// Properties that have no mutant, and the test that tries each.
fn tested(property: Property) -> Option<&'static str> {
    match property {
        Property::Determinism => Some("simulation: the_same_seed_gives_the_same_execution"),
        Property::Assertions => Some("every seed: a panic is a violation"),
        _ => None,
    }
}

/// What the small modules' own world needs to find each of their mutants: seeds, or none.
fn small_world() -> Vec<(&'static Module, &'static small::Trial, Option<u64>)> {
    let trials: Vec<(&Module, &small::Trial)> =
        MODULES.iter().flat_map(|module| module.trials.iter().map(move |trial| (module, trial))).collect();
    let needed = each(&trials, |(module, trial)| {
        (0..trial.seeds).find(|seed| {
            let found = module.run(*seed, Mutants::only(trial.mutant)).violation;
            found.is_some_and(|v| v.property == trial.by)
        })
    });
    let found = trials.into_iter().zip(needed);
    found.map(|((module, trial), needed)| (module, trial, needed)).collect()
}

/// Prints the table: every property, and what is known to violate it. Returns the properties that
/// nothing tries.
fn print(mut rows: Vec<Row>) -> Vec<Property> {
    let is_in = |rows: &[Row], property| rows.iter().any(|row| row.property == property);
    let missing: Vec<Property> =
        Property::ALL.iter().copied().filter(|p| !is_in(&rows, *p) && tested(*p).is_none()).collect();
    for property in Property::ALL.iter().copied().filter(|p| !is_in(&rows, *p)).collect::<Vec<_>>() {
        let (monitor, mutant, seeds) = ("-".to_owned(), "-".to_owned(), "-".to_owned());
        let monitor = tested(property).map_or(monitor, str::to_owned);
        rows.push(Row { property, monitor, mutant, seeds });
    }
    rows.sort_by_key(|row| row.property);
    println!("{:<36} {:<12} {:<26} seeds", "property", "monitor", "mutant");
    for Row { property, monitor, mutant, seeds } in rows {
        println!("{property:<36} {monitor:<12} {mutant:<26} {seeds}");
    }
    missing
}

#[test]
fn each_mutant_is_found_by_the_monitor_of_its_sentence_and_nothing_without_one() {
    // The longest searches first, so that none is left over at the end.
    let mut trials: Vec<(Mutant, Trial)> =
        Mutant::ALL.iter().copied().filter_map(|m| Some((m, trial(m)?))).collect();
    trials.sort_by_key(|(_, trial)| std::cmp::Reverse(trial.seeds));
    let needed = each(&trials, |(mutant, trial)| {
        (trial.first..trial.first + trial.seeds).find(|seed| {
            let found = run(*seed, trial, Mutants::only(*mutant)).violation;
            found.is_some_and(|v| v.property == trial.by)
        })
    });
    let small = small_world();
    let seeds = |needed: Option<u64>| needed.map_or("not found".to_owned(), |seed| (seed + 1).to_string());
    let large = trials.iter().zip(&needed).map(|((mutant, trial), needed)| Row {
        property: trial.by,
        monitor: "the stack".to_owned(),
        mutant: format!("{mutant:?}"),
        seeds: seeds(needed.map(|seed| seed - trial.first)),
    });
    let rows = large.chain(small.iter().map(|(module, trial, needed)| Row {
        property: trial.by,
        monitor: module.name.to_owned(),
        mutant: format!("{:?}", trial.mutant),
        // Chance is not asked: the test of all executions finds it.
        seeds: if trial.seeds == 0 { "all executions".to_owned() } else { seeds(*needed) },
    }));
    let untried = print(rows.collect());
    let mut missed: Vec<Mutant> =
        trials.iter().zip(&needed).filter(|(_, n)| n.is_none()).map(|((m, _), _)| *m).collect();
    let by_chance = small.iter().filter(|(_, trial, _)| trial.seeds > 0);
    missed.extend(by_chance.filter(|(_, _, n)| n.is_none()).map(|(_, trial, _)| trial.mutant));
    assert!(missed.is_empty(), "within their seeds these were not found: {missed:?}");
    assert!(untried.is_empty(), "no mutant violates these, and no test is named: {untried:?}");

    for (module, _, last) in small {
        for seed in 0..=last.unwrap_or_default() {
            if let Some(violation) = module.run(seed, Mutants::default()).violation {
                panic!("without a mutant: {}: {violation}", module.name);
            }
        }
    }

    // The control: every seed that was run with a mutant, without one.
    let mut control: Vec<(Profile, u64, u64)> = Vec::new();
    for ((_, trial), last) in trials.iter().zip(needed.into_iter().flatten()) {
        let Trial { profile, steps, first, .. } = *trial;
        control.extend((first..=last).map(|seed| (profile, steps, seed)));
    }
    control.sort_unstable_by_key(|(profile, steps, seed)| (*profile as u8, *steps, *seed));
    control.dedup();
    let found = each(&control, |(profile, steps, seed)| {
        let none = Trial { by: Property::Assertions, profile: *profile, steps: *steps, first: 0, seeds: 0 };
        run(*seed, &none, Mutants::default()).violation
    });
    if let Some(violation) = found.into_iter().flatten().next() {
        panic!("without a mutant: {violation}");
    }
    println!("{} runs without a mutant found nothing", control.len());
}
