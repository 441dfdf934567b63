//! What needs consensus, beside the store: one replicated state machine, on the store's log.
//!
//! ```text
//!  the log ──► Command ──► Ledger::apply ──► Reply
//!                              │  │ consensus by instance · atomic commit · total-order topics
//!                              │  └─ view() ──► View (any thread)
//!                              └─ checkpoint pieces ──► rows, meta ──► Loader ──► Ledger
//! ```
//!
//! The rules are those of [`Instances`](crate::consensus::Instances),
//! [`Transactions`](crate::atomic_commit::Transactions) and
//! [`Publications`](crate::broadcast::Publications) with their
//! [`Subscribers`](crate::broadcast::Subscribers), each pure and by itself. Here they get
//! commands, a view, and checkpoints.
//!
//! **Exactly once.** Whoever got no answer sends the command again. To propose, begin, vote,
//! acknowledge, time out and subscribe are idempotent by their names: the second one changes nothing,
//! and has the answer of the first. To unsubscribe changes nothing the second time, which answers that
//! there is no such subscriber. To publish is not: so a publication may carry its publisher and a
//! number. There are no sessions here: one that remembered replies would remember what the state
//! knows already.

mod checkpoint;
mod command;
mod digest;
mod hits;
mod loader;
mod machine;
mod meta;
mod record;
mod replicated;
mod reply;
mod view;

#[cfg(test)]
mod tests;

pub use command::Command;
pub use loader::Loader;
pub use machine::Ledger;
pub use reply::{Error, Reply, Response};
pub use view::View;

/// What a node replicates: the store, and the ledger beside it.
pub type Replicated = crate::broadcast::Pair<crate::kv::Machine, Ledger>;
