//! One execution, to be looked at: recorded from its seed, shrunk where it fails, drawn, and stopped
//! at a step to see what every process holds.

use super::adversary::Adversary;
use super::coverage::Coverage;
use super::draw;
use super::monitors::{Failure, Property};
use super::script::Move;
use super::shrink;
use super::world::World;
use super::{Options, Violation, caught};
use fastrand::Rng;
use std::fmt;

/// Notes that are kept of an execution that is looked at.
const NOTES: usize = 1 << 18;

/// An execution that can be played again.
#[derive(Clone, Debug)]
pub struct Execution {
    seed: u64,
    options: Options,
    pub(super) script: Vec<Move>,
    pub(super) tail: Tail,
    /// What it violates.
    failure: Option<Failure>,
    /// The last step.
    end: u64,
    size: Size,
    /// How large it was before it was shrunk.
    shrunk_from: Option<Size>,
}

/// What comes after the steps of a script.
#[derive(Clone, Debug)]
pub(super) enum Tail {
    /// Nothing: the violation is seen at once.
    Nothing,
    /// What clients saw is judged.
    Judged,
    /// Faults stop, and everything must come to rest. The adversary is as it was then, so that the
    /// steps are scheduled fairly, whatever was left out before.
    Calm(Box<Adversary>),
}

/// How large an execution is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Steps taken.
    pub steps: u64,
    /// Processes.
    pub processes: usize,
    /// Crashes.
    pub crashes: u64,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "es" };
        let Self { steps, processes, crashes } = *self;
        let (p, c) = (plural(processes as u64), plural(crashes));
        let s = if steps == 1 { "" } else { "s" };
        write!(f, "{steps} step{s}, {processes} process{p}, {crashes} crash{c}")
    }
}

/// An execution, played.
pub(super) struct Played {
    pub(super) world: World,
    pub(super) failure: Option<Failure>,
    /// The moves that applied, by their place in the script.
    pub(super) applied: Vec<usize>,
}

impl Execution {
    /// Runs a seed, and writes down what happens.
    pub fn record(seed: u64, options: &Options) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(seed, options, &mut rng, 0);
        let mut adversary = Adversary::new(rng.fork(), world.processes.len(), options);
        let options = options.clone();
        world.write_down();
        let mut failure = caught(|| super::suffer(&mut world, &mut adversary, &options)).err();
        let script = world.script.take().unwrap_or_default();
        let mut tail = Tail::Nothing;
        if failure.is_none() {
            tail = Tail::Calm(Box::new(adversary.clone()));
            failure = caught(|| super::rest(&mut world, &mut adversary)).err();
        }
        let size = size(&world);
        Self { seed, options, script, tail, failure, end: world.steps(), size, shrunk_from: None }
    }

    /// The execution that is left of a failing one when all is taken away that its violation does
    /// not need. `progress` is told how many steps are left, now and then. The work is bounded, and
    /// the result is the same every time.
    pub fn shrink(self, progress: &mut dyn FnMut(u64)) -> Self {
        let Some(property) = self.property() else { return self };
        let small = shrink::shrink(self.clone(), property, progress);
        let from = Some(self.shrunk_from.unwrap_or(self.size));
        if small.size.steps < self.size.steps { Self { shrunk_from: from, ..small } } else { self }
    }

    /// How large it is.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How large it was before it was shrunk, if it was.
    pub fn shrunk_from(&self) -> Option<Size> {
        self.shrunk_from
    }

    /// The property that it violates.
    pub fn property(&self) -> Option<Property> {
        self.failure.as_ref().map(|f| f.property)
    }

    /// What it violates, with its last steps.
    pub fn violation(&self) -> Option<Violation> {
        let failure = self.failure.clone()?;
        let world = self.play(NOTES, None).world;
        Some(Violation {
            property: failure.property,
            seed: self.seed,
            step: self.end,
            detail: failure.detail,
            trace: world.trace.lines(self.options.lines),
        })
    }

    /// What every process holds after a step, its in-buffer, its out-buffer, and what is on its way.
    pub fn configuration(&self, step: u64) -> String {
        let mut world = self.play(0, Some(step)).world;
        world.pass_to(u64::MAX);
        world.configuration.unwrap_or_default()
    }

    /// A picture of it, as SVG: of what led to the violation, or of the last steps; or of all steps
    /// between two.
    pub fn draw(&self, window: Option<(u64, u64)>) -> String {
        let played = self.play(NOTES, None);
        let mark = self.failure.as_ref().map(|failure| draw::Mark {
            property: failure.property,
            detail: failure.detail.clone(),
            step: played.world.clients.accused.unwrap_or(self.end),
            at: if played.world.clients.accused.is_some() { None } else { played.world.moved },
        });
        draw::draw(&draw::Picture {
            notes: played.world.trace.notes().collect(),
            processes: self.size.processes,
            title: self.title(),
            captions: self.captions(),
            mark,
            window,
        })
    }

    fn title(&self) -> String {
        match &self.failure {
            Some(failure) => format!("“{}” is violated in seed {}", failure.property, self.seed),
            None => format!("Seed {}", self.seed),
        }
    }

    fn captions(&self) -> Vec<String> {
        let mut captions = Vec::new();
        if let Some(mutant) = self.options.mutants.which() {
            captions.push(format!("A bug was put in on purpose, {mutant:?}: {}.", mutant.describe()));
        }
        captions.push(match self.shrunk_from {
            Some(from) => {
                format!("Shrunk from {from} to {}. Steps keep the numbers that they had.", self.size)
            }
            None => format!("{}.", self.size),
        });
        captions
    }

    /// With fewer processes, from the same seed.
    pub(super) fn with_processes(&self, processes: usize) -> Self {
        Self::record(self.seed, &Options { processes, ..self.options.clone() })
    }

    /// With another script, and what came of playing it.
    pub(super) fn with(self, script: Vec<Move>, tail: Tail) -> Self {
        let Played { world, failure, .. } = self.play_script(&script, &tail, 0, None);
        Self { script, tail, failure, end: world.steps(), size: size(&world), ..self }
    }

    fn play(&self, keep: usize, asked_for: Option<u64>) -> Played {
        self.play_script(&self.script, &self.tail, keep, asked_for)
    }

    /// Plays a script, in the place of its own.
    pub(super) fn play_script(
        &self,
        script: &[Move],
        tail: &Tail,
        keep: usize,
        asked_for: Option<u64>,
    ) -> Played {
        let mut rng = Rng::with_seed(self.seed);
        let mut world = World::new(self.seed, &self.options, &mut rng, keep);
        world.asked_for = asked_for;
        let mut applied = Vec::new();
        let verdict = caught(|| {
            super::boot(&mut world)?;
            for (i, play) in script.iter().enumerate() {
                let (applies, verdict) = world.play(play);
                if applies {
                    applied.push(i);
                }
                verdict?;
            }
            match tail {
                Tail::Nothing => Ok(()),
                Tail::Judged => world.clients.judge(&mut world.coverage),
                Tail::Calm(adversary) => super::rest(&mut world, &mut adversary.clone()),
            }
        });
        Played { failure: verdict.err(), world, applied }
    }
}

