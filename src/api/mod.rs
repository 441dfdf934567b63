//! The client port: etcd's services over a replica.
//!
//! ```text
//!  gRPC, HTTP/1.1 ──► serve ──► routes ──► kv, sessions, cluster, … ──► Replica
//!                                 ▲
//!                 embedded client ┘
//! ```
//!
//! Requests are checked before they are proposed; errors have the codes and the texts that etcd's
//! clients match on. What changes the store goes through the log; what only reads looks at a view.

mod limits;
mod replica;

pub use limits::Limits;
pub use replica::{Cluster, Member, Refused, Replica};
