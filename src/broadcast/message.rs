//! What is published and where to, and what processes say to each other about it.

use super::causal::Context;
use super::seen::Seen;
use crate::kernel::{Bounds, Component, Message, ProcessId, Slot};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is promised about the deliveries of a topic. Total order is another matter: that is the
/// replicated log's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Guarantee {
    /// Delivered wherever it arrives: everywhere, if its publisher recovers.
    BestEffort,
    /// Delivered everywhere, if it is delivered anywhere.
    Reliable,
    /// That, and in the order in which each process published.
    Fifo,
    /// That, and after everything that its publisher knew of.
    Causal,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "best-effort",
            Self::Reliable => "reliable",
            Self::Fifo => "fifo",
            Self::Causal => "causal",
        })
    }
}

/// Where publications go: two topics of one name and different guarantees are two topics.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Topic {
    /// What is promised.
    pub guarantee: Guarantee,
    /// Its name: 1 to [`MAX_NAME`] bytes.
    pub name: String,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.guarantee, self.name)
    }
}

/// The longest name of a topic or a subscriber, in bytes.
pub const MAX_NAME: usize = 100;

/// Whether a process would have published it.
pub(super) fn is_publishable(name: &str, payload: &[u8], bounds: &Bounds) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && payload.len() <= bounds.message_bytes
}

/// Names a message among those of its kind: best effort counts apart from the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MessageId {
    /// The process that was asked to publish it.
    pub origin: ProcessId,
    /// Counts its messages, across crashes, from 0 and without gaps.
    pub seq: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.origin, self.seq)
    }
}

/// A message as it is relayed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Relayed {
    /// Its name.
    pub id: MessageId,
    /// Where it goes.
    pub topic: String,
    /// What has to be delivered before.
    pub order: Order,
    /// The message itself.
    pub payload: Bytes,
}

/// What has to be delivered before a message: the header by which an order is kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Nothing.
    None,
    /// The message before it in FIFO order: one past its number, or 0 for the first.
    Fifo(u64),
    /// Everything that its publisher had delivered in causal order, or published.
    Causal(Context),
}

impl Order {
    /// The guarantee that asks for this order.
    pub fn guarantee(&self) -> Guarantee {
        match self {
            Self::None => Guarantee::Reliable,
            Self::Fifo(_) => Guarantee::Fifo,
            Self::Causal(_) => Guarantee::Causal,
        }
    }
}

/// A message as it is delivered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Its topic.
    pub topic: Topic,
    /// Its name.
    pub id: MessageId,
    /// In causal order: its causal past, and itself. Whoever publishes with it publishes after it.
    pub context: Context,
    /// The message itself.
    pub payload: Bytes,
}

impl Relayed {
    /// What its delivery says.
    pub fn delivery(self) -> Delivery {
        let Self { id, topic: name, order, payload } = self;
        let topic = Topic { guarantee: order.guarantee(), name };
        let context = match order {
            Order::None | Order::Fifo(_) => Context::default(),
            Order::Causal(mut past) => {
                past.add(id);
                past
            }
        };
        Delivery { topic, id, context, payload }
    }
}

/// What processes say to each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum BroadcastMessage {
    /// Messages that the receiver lacks.
    Relay {
        /// The messages.
        messages: Vec<Relayed>,
    },
    /// What the sender knows to be held durably, and by whom.
    Have {
        /// Whether the sender counts in majorities: it does not when it lost its memory.
        counts: bool,
        /// For each process, of each origin: the numbers of the messages that it holds.
        rows: Vec<Vec<Seen>>,
        /// Of each origin the lowest number that the sender has not delivered.
        delivered: Vec<u64>,
        /// Of each origin: the numbers of the messages that the sender held, and keeps no more.
        gone: Vec<Seen>,
    },
    /// To itself: everything below a position of the delivery log was told.
    Told {
        /// One past the last position.
        end: u64,
    },
}

impl Message for BroadcastMessage {
    const COMPONENT: Component = Component::Broadcast;

    fn kind(&self) -> u8 {
        match self {
            Self::Relay { .. } => 1,
            Self::Have { .. } => 2,
            Self::Told { .. } => 3,
        }
    }

    fn slot(&self) -> Slot {
        match self {
            Self::Relay { .. } => Slot::Window,
            Self::Have { .. } | Self::Told { .. } => Slot::Newest,
        }
    }
}
