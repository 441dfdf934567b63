//! Why a node does not start, does not answer, or has stopped.

use crate::consensus::Divergence;
use crate::kernel::DiskError;
use crate::ledger;
use crate::stack::{Refusal, StartError};
use crate::storage;
use std::io;
use thiserror::Error;

/// Why a node has stopped. It never starts again by itself: open its directory anew.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Halted {
    /// Stable storage failed: what the replica knows may not be what is stored.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The program shut it down, or dropped it.
    #[error("the node was shut down")]
    ShutDown,
    /// The decided log differs from a peer's. Restarted, it halts again, until a person has looked.
    #[error(
        "{0}. One of the two disks was put back to an earlier state, or is damaged; nothing was overwritten. Keep \
         a copy of both data directories, find out which of the two has lost writes, and remove that one"
    )]
    LogsDiffer(Divergence),
    /// An assertion of the protocol does not hold. Going on could break a promise.
    #[error("the replica found itself in a state that must not be ({0}); please report it")]
    Broken(String),
}

/// Why a request got no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// The replica refused it.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The node had stopped before the request reached it: it was surely not executed.
    #[error("etcdserver: server stopped ({0})")]
    Stopped(Halted),
    /// The node stopped while the request was under way: whether it was executed is unknown.
    #[error("etcdserver: server stopped ({0}); whether the request was executed is unknown")]
    Halted(Halted),
}

/// Why a command of one's own state machine was not executed, or perhaps not.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ExecuteError {
    /// It was surely not executed.
    #[error("a command of {size} bytes, and at most {limit} fit in the log: split it")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The most.
        limit: usize,
    },
    /// It got no answer.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a request to the ledger did not do what was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Failed {
    /// It got no answer.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The ledger refuses it: nothing has changed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

/// Why a node does not start. Nothing has changed on the disk, except where the disk itself failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration contradicts itself, or the directory's.
    #[error("{0}")]
    Config(String),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} for {purpose}s: {source}; stop who listens there, or choose another address with --listen-{purpose}-urls"
    )]
    Listen {
        /// The address.
        address: String,
        /// `client` or `peer`.
        purpose: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] storage::Refused),
    /// The replica cannot start from what is stored.
    #[error("{0}; move the data directory away to start empty, as a learner")]
    Stored(#[from] StartError),
    /// The node stopped.
    #[error(transparent)]
    Halted(#[from] Halted),
    /// The program or the system cannot do what a node needs.
    #[error("cannot {doing}: {source}")]
    System {
        /// What could not be done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}
