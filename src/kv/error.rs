//! What the state machine refuses, in the words that etcd's clients match on.

use crate::kernel::DiskError;
use thiserror::Error;

/// Why a command or a read was refused. Nothing was changed, with the one exception of
/// [`Error::ReplyLost`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The revision lies below the compacted one.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision has not been reached yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The lease does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A request without a key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist; also an empty operation.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// A branch of a transaction changes one key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// More operations on a path of a transaction than the limit.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// The request is larger than the limit.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// A transaction, or a delete, that would look at more keys than one may.
    #[error("kvorum: the transaction looks at more than {limit} keys: split it, or narrow its ranges")]
    TooManyKeys {
        /// The most, as [`Budget::visits`](super::Budget::visits) counts.
        limit: u64,
    },
    /// A reply that would be longer than one may be.
    #[error(
        "kvorum: the reply would take more than {limit} bytes: ask for less at a time, with a limit or narrower ranges"
    )]
    ReplyTooLong {
        /// The most, as [`Budget::reply_bytes`](super::Budget::reply_bytes) counts.
        limit: u64,
    },
    /// One alarm more than there may be.
    #[error("kvorum: {limit} alarms are on, as many as may be: disarm some")]
    TooManyAlarms {
        /// The most.
        limit: u64,
    },
    /// A sort order or a sort target that does not exist.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// The space alarm is on.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The corruption alarm is on.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// The command on the log cannot be decoded.
    #[error("kvorum: the command cannot be decoded: was it proposed by a newer version?")]
    Malformed,
    /// The session is unknown, or has forgotten the call: it may have been executed, or not.
    #[error("kvorum: session expired")]
    SessionExpired,
    /// The call is further ahead of the oldest unanswered one than a session remembers.
    #[error("kvorum: too many unanswered calls in the session")]
    SessionWindow,
    /// The call was executed, once, but its reply is not kept any more.
    #[error("kvorum: executed before, and the reply is no longer kept")]
    ReplyLost,
    /// Stable storage failed under a read. Never the reply to a command.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The kind of an [`Error`](enum@Error): gRPC's status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request contradicts itself.
    InvalidArgument,
    /// What the request names does not exist.
    NotFound,
    /// A revision outside what is stored.
    OutOfRange,
    /// The request does not fit the state.
    FailedPrecondition,
    /// A bound is reached.
    ResourceExhausted,
    /// Stable storage is out of order.
    Unavailable,
    /// Stored data is damaged.
    DataLoss,
}

impl Error {
    /// The kind of the error.
    pub fn code(&self) -> Code {
        match self {
            Error::Compacted | Error::FutureRevision => Code::OutOfRange,
            Error::LeaseNotFound => Code::NotFound,
            Error::EmptyKey
            | Error::KeyNotFound
            | Error::ValueProvided
            | Error::LeaseProvided
            | Error::DuplicateKey
            | Error::TooManyOps
            | Error::RequestTooLarge
            | Error::Malformed
            | Error::InvalidSortOption => Code::InvalidArgument,
            Error::NoSpace
            | Error::SessionWindow
            | Error::TooManyKeys { .. }
            | Error::ReplyTooLong { .. }
            | Error::TooManyAlarms { .. } => Code::ResourceExhausted,
            Error::SessionExpired | Error::ReplyLost => Code::FailedPrecondition,
            Error::Corrupt | Error::Disk(DiskError::Damaged(_)) => Code::DataLoss,
            Error::Disk(DiskError::Failed(_) | DiskError::Full(_) | DiskError::Crashed) => Code::Unavailable,
        }
    }
}

/// Bytes that are not what they should be: of another version, or damaged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// Written by a newer version of the program.
    #[error("a {what} of format {found}, and this version reads up to {newest}: upgrade this replica")]
    Newer {
        /// What was read.
        what: &'static str,
        /// Its format version.
        found: u8,
        /// The newest version that is understood.
        newest: u8,
    },
    /// Cut short, or with impossible content.
    #[error("a {what} cannot be decoded: {why}")]
    Invalid {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Malformed {
    pub(super) fn invalid(what: &'static str, why: impl ToString) -> Self {
        Malformed::Invalid { what, why: why.to_string() }
    }
}
