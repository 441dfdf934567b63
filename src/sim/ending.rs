//! What happens last before faults stop. Three endings are steered towards, since chance hardly ever
//! leaves the processes as they do: with two leaders who do not hear each other, with a leader whom a
//! majority has left for nobody, or with one that cannot go on.

use super::action::Shape;
use super::adversary::Adversary;
use super::disk::Fault;
use super::liveness::pass;
use super::monitors::Failure;
use super::world::World;
use crate::kernel::{ProcessId, Ticks};
use crate::stack::Role;

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Faults stop wherever they were, and links take this shape.
    AsItIs(Shape),
    /// Clients fall silent; the leader is cut off, another one is elected without it, and crashes.
    /// All links heal, and for a while nobody asks the old leader for anything.
    Left,
    /// The leader is cut off, another one is elected without it, and between the two there is no
    /// link for ever.
    Rivals,
    /// Clients fall silent. Of what the leader says of the log, all but small frames are lost, for ever,
    /// and it is asked for something large: it hears everybody, and cannot go on.
    Narrow,
}

/// Bytes of a frame that is small: a question, or an acknowledgement.
const SMALL: usize = 160;
/// Ticks until a leader is there, or all that was asked is done.
const SETTLE: Ticks = 150;
/// Ticks in which those who lost their leader elect another one.
const ELECT: Ticks = 300;

/// Brings about how the run ends. Returns the shape that the links then take.
pub(super) fn play(world: &mut World, adversary: &mut Adversary, ending: Ending) -> Result<Shape, Failure> {
    if let Ending::AsItIs(shape) = ending {
        return Ok(shape);
    }
    world.say(|| format!("the run ends: {ending:?}"));
    adversary.hush(matches!(ending, Ending::Left | Ending::Narrow));
    for p in world.members() {
        world.recover(p)?;
    }
    world.reshape(Shape::Whole, false);
    pass(world, adversary, SETTLE)?;
    let Some(old) = leader(world, None) else { return Ok(Shape::Whole) };
    if ending == Ending::Narrow {
        world.narrow(old, SMALL)?;
        pass(world, adversary, ELECT)?;
        // What it was asked for may have been refused: nothing large keeps it from going on, and would
        // only later, when a leader must stay.
        if world.is_done(old) {
            world.widen();
        }
        return Ok(Shape::Whole);
    }
    world.reshape(Shape::Halves(1 << old.0), true);
    let ends = world.processes[old.index()].ticks + ELECT;
    while leader(world, Some(old)).is_none() && world.processes[old.index()].ticks < ends {
        world.take(adversary)?;
    }
    let Some(new) = leader(world, Some(old)) else { return Ok(Shape::Whole) };
    if ending == Ending::Left {
        world.crash(new, Fault::CrashBefore)?;
        // The old leader hears of nothing that was said meanwhile.
        world.reshape(Shape::Whole, true);
        return Ok(Shape::Whole);
    }
    Ok(Shape::Apart(old.0, new.0))
}

fn leader(world: &World, but: Option<ProcessId>) -> Option<ProcessId> {
    world.members().find(|p| Some(*p) != but && world.role(*p) == Some(Role::Leader))
}
