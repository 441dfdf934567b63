//! The replicated log: leader detection and Sequence Paxos.
//!
//! Read [`SequencePaxos`] first; [`Acceptor`](acceptor::Acceptor) holds what is durable and the
//! rules by which it changes; a process is a follower until it stands ([`candidate`]) and leads
//! ([`leader`]). [`Detector`] says when to stand, [`Members`] whose votes count. Consensus by
//! instance follows from the log: [`Instances`].

pub mod acceptor;
pub mod candidate;
mod detector;
mod instances;
pub mod leader;
mod members;
mod messages;
mod prefix;
mod reads;
mod run;
mod sequence;
#[cfg(test)]
mod tests;

pub use acceptor::Gate;
pub use detector::{Detector, Facts};
pub use instances::{Instances, ProposeError};
pub use members::Members;
pub use messages::{Accept, Distrust, Heartbeat, Held, Life, Membership, Paxos, Session};
pub use reads::Asked;
pub use sequence::{Divergence, Notice, SequencePaxos};
