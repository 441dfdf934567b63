//! The end of a run in which a disk is put back where no record can show it, so that two majorities that
//! share nobody but the one that forgot decide differently.
//!
//! ```text
//! blind    cut off ────────────────────────────┐ with the copy: decide y
//! copied   copied ─ acknowledges x ─ put back  ┘
//! knowing  decide x with the copied ─ cut off ────────── everybody hears everybody
//! ```
//!
//! Safety is lost where x is lost, and nobody can help that. What must hold: no process that knows durably
//! that x is decided overwrites it, and two that durably decide differently do not go on together.

use super::action::Shape;
use super::adversary::Adversary;
use super::disk::{Fault, Loss, Part};
use super::liveness::pass;
use super::monitors::{Failure, Property, Verdict, ensure};
use super::world::World;
use crate::consensus::Divergence;
use crate::kernel::{LogId, ProcessId, Ticks};
use crate::stack::Role;

/// Ticks until a leader is there and everything that was asked is done.
const SETTLE: Ticks = 300;
/// Ticks in which a majority decides something.
const DECIDE: Ticks = 100;
/// Ticks in which those who differ must meet.
const MEET: Ticks = 600;

/// Brings it about, and looks at what is left.
pub(super) fn check(world: &mut World, adversary: &mut Adversary) -> Verdict {
    adversary.calm_down();
    world.relieve();
    world.members().try_for_each(|p| world.recover(p))?;
    world.reshape(Shape::Whole, false);
    pass(world, adversary, SETTLE)?;
    let Some(leader) = world.members().find(|p| world.role(*p) == Some(Role::Leader)) else { return Ok(()) };
    let n = world.processes.len() as u8;
    let from_leader = |i: u8| ProcessId((leader.0 + i) % n);
    // The leader itself, or who follows it.
    let copied = from_leader(u8::from(adversary.rng.bool()));
    let knowing: Vec<ProcessId> = (0..=n / 2).map(from_leader).collect();
    let blind = (n / 2 + 1..n).map(from_leader);
    let blind = blind.fold(0, |set, p| set | 1 << p.0);

    world.processes[copied.index()].disk.make_copy();
    world.reshape(Shape::Halves(blind), true);
    pass(world, adversary, DECIDE)?;
    adversary.hush(true);
    pass(world, adversary, DECIDE)?;
    for p in &knowing {
        world.crash(*p, Fault::CrashBefore)?;
    }
    world.lose(copied, Loss::RolledBack(Part::Moment))?;
    world.come_apart();
    world.reshape(Shape::Halves(blind | 1 << copied.0), true);
    write(world, adversary)?;
    world.reshape(Shape::Whole, true);
    pass(world, adversary, MEET)?;
    write(world, adversary)?;
    nobody_goes_on_with_another(world)
}

/// Lets everybody write while time passes.
fn write(world: &mut World, adversary: &mut Adversary) -> Verdict {
    for _ in 0..4 {
        pass(world, adversary, DECIDE)?;
        for p in world.members() {
            if world.is_up(p) {
                world.probe(p)?;
            }
        }
    }
    pass(world, adversary, DECIDE)
}

/// Of any two that accept in one ballot, and hold different entries for decided, durably, one has halted.
fn nobody_goes_on_with_another(world: &World) -> Verdict {
    let halted = |p: ProcessId| world.apart.as_ref().is_some_and(|halted| halted.contains(&p));
    for (p, q) in world.pairs().filter(|(p, q)| p < q) {
        let disk = |p: ProcessId| &world.processes[p.index()].disk;
        let facts = [disk(p).facts(), disk(q).facts()];
        let common = facts[0].first.max(facts[1].first)..facts[0].decided.min(facts[1].decided);
        let entry = |p, index| disk(p).entry(LogId::REPLICATED, index);
        let differ = common.into_iter().find(|index| entry(p, *index) != entry(q, *index));
        if let Some(index) = differ.filter(|_| facts[0].acc == facts[1].acc) {
            ensure(halted(p) || halted(q), Property::LoudDivergence, || {
                let n = facts[0].acc;
                format!("{p} and {q} accept in ballot {n}, and decide entry {index} differently")
            })?;
        }
    }
    Ok(())
}

impl World {
    /// From now on processes may decide differently.
    fn come_apart(&mut self) {
        self.say(|| "a disk was put back where no record can show it".into());
        self.monitors.retire();
        self.states.retire();
        self.apart = Some(Vec::new());
    }

    /// A process halts, since its decided prefix differs from a peer's.
    pub(super) fn halt(&mut self, p: ProcessId, divergence: &Divergence) -> Verdict {
        self.befalls(p, || format!("halts: {divergence}"));
        let Some(halted) = &mut self.apart else {
            return Err(Failure {
                property: Property::LoudDivergence,
                detail: format!("{p} halts, though every disk is as it was: {divergence}"),
            });
        };
        halted.push(p);
        self.coverage.diverged += 1;
        self.fall(p);
        Ok(())
    }
}
