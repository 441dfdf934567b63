//! Which disks lose their memory in a run, when, and how.
//!
//! The budget is what rule 13 of ARCHITECTURE.md bears: a minority of processes, each of them once.
//! A copy that is put back must be one that is noticed:
//!
//! * of the store alone: it is behind its witness;
//! * of the whole directory: all others have recorded a later boot than the copy's, or keep durably a
//!   higher commit mark than the copy's. One who has neither could vote together with it, and so could
//!   another copy: there is one in a run at most.
//!
//! All ordinary properties must hold on such runs. A copy of which somebody knows nothing durable is
//! outside the budget. A few runs end with one, once the rest was judged (`divergence.rs`): then only this is
//! demanded, that no decided entry is overwritten silently.

use super::action::{Action, Shape};
use super::disk::{Fault, Loss, Part};
use super::world::World;
use super::{Options, Profile};
use crate::kernel::ProcessId;
use fastrand::Rng;

/// What is planned for the disks of a run.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    plans: Vec<Plan>,
    /// A replica is to be wiped while the cluster forms, and who must not hear of it before.
    pub(super) opening: Option<Opening>,
    /// Whether the run ends outside the budget.
    pub(super) diverges: bool,
}

/// What is planned for one disk.
#[derive(Clone, Copy, Debug)]
struct Plan {
    victim: ProcessId,
    how: Loss,
    /// The step of the loss, or of the copy that is put back later.
    at: u64,
    /// Steps from the copy until it is put back, at least.
    age: u64,
    copied: bool,
}

/// See [`Losses::opening`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) victim: ProcessId,
    blind: u64,
    /// The step at which the victim was wiped.
    pub(super) wiped: Option<u64>,
}

impl Losses {
    pub(super) fn draw(rng: &mut Rng, processes: usize, options: &Options) -> Self {
        let minority = processes.saturating_sub(1) / 2;
        let happens = match options.profile {
            Profile::Calm | Profile::Crashes | Profile::Partitions => false,
            Profile::Disk => rng.u8(..8) != 0,
            Profile::All => rng.bool(),
        };
        let none = Self { plans: Vec::new(), opening: None, diverges: false };
        if !happens || minority == 0 {
            return none;
        }
        // A majority that shares one process with another one.
        if processes % 2 == 1 && rng.u8(..6) == 0 {
            return Self { diverges: true, ..none };
        }
        if options.profile.has_partitions() && rng.u8(..4) == 0 {
            let victim = rng.usize(..processes);
            let others = (1..processes / 2 + 1).map(|i| 1 << ((victim + i) % processes));
            let blind = others.sum();
            let opening = Opening { victim: ProcessId(victim as u8), blind, wiped: None };
            return Self { opening: Some(opening), ..none };
        }
        let mut members: Vec<u8> = (0..processes as u8).collect();
        rng.shuffle(&mut members);
        let mut plans: Vec<Plan> = Vec::new();
        for victim in &members[..rng.usize(1..=minority)] {
            let how = match rng.u8(..5) {
                0 => Loss::Lost,
                1 => Loss::Damaged,
                2 if plans.is_empty() => Loss::RolledBack(Part::Directory),
                3 if plans.is_empty() => Loss::RolledBack(Part::Moment),
                _ => Loss::RolledBack(Part::Store),
            };
            // While the cluster forms, or later.
            let at = if rng.u8(..3) == 0 { rng.u64(..150) } else { rng.u64(..options.steps / 2 + 1) };
            let age = rng.u64(..options.steps / 4 + 1);
            plans.push(Plan { victim: ProcessId(*victim), how, at, age, copied: false });
        }
        Self { plans, ..none }
    }

    /// What is to happen now, the last one first.
    pub(super) fn due(&mut self, world: &World, mut fault: impl FnMut() -> Fault) -> Vec<Action> {
        if self.opening.is_some() {
            return self.open(world, fault());
        }
        let step = world.steps();
        let Some(i) = self.plans.iter().position(|plan| plan.is_due(world)) else { return Vec::new() };
        let Plan { victim: at, how, age, copied, .. } = self.plans[i];
        match how {
            Loss::RolledBack(Part::Moment) if !copied => {
                self.plans[i].copied = true;
                vec![Action::Copy { at }]
            }
            Loss::RolledBack(_) if !copied => {
                self.plans[i].copied = true;
                self.plans[i].at = step + age;
                // It goes on in another life than the copy's.
                vec![Action::Recover { at }, Action::Crash { at, fault: fault() }, Action::Copy { at }]
            }
            Loss::Lost | Loss::Damaged | Loss::RolledBack(_) => {
                self.plans.swap_remove(i);
                vec![Action::Lose { at, how }, Action::Crash { at, fault: fault() }]
            }
        }
    }

