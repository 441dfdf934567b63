//! The fair-loss link: a checksummed frame, on its way or lost.
//!
//! Requests: Send(q, m). Indication: Deliver(p, m), the message that a frame holds.
//!
//! Properties:
//! * *fair loss*: what a correct process sends again and again to a correct one is delivered again
//!   and again;
//! * *finite duplication*: what is sent a finite number of times is delivered a finite number of
//!   times;
//! * *no creation*: what is delivered was sent. A damaged frame fails its checksum, and one that a
//!   build of another day wrote does not decode: both are as good as lost.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 2.4.2.
//!
//! **Durable first**: nothing; but what is sent waits for what its turn stores. **On recovery**
//! nothing is remembered. **Bounds**: the transport's window per peer, past which frames are lost.

use crate::kernel::{Early, Message, Opened, ProcessId, Turn};
use std::marker::PhantomData;

/// The fair-loss link of one kind of message, to everybody: its port is the message's component.
#[derive(Clone, Copy, Debug)]
pub struct FairLoss<M>(PhantomData<fn(M) -> M>);

impl<M> Default for FairLoss<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message> FairLoss<M> {
    /// Sends a message, to one process or several, once this turn is durable.
    pub fn send(&self, to: impl IntoIterator<Item = ProcessId>, message: &M, turn: &mut Turn) {
        turn.send_all(to, message);
    }

    /// The message that a frame delivers, if it holds one of this link.
    pub fn deliver(&self, frame: &Opened) -> Option<M> {
        frame.message().ok()
    }
}

impl<M: Early> FairLoss<M> {
    /// Sends a message of one of the two kinds that need not wait for the sync.
    pub fn send_early(&self, to: impl IntoIterator<Item = ProcessId>, message: &M, turn: &mut Turn) {
        turn.send_early(to, message);
    }
}
