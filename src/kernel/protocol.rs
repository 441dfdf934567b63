//! What a driver runs: a stack of modules, seen from outside.
//!
//! Inside a stack, modules are plain structs that own the modules below them; their events are
//! their methods, and what they indicate is what those methods return. Only the top of a stack
//! meets its driver, through this trait.

use super::config::Config;
use super::disk::Stored;
use super::frame::Opened;
use super::journal::Held;
use super::logged::Undecodable;
use super::process::{Incarnation, ProcessId};
use super::turn::Turn;

/// What a stack reacts to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upon<R> {
    /// A request of the layer above.
    Request(R),
    /// A frame that passed its check. One from the process itself says that the turn which sent it
    /// is durable.
    Frame {
        /// The sender.
        from: ProcessId,
        /// The frame.
        frame: Opened,
    },
    /// Time passes.
    Tick,
}

/// A stack of modules as its driver sees it: threads and sockets, the simulator, or the explorer of
/// all executions.
pub trait Protocol: Sized {
    /// What the layer above asks.
    type Request;
    /// What it is told.
    type Indication;

    /// Init when nothing is stored, Recovery otherwise: state comes from stable storage alone.
    ///
    /// # Errors
    /// When what is stored does not decode.
    fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        turn: &mut Turn,
        up: &mut Held<Self::Indication>,
    ) -> Result<Self, Undecodable>;

    /// Reacts to one event.
    fn upon(&mut self, event: Upon<Self::Request>, turn: &mut Turn, up: &mut Held<Self::Indication>);
}
