//! Liveness: faults stop, everyone recovers, links heal (to a chain or a star at times). Within a
//! bound of ticks a leader is trusted by all that hear it, and stays; every request is answered;
//! everyone who hears the leader catches up.

use super::action::Shape;
use super::adversary::Adversary;
use super::ending;
use super::monitors::{Property, Verdict, ensure};
use super::world::World;
use crate::kernel::{Ballot, ProcessId, Ticks};
use crate::stack::Role;

/// Ticks until a leader must be there.
const ELECTION: Ticks = 600;
/// Ticks for which it must stay, while clients go on.
const REIGN: Ticks = 400;
/// Ticks until every request is answered and everyone has caught up.
const REST: Ticks = 600;
/// Steps that all of this may take: ticks come at a certain rate.
const STEPS: u64 = 400_000;

/// Stops the faults, and checks.
pub(super) fn check(world: &mut World, adversary: &mut Adversary) -> Verdict {
    let ending = adversary.ending(world);
    adversary.calm_down();
    world.clients.calm_down();
    world.relieve();
    let shape = ending::play(world, adversary, ending)?;
    for p in world.members() {
        world.recover(p)?;
    }
    // Who has not formed yet has to hear everybody (rule 12), which no chain or star lets it.
    let forming = world.members().any(|p| world.role(p) == Some(Role::Forming));
    world.reshape(if forming { Shape::Whole } else { shape }, false);

    pass(world, adversary, ELECTION)?;
    adversary.hush(false);
    if !world.wiped.is_empty() && world.members().any(|p| world.role(p) == Some(Role::Forming)) {
        // A replica lost its memory while the cluster formed: it may never form, and somebody must look.
        return Ok(());
    }
    let (leader, ballot) = leader(world)?;
    pass(world, adversary, REIGN)?;
    let still = status_ballot(world, leader);
    ensure(still == Some(ballot), Property::Leader, || {
        format!(
            "{leader} led in ballot {ballot}, and does so no more ({still:?}), though nothing failed{}",
            roles(world)
        )
    })?;

    world.clients.stop(REST);
    world.registers.stop();
    world.topics.stop();
    world.ledger.stop();
    let hearers: Vec<ProcessId> = world.members().filter(|p| world.linked(*p, leader)).collect();
    for p in &hearers {
        // One that lost its memory receives, and asks for nothing.
        if !matches!(world.role(*p), Some(Role::Learner(_))) {
            world.probe(*p)?;
            world.probe_consensus(*p)?;
            world.probe_receipts(*p)?;
        }
    }
    let near: Vec<ProcessId> = world.members().filter(|p| hears_majority(world, *p)).collect();
    for p in &near {
        world.probe_register(*p)?;
    }
    let reached: Vec<ProcessId> = world.members().filter(|p| reaches_majority(world, *p)).collect();
    world.topics.forgive();
    for p in &reached {
        world.probe_topic(*p)?;
    }
    pass(world, adversary, REST)?;
    ensure(world.registers.probes_returned(near.len()), Property::RegisterTermination, || {
        format!("a write of a register, asked of a process that hears a majority, failed{}", roles(world))
    })?;
    ensure(world.clients.probes_answered(), Property::Progress, || {
        format!("{leader} leads, and a put at a process that hears it had no answer{}", roles(world))
    })?;
    ensure(world.clients.waiting() == 0, Property::Progress, || {
        format!("{} clients wait for an answer{}", world.clients.waiting(), roles(world))
    })?;
    ensure(world.registers.waiting() == 0, Property::RegisterTermination, || {
        format!("{} operations on registers have not returned{}", world.registers.waiting(), roles(world))
    })?;
    ensure(world.topics.waiting() == 0, Property::Validity, || {
        format!("{} publications have no answer{}", world.topics.waiting(), roles(world))
    })?;
    world.topics.finally(&reached, |p| world.processes[p.index()].ticks)?;
    let shown = |p: &ProcessId| Some(&world.alive(*p)?.view.as_ref()?.second);
    for p in &hearers {
        ensure(world.ledger.probes_decided(shown(p)), Property::ConsensusTermination, || {
            format!("{p} hears {leader}, and has not learned every decision{}", roles(world))
        })?;
    }
    ensure(world.ledger.receives(), Property::Recurrence, || {
        format!("a subscriber in total order is delivered nothing, though {leader} leads{}", roles(world))
    })?;
    ensure(world.ledger.waiting() == 0, Property::ConsensusTermination, || {
        format!("{} requests to the ledger have no answer{}", world.ledger.waiting(), roles(world))
    })?;
    let undecided = shown(&leader).and_then(|view| view.transactions().undecided().next());
    ensure(undecided.is_none(), Property::CommitTermination, || {
        format!("transaction {undecided:?} has no outcome, though its time ran out long ago")
    })?;
    let stacks = hearers.iter().filter_map(|p| Some((*p, &world.alive(*p)?.stack)));
    world.states.finally(&stacks.collect::<Vec<_>>(), world.processes.len() / 2 + 1)?;
    let decided = |p: ProcessId| world.alive(p).map(|a| a.stack.status().applied);
    for p in hearers {
        ensure(decided(p) == decided(leader), Property::Progress, || {
            format!("{p} hears {leader}, and did not catch up with it{}", roles(world))
        })?;
    }
    Ok(())
}

