//! `kvorum sim`

use std::io::{IsTerminal, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Failure, output, small};
use crate::kernel::Mutants;
use crate::sim::small::Module;
use crate::sim::{self, Coverage, Execution, Options, Outcome, Profile, Violation};

/// Run the production code under a simulated adversary
#[derive(Debug, Args)]
#[command(after_help = "\
Each seed is one execution. Monitors watch every step. Then faults stop, and everything must come to \
rest. The same seed gives the same execution, on every machine.

Profiles:
  calm        no faults: everyone gets on at a pace of its own, in any order
  crashes     processes crash between any two of handling, storing, syncing and exposing, inside a
              write, in loops, all at once; frames of past incarnations arrive; clocks are skewed
  partitions  frames are omitted, lost, duplicated, reordered, delayed, damaged; links are cut in
              halves, one way, to a chain or a star, here and there, and flap
  disk        disks are slow, writes and syncs fail, disks fill up, batches are torn; the disks of a
              minority are lost, damaged, rolled back
  all         all of these

  kvorum sim --seeds 0..2000
  kvorum sim --profile partitions --seed 17
  kvorum sim --module register --all
  kvorum sim --seed 17 --draw 17.svg
  kvorum sim --seed 17 --configuration 4000

A seed that fails is shrunk before it is shown: fewer processes, faults and steps, the same \
violation. It shrinks the same way each time; steps keep the numbers that they had.

Exit codes:
  0  every property held
  1  a property was violated: it is named, with the seed and the last steps before it")]
pub(super) struct Sim {
    /// Seeds to run, the last one not included
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = seeds)]
    seeds: Range<u64>,
    /// One seed, to see it again
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Steps of each seed under faults, before they stop
    #[arg(long, value_name = "N", default_value_t = Options::default().steps)]
    steps: u64,
    /// Processes; 0 lets each seed choose
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7))]
    processes: u8,
    /// Which faults there are
    #[arg(long, value_name = "PROFILE", default_value_t = Profile::All, value_parser = profile)]
    profile: Profile,
    /// Try one module alone: register, consensus, ...
    #[arg(long, value_name = "NAME", value_parser = small::module, conflicts_with_all = [
        "steps", "processes", "profile", "lines", "draw", "configuration", "no_shrink", "keep_going",
    ])]
    module: Option<&'static Module>,
    /// All executions of the module within bounds, and not those of seeds
    #[arg(long, requires = "module", conflicts_with_all = ["seeds", "seed"])]
    all: bool,
    /// Lines of the trace that is shown of a violation
    #[arg(long, value_name = "N", default_value_t = Options::default().lines)]
    lines: usize,
    /// Draw the execution of a seed as a space-time diagram: what led to the violation, or the last steps
    #[arg(long, value_name = "FILE.svg", requires = "seed", conflicts_with = "seeds")]
    draw: Option<PathBuf>,
    /// The first step to draw
    #[arg(long, value_name = "N", requires = "draw")]
    from: Option<u64>,
    /// The last step to draw
    #[arg(long, value_name = "N", requires = "draw")]
    to: Option<u64>,
    /// Print what every process holds after this step, its in-buffer and its out-buffer
    #[arg(long, value_name = "T", requires = "seed", conflicts_with = "seeds")]
    configuration: Option<u64>,
    /// Show a violation as it was found
    #[arg(long)]
    no_shrink: bool,
    /// Go on after a violation
    #[arg(long)]
    keep_going: bool,
    /// The bug to put in, by name: ReadAtOnce, ...
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME", value_parser = mutant)]
    mutant: Option<crate::kernel::Mutant>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds such as 0..200");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(format!("{text} holds no seed")) } else { Ok(range) }
}

fn profile(text: &str) -> Result<Profile, String> {
    let names = || Profile::ALL.map(|p| p.to_string()).join(", ");
    Profile::ALL.into_iter().find(|p| p.to_string() == text).ok_or_else(|| format!("there are: {}", names()))
}

#[cfg(feature = "mutants")]
fn mutant(text: &str) -> Result<crate::kernel::Mutant, String> {
    let all = crate::kernel::Mutant::ALL;
    let names = || all.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>().join(", ");
    all.iter().copied().find(|m| format!("{m:?}") == text).ok_or_else(|| format!("there are: {}", names()))
}

impl Sim {
    pub(super) fn run(self) -> Result<(), Failure> {
        let seeds = match self.seed {
            Some(seed) => seed..seed + 1,
            None => self.seeds.clone(),
        };
        match self.module {
            Some(module) if self.all => return small::all(module, self.mutants()),
            Some(module) => return small::seeds(module, seeds, self.mutants()),
            None => {}
        }
        let options = Options {
            steps: self.steps,
            processes: usize::from(self.processes),
            profile: self.profile,
            mutants: self.mutants(),
            lines: self.lines,
        };
        if self.draw.is_some() || self.configuration.is_some() {
            return quietly(|| self.look_at(seeds.start, &options));
        }
        let begun = Instant::now();
        let (done, violations) = quietly(|| self.run_all(&seeds, &options))?;
        let coverage = done.iter().fold(Coverage::default(), |mut sum, o| {
            sum += o.coverage;
            sum
        });
        let seconds = begun.elapsed().as_secs_f64();
        output::line(format_args!("{coverage}"))?;
        output::line(format_args!(
            "{} seeds in {seconds:.1} s, {:.0} steps/s; median of a seed: {} crashes, {} leader changes, {} entries decided",
            done.len(),
            coverage.steps as f64 / seconds,
            median(&done, |c| c.crashes),
            median(&done, |c| c.leader_changes),
            median(&done, |c| c.decided),
        ))?;
        match violations {
            0 => Ok(()),
            n => Err(Failure::Other(format!("{n} of {} seeds violated a property", done.len()))),
        }
    }

