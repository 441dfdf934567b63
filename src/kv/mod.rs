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
mod command;
mod error;
#[allow(dead_code)] // Checkpoints use the rest.
mod keyspace;
mod machine;
mod range;
mod reply;
#[allow(dead_code)] // Checkpoints use the rest.
mod revision;
#[allow(dead_code)] // Checkpoints use the rest.
mod row;
mod session;
mod txn;
mod view;

pub use check::{Limits, check, check_range, reads_only};
pub use command::{Command, Op, SessionCall};
pub use error::{Code, Error, Malformed};
pub use machine::Machine;
pub use reply::{Reply, Response, Unresolved};
pub use revision::Revision;
pub use session::{MAX_REPLY, MAX_REPLY_BYTES, MAX_SESSIONS, WINDOW};
pub use view::{Size, View};