    /// The execution for which members form in two exchanges. Nobody of a majority hears the victim,
    /// until it is wiped; it then hears of the others what they had said before that:
    ///
    /// ```text
    /// A      hears B1, C1 ─ knows {A,B1,C}, and so does B1
    /// B      tells B1 ──── wiped: B2 ── hears what A said first ── tells B2 ┐
    /// C                                             (never heard of B1)   knows {A,B2,C}, as B2 does
    /// ```
    fn open(&mut self, world: &World, fault: Fault) -> Vec<Action> {
        let Some(Opening { victim, blind, wiped }) = self.opening else { return Vec::new() };
        if world.steps() == 0 {
            return vec![Action::Links { shape: Shape::Unheard(victim.0, blind), forget: false }];
        }
        let formed = world.processes[victim.index()].disk.facts().formed;
        match wiped {
            None if formed && world.is_up(victim) || world.steps() > OPENING => {
                let side = blind | 1 << victim.0;
                let old = world.members().filter(|from| side >> from.0 & 1 == 0);
                self.opening = Some(Opening { victim, blind, wiped: Some(world.steps()) });
                let late = old.map(|from| Action::Late { from, to: victim, at: 0 });
                late.chain([
                    Action::Recover { at: victim },
                    Action::Links { shape: Shape::Halves(side), forget: true },
                    Action::Lose { at: victim, how: Loss::Lost },
                    Action::Silence { at: victim },
                    Action::Crash { at: victim, fault },
                ])
                .collect()
            }
            Some(at) if world.steps() > at + 2 * OPENING => {
                self.opening = None;
                Vec::new()
            }
            None | Some(_) => Vec::new(),
        }
    }
}

impl Plan {
    fn is_due(&self, world: &World) -> bool {
        if world.steps() < self.at {
            return false;
        }
        match self.how {
            Loss::RolledBack(Part::Store) if self.copied => {
                world.processes[self.victim.index()].disk.copy_is_behind()
            }
            // It takes many steps until it is, and much work to see whether.
            Loss::RolledBack(Part::Directory) if self.copied => {
                world.steps().is_multiple_of(64) && world.copy_is_outlived(self.victim)
            }
            // As soon as it is noticed, the latest that is.
            Loss::RolledBack(Part::Moment) if self.copied => {
                world.steps().is_multiple_of(16) && world.copy_is_overtaken(self.victim)
            }
            Loss::Lost | Loss::Damaged | Loss::RolledBack(_) => true,
        }
    }
}

/// Steps that a cluster has to form, before a member is wiped.
const OPENING: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_minority_loses_its_memory_each_once_and_one_directory_at_most_is_rolled_back() {
        let options = Options { profile: Profile::Disk, ..Options::default() };
        let mut most = 0;
        for seed in 0..500 {
            for (processes, minority) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (7, 3)] {
                let losses = Losses::draw(&mut Rng::with_seed(seed), processes, &options);
                let victims: BTreeSet<ProcessId> = losses.plans.iter().map(|plan| plan.victim).collect();
                assert_eq!(victims.len(), losses.plans.len(), "seed {seed}");
                assert!(victims.len() + usize::from(losses.opening.is_some()) <= minority, "seed {seed}");
                let whole = [Part::Directory, Part::Moment].map(Loss::RolledBack);
                let copies = losses.plans.iter().filter(|plan| whole.contains(&plan.how)).count();
                assert!(copies <= 1 && (victims.is_empty() || !losses.diverges), "seed {seed}");
                most = most.max(victims.len());
            }
        }
        assert_eq!(most, 3);
    }

    #[test]
    fn no_disk_loses_its_memory_where_disks_do_not_fail() {
        for profile in [Profile::Calm, Profile::Crashes, Profile::Partitions] {
            let options = Options { profile, ..Options::default() };
            let losses = Losses::draw(&mut Rng::with_seed(1), 5, &options);
            assert!(losses.plans.is_empty() && losses.opening.is_none(), "{profile}");
        }
    }
}