fn size(world: &World) -> Size {
    let Coverage { steps, crashes, .. } = world.coverage;
    Size { steps, processes: world.processes.len(), crashes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(processes: usize, steps: u64) -> Options {
        Options { processes, steps, ..Options::default() }
    }

    #[test]
    fn a_recorded_execution_plays_as_it_was() {
        let recorded = Execution::record(5, &options(3, 2_000));
        let played = recorded.play(0, None);
        assert_eq!(played.world.trace.hash(), crate::sim::run(5, &options(3, 2_000)).hash);
    }

    #[test]
    fn a_step_whose_ground_is_gone_is_left_out() {
        let recorded = Execution::record(5, &options(3, 2_000));
        let script = recorded.script[1_000..].to_vec();
        let played = recorded.play_script(&script, &Tail::Judged, 0, None);
        assert!(played.applied.len() < 1_000 && played.failure.is_none(), "{:?}", played.failure);
    }

    #[test]
    fn a_configuration_is_that_after_the_step() {
        let recorded = Execution::record(5, &options(3, 200));
        assert!(recorded.configuration(0).contains("p2  up, incarnation 1"));
        for step in [7, 150, 200] {
            assert!(recorded.configuration(step).starts_with(&format!("Configuration after step {step}\n")));
        }
    }

    #[test]
    fn an_execution_that_violates_nothing_is_drawn() {
        let svg = Execution::record(5, &options(3, 2_000)).draw(None);
        for text in ["Seed 5", ">p0</text>", ">p1</text>", ">p2</text>", "not drawn"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }

    #[cfg(feature = "mutants")]
    mod failing {
        use super::*;
        use crate::kernel::{Mutant, Mutants};

        fn record(mutant: Mutant, seed: u64) -> Execution {
            Execution::record(seed, &Options { mutants: Mutants::only(mutant), ..options(0, 20_000) })
        }

        #[test]
        fn what_is_left_is_smaller_and_violates_the_same_property() {
            let found = record(Mutant::LeaderCountsEarly, 3);
            let before = found.size();
            let shrunk = found.clone().shrink(&mut |_| {});
            assert_eq!(shrunk.property(), Some(Property::DurableMajority));
            assert_eq!(shrunk.shrunk_from(), Some(before));
            assert!(shrunk.size().steps * 4 < before.steps, "{} from {before}", shrunk.size());
            assert!(shrunk.size().processes <= before.processes);
            assert!(shrunk.size().crashes <= before.crashes);
            let again = found.shrink(&mut |_| {});
            assert_eq!(again.draw(None), shrunk.draw(None), "the same seed shrinks the same way");
            let svg = shrunk.draw(None);
            assert!(
                svg.contains("“durable majority” is violated") && svg.contains("LeaderCountsEarly"),
                "{svg}"
            );
        }
    }
}
