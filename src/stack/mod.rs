//! The stack of a replica: the modules, and the routing between them.
//!
//! ```text
//!   requests ─► total order ─► sequence paxos ─► state machine ─► replies, views
//!                  reads ─►        │  ▲
//!                          catch up│  │detector, members
//! ```

mod checkpoint;
mod event;
mod replica;
mod sweep;
#[cfg(test)]
mod tests;

pub use checkpoint::CheckpointMeta;
pub use event::{Event, Indication, Refusal, RequestId, Role, Status};
pub use replica::{Stack, StartError};