/// Lets so many ticks pass everywhere.
pub(super) fn pass(world: &mut World, adversary: &mut Adversary, ticks: Ticks) -> Verdict {
    let ends: Vec<Ticks> = world.processes.iter().map(|p| p.ticks + ticks).collect();
    let limit = world.steps() + STEPS;
    while world.processes.iter().zip(&ends).any(|(p, end)| p.ticks < *end) && world.steps() < limit {
        world.take(adversary)?;
    }
    Ok(())
}

/// Whether a process that counts hears a majority of others that do.
fn hears_majority(world: &World, p: ProcessId) -> bool {
    let counts = |q: &ProcessId| !matches!(world.role(*q), Some(Role::Learner(_)) | None);
    let heard = world.members().filter(|q| world.linked(p, *q)).filter(counts).count();
    counts(&p) && heard > world.processes.len() / 2
}

/// Whether a process that counts hears a majority of others that do, by way of others at least.
fn reaches_majority(world: &World, p: ProcessId) -> bool {
    let counts = |q: &ProcessId| !matches!(world.role(*q), Some(Role::Learner(_)) | None);
    let mut reached: Vec<ProcessId> = Some(p).filter(counts).into_iter().collect();
    let mut next = 0;
    while let Some(q) = reached.get(next).copied() {
        let new = |r: &ProcessId| counts(r) && world.linked(q, *r) && !reached.contains(r);
        let new: Vec<ProcessId> = world.members().filter(new).collect();
        reached.extend(new);
        next += 1;
    }
    reached.len() > world.processes.len() / 2
}

/// The leader that all who hear it trust.
fn leader(world: &World) -> Result<(ProcessId, Ballot), super::Failure> {
    let leads = |p: &ProcessId| world.role(*p) == Some(Role::Leader);
    let trusted = |leader: ProcessId| {
        world
            .members()
            .filter(|p| world.linked(*p, leader))
            .all(|p| world.alive(p).is_some_and(|a| a.stack.status().leader == Some(leader)))
    };
    // Beside it there may be an older one that hears no majority, and that others still hear.
    let ballot = |p: &ProcessId| status_ballot(world, *p);
    match world.members().filter(leads).filter(|p| trusted(*p)).max_by_key(ballot) {
        Some(leader) => Ok((leader, status_ballot(world, leader).unwrap_or_default())),
        None => Err(super::Failure {
            property: Property::Leader,
            detail: format!(
                "no leader is trusted by all that hear it, though faults stopped long ago{}",
                roles(world)
            ),
        }),
    }
}

/// The ballot in which a process leads.
fn status_ballot(world: &World, p: ProcessId) -> Option<Ballot> {
    let status = world.alive(p)?.stack.status();
    (status.role == Role::Leader).then_some(status.accepted)
}

fn roles(world: &World) -> String {
    let lines = world.members().map(|p| match world.alive(p) {
        None => format!("\n      {p} is down"),
        Some(a) => {
            let s = a.stack.status();
            let hears: Vec<ProcessId> = world.members().filter(|q| world.linked(p, *q) && *q != p).collect();
            format!(
                "\n      {p}: {:?}, trusts {:?}, prom {}, accRnd {}, log {}..{}, decided {}, applied {}, hears {hears:?}",
                s.role, s.leader, s.promised, s.accepted, s.log_first, s.log_len, s.decided, s.applied
            )
        }
    });
    lines.collect()
}
