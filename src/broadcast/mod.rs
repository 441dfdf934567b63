//! Broadcast: to all, in the order of the log, at most once; and below that, without consensus, to
//! all or none, in FIFO or causal order. Bringing a process that fell behind up to date.

mod best_effort;
mod catch_up;
mod causal;
mod cross_check;
mod cursor;
mod deliveries;
mod fifo;
mod filter;
mod message;
mod pair;
mod publications;
mod reads;
mod redelivery;
mod relayed;
mod seen;
mod state_machine;
mod subscribers;
#[cfg(test)]
mod tests;
mod topic;
mod topics;
mod total_order;
mod uniform_reliable;

pub use best_effort::{BestEffort, LoggedBestEffort};
pub use catch_up::{CatchUp, CatchUpMessage, Chunk, Fetch, Installed, Load, SnapshotId, Source};
pub use causal::{Context, NotAToken};
pub use cross_check::{CrossCheck, CrossCheckMessage, StateDigest};
pub use cursor::{Cursor, CursorError, FellOff, LoggedCursor};
pub use deliveries::{Deliveries, Record};
pub use filter::Filter;
pub use message::{BroadcastMessage, Delivery, Guarantee, MAX_NAME, MessageId, Order, Relayed, Topic};
pub use pair::{Either, Pair, PairLoader, Views, for_second};
pub use publications::{Last, Publication, PublicationError, Publications, Publisher};
pub use reads::Reads;
pub use redelivery::{Redelivered, Redelivery};
pub use seen::Seen;
pub use state_machine::{Piece, StateMachine};
pub use subscribers::{Begin, Place, Subscribers};
pub use topic::{
    AcknowledgeError, PublishError, Published, SubscribeError, TopicIndication, TopicRequest,
    UnknownSubscriber,
};
pub use topics::Topics;
pub use total_order::{Entry, GivenUp, NotTaken, TotalOrder, TotalOrderMessage};
pub use uniform_reliable::UniformReliable;