    /// One execution, to be looked at.
    fn look_at(&self, seed: u64, options: &Options) -> Result<(), Failure> {
        let execution = self.shrunk(Execution::record(seed, options));
        if let Some(step) = self.configuration {
            output::line(format_args!("{}", execution.configuration(step).trim_end()))?;
        }
        if let Some(path) = &self.draw {
            let window = match (self.from, self.to) {
                (None, None) => None,
                (from, to) => Some((from.unwrap_or(0), to.unwrap_or(u64::MAX))),
            };
            std::fs::write(path, execution.draw(window)).map_err(|e| {
                Failure::Other(format!("the picture cannot be written to {}: {e}", path.display()))
            })?;
        }
        match execution.violation() {
            None => Ok(output::line(format_args!("seed {seed}: every property held, {}", execution.size()))?),
            Some(violation) => {
                show(&execution, &violation, options)?;
                Err(Failure::Other(format!("seed {seed} violated a property")))
            }
        }
    }

    /// The execution to be shown: one that fails without what its violation does not need.
    fn shrunk(&self, execution: Execution) -> Execution {
        if self.no_shrink {
            return execution;
        }
        let mut line = Line::new();
        let shrunk =
            execution.shrink(&mut |steps| line.show(|| format!("shrinking: {steps} steps are left ")));
        line.clear();
        shrunk
    }

    #[cfg(feature = "mutants")]
    fn mutants(&self) -> Mutants {
        self.mutant.map(Mutants::only).unwrap_or_default()
    }

    #[cfg(not(feature = "mutants"))]
    fn mutants(&self) -> Mutants {
        Mutants::default()
    }
}

/// The middle one of a counter, over all seeds.
fn median(outcomes: &[Outcome], of: impl Fn(&Coverage) -> u64) -> u64 {
    let mut counts: Vec<u64> = outcomes.iter().map(|o| of(&o.coverage)).collect();
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or(0)
}

/// A violated assertion of the code is a finding, and is shown as one.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}

fn show(execution: &Execution, violation: &Violation, options: &Options) -> Result<(), Failure> {
    output::line(format_args!("{violation}"))?;
    if let Some(from) = execution.shrunk_from() {
        output::line(format_args!("  shrunk from {from} to {}", execution.size()))?;
    }
    output::line(format_args!("  see it again: {}\n", again(violation.seed, options)))?;
    Ok(())
}

/// The command that runs a seed as it was run.
fn again(seed: u64, options: &Options) -> String {
    let default = Options::default();
    let mut command = format!("kvorum sim --seed {seed}");
    if options.profile != default.profile {
        command += &format!(" --profile {}", options.profile);
    }
    if options.steps != default.steps {
        command += &format!(" --steps {}", options.steps);
    }
    if options.processes != default.processes {
        command += &format!(" --processes {}", options.processes);
    }
    if let Some(mutant) = options.mutants.which() {
        command += &format!(" --mutant {mutant:?}");
    }
    command
}

impl Sim {
    /// Runs every seed, on every core. Returns the outcomes, and how many were violations.
    fn run_all(&self, seeds: &Range<u64>, options: &Options) -> Result<(Vec<Outcome>, u64), Failure> {
        let next = AtomicU64::new(seeds.start);
        let (sender, receiver) = mpsc::channel();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || sender.send(sim::run(seed, options)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut line = Line::new();
            let (mut done, mut violations) = (Vec::new(), 0);
            for outcome in receiver {
                if outcome.violation.is_some() {
                    violations += 1;
                    line.clear();
                    if !self.keep_going {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    let execution = self.shrunk(Execution::record(outcome.seed, options));
                    execution
                        .violation()
                        .map_or(Ok(()), |violation| show(&execution, &violation, options))?;
                }
                done.push(outcome);
                line.show(|| format!("{} of {} seeds ", done.len(), seeds.end - seeds.start));
            }
            line.clear();
            Ok((done, violations))
        })
    }
}

/// A line on standard error that tells how far a long run is, where a person looks at it.
struct Line {
    shown: Option<Instant>,
    person: bool,
}

impl Line {
    fn new() -> Self {
        Self { shown: None, person: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, text: impl FnOnce() -> String) {
        let due = self.shown.is_none_or(|at| at.elapsed() > Duration::from_millis(200));
        if self.person && due {
            self.shown = Some(Instant::now());
            eprint!("\r\x1b[K{}", text());
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_seen_again_is_run_as_it_was() {
        assert_eq!(again(7, &Options::default()), "kvorum sim --seed 7");
        let options = Options { profile: Profile::Disk, steps: 9, processes: 5, ..Options::default() };
        assert_eq!(again(7, &options), "kvorum sim --seed 7 --profile disk --steps 9 --processes 5");
    }

    #[test]
    fn a_range_of_seeds_is_read() {
        assert_eq!(seeds("3..7"), Ok(3..7));
        assert!(seeds("7").is_err() && seeds("a..b").is_err() && seeds("7..7").is_err());
    }
}
