//! The key-value state machine: multi-version, pure and deterministic.
//!
//! ```text
//!  the log ──► Command ──► Machine::apply ──► Reply          (the core's thread)
//!                             │     │
//!                             │     └─ view() ──► View::range (any thread, with Rows)
//!                             └─ checkpoint_step() ──► rows, meta ──► Loader ──► Machine
//! ```
//!
//! The machine works on etcd's own messages. Memory holds the index of all versions and the values
//! of live keys; a checkpoint moves the values of superseded versions to rows on disk, which views
//! read, and the machine never does.

mod check;
mod checkpoint;
mod command;
mod digest;
mod error;
mod keyspace;
mod loader;
mod machine;
mod meta;
mod meter;
mod range;
mod replicated;
mod reply;
mod revision;
mod row;
mod scrub;
mod session;
mod txn;
mod view;

pub use check::{Limits, check, check_range, reads_only};
pub use checkpoint::Piece;
pub use command::{Command, Op, SessionCall};
pub use error::{Code, Error, Malformed};
pub use loader::{Damaged, Loader};
pub use machine::Machine;
pub use meta::{Summary, summary, with_generation};
pub use meter::{Budget, DELETION, OVERHEAD};
pub use reply::{Reply, Response, Unresolved};
pub use revision::Revision;
pub use view::{Size, View};

#[cfg(test)]
mod tests;
