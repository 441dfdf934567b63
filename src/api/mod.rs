//! The client port: etcd's services, and those of the abstractions, over a replica.
//!
//! ```text
//!  gRPC, HTTP/1.1 ──► serve ──► routes ──► kv, register, cluster, … ─► Replica
//!                                 ▲
//!                 embedded client ┘
//! ```
//!
//! Requests are checked before they are proposed; errors have the codes and the texts that etcd's
//! clients match on. What changes the store goes through the log; what only reads looks at a view.

mod admission;
mod atomic_commit;
mod authority;
mod bounds;
mod broadcast;
mod call;
mod cluster;
mod consensus;
mod cost;
#[cfg(test)]
mod fake;
mod health;
mod http;
mod kv;
mod ledger;
mod limits;
mod maintenance;
mod mirror;
mod outflow;
mod paced;
mod quota;
mod register;
mod replica;
mod routes;
mod serve;
mod service;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod topics;
mod unserved;

pub use ledger::Ledger;
pub use limits::Limits;
pub use mirror::{Mirror, Pending, Read};
pub use replica::{Cluster, Member, Refused, Registers, Replica};
pub use routes::routes;
pub use serve::serve;
pub use topics::Topics;

/// The version of etcd whose API the port speaks: clients derive from it what they may ask for.
pub const VERSION: &str = "3.6.0";
