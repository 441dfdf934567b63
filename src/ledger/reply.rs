//! Replies to commands.

use crate::atomic_commit::{CommitError, Status};
use crate::broadcast::PublicationError;
use crate::consensus::ProposeError;
use crate::kernel::ReplicatedBounds;
use bytes::Bytes;
use thiserror::Error;

/// What the execution of a command yields.
pub type Reply = Result<Response, Error>;

/// The result of a command that was executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// The decision of the instance.
    Decided(Bytes),
    /// The transaction, as it stands now.
    Transaction(Status),
    /// A publisher is open: its id.
    PublisherOpened(u64),
    /// The position of the publication.
    Published(u64),
    /// The bounds, as they are now.
    Bounds(ReplicatedBounds),
}

/// Why a command or a read was refused. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    /// A proposal.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// A request about a transaction.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A publication, or a read of a topic.
    #[error(transparent)]
    Publication(#[from] PublicationError),
    /// The command on the log cannot be decoded.
    #[error("the command cannot be decoded: was it proposed by a newer version?")]
    Malformed,
}
