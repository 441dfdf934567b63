//! What the two ends of a link say to each other.

use crate::kernel::{Component, Incarnation, MAX_COUNT, Message, Slot};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Tells apart the links that two processes have between them: each has frames, and slots for its
/// acknowledgements, of its own. Numbers are part of the wire format, and stay below 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Channel(pub u8);

impl Channel {
    /// The logged perfect link, of which a process has one to each other.
    pub const LOGGED: Channel = Channel(0);
}

/// From one end of a link to the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LinkMessage {
    /// A message of the layer above.
    Data {
        /// Which link.
        channel: Channel,
        /// The incarnation of the sender: its numbers start anew with each.
        inc: Incarnation,
        /// Every number below this one was acknowledged.
        low: u64,
        /// Counts the messages from this sender to this receiver.
        number: u64,
        /// The message.
        message: Bytes,
    },
    /// Everything below a number has been taken, durably.
    Ack {
        /// Which link.
        channel: Channel,
        /// The incarnation of the one who has taken it.
        inc: Incarnation,
        /// The incarnation of the one who sent it.
        of: Incarnation,
        /// The first number that is still wanted.
        below: u64,
    },
}

impl LinkMessage {
    /// Which link it belongs to.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Data { channel, .. } | Self::Ack { channel, .. } => *channel,
        }
    }
}

impl LinkMessage {
    /// Whether its numbers can be counted on from.
    pub fn is_countable(&self) -> bool {
        let numbers = match self {
            Self::Data { inc, low, number, .. } => [*inc, *low, *number],
            Self::Ack { inc, of, below, .. } => [*inc, *of, *below],
        };
        numbers.into_iter().all(|number| number < MAX_COUNT)
    }
}

impl Message for LinkMessage {
    const COMPONENT: Component = Component::Link;

    fn kind(&self) -> u8 {
        match self {
            Self::Data { channel, .. } => channel.0.wrapping_mul(4).wrapping_add(1),
            Self::Ack { channel, .. } => channel.0.wrapping_mul(4).wrapping_add(2),
        }
    }

    fn slot(&self) -> Slot {
        match self {
            Self::Data { .. } => Slot::Window,
            Self::Ack { .. } => Slot::Newest,
        }
    }
}
