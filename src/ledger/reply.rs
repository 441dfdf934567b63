//! Replies to commands.

use crate::atomic_commit::{CommitError, Status};
use crate::broadcast::{AcknowledgeError, PublicationError, SubscribeError, UnknownSubscriber};
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
    /// The subscriber is there: the lowest position that it has not acknowledged.
    Subscribed(u64),
    /// The acknowledgement is taken: no later state has it pending.
    DeliveryAcknowledged,
    /// The subscriber is forgotten.
    Unsubscribed,
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
    /// A subscription.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The acknowledgement of a publication.
    #[error(transparent)]
    Acknowledge(#[from] AcknowledgeError),
    /// The end of a subscription.
    #[error(transparent)]
    Unsubscribe(#[from] UnknownSubscriber),
    /// The command on the log cannot be decoded.
    #[error("the command cannot be decoded: was it proposed by a newer version?")]
    Malformed,
}
