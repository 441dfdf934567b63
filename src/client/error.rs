//! What can go wrong with a call, and whether it may have been executed all the same.

use std::time::Duration;

use tonic::Code;

/// Whether a failed call may have changed the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Surely not executed, now or later. Reads are always so.
    NotExecuted,
    /// Executed, or not, or still to be executed: read before writing again.
    Unknown,
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An endpoint cannot be used as it is written. Correct it.
    #[error("endpoint {endpoint:?} cannot be used: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The server understood the request and said no. Change the request: the answer will be the
    /// same again.
    #[error("{message}")]
    Refused {
        /// gRPC code of the answer.
        code: Code,
        /// The server's text.
        message: String,
        /// Unknown only if an earlier attempt of the same call went unanswered.
        fate: Fate,
    },

    /// No replica could take the request before the deadline. Nothing was executed: call again when a
    /// majority of the cluster is up and reachable.
    #[error(
        "no replica could serve the request within {after:.1?} (last, {endpoint}: {message}); nothing was executed: check that a majority of the cluster runs, then call again"
    )]
    Unavailable {
        /// Asked last.
        endpoint: String,
        /// What it said, or why it could not be reached.
        message: String,
        /// How long the call lasted.
        after: Duration,
    },

    /// A write was sent, and no answer came before the deadline. Read the keys that it concerns
    /// before writing them again.
    #[error(
        "no answer to a write within {after:.1?} (last, {endpoint}: {message}); it may or may not have been executed: read before you write again"
    )]
    Unanswered {
        /// Asked last.
        endpoint: String,
        /// What it said, or how the connection ended.
        message: String,
        /// How long the call lasted.
        after: Duration,
    },

    /// A call that has one effect however often it is made was sent, and no answer came before the
    /// deadline. Call again.
    #[error(
        "no answer within {after:.1?} (last, {endpoint}: {message}); it may or may not have taken effect: call again, which is safe"
    )]
    Unsettled {
        /// Asked last.
        endpoint: String,
        /// What it said, or how the connection ended.
        message: String,
        /// How long the call lasted.
        after: Duration,
    },

    /// A write was sent and went unanswered, and when it was repeated, the session that would have
    /// kept it from being executed twice had ended. Read before writing again.
    #[error(
        "the session of a write expired before it was answered; it may or may not have been executed: read before you write again"
    )]
    SessionExpired,

    /// A write was executed, exactly once, but its answer is lost, and was too long to be kept for a
    /// repetition. Read what it would have told.
    #[error("the write was executed, but its reply is lost: read what it would have told")]
    ReplyLost,

    /// The replica that serves a subscription was down for longer than messages are kept. Call again
    /// to go on after the messages that it lacks.
    #[error(
        "messages {from} to {last} of member {origin:x} are lost to this replica, which was down for longer than messages are kept; call again to go on after them"
    )]
    Gap {
        /// Id of the member that took them.
        origin: u64,
        /// The first that is lacking.
        from: u64,
        /// The last that is lacking.
        last: u64,
    },

    /// The server answered something that its protocol does not allow. Check what the
    /// endpoints are.
    #[error(
        "a reply lacks {missing}; check what the endpoints are, and that their version is this program's"
    )]
    Reply {
        /// What the reply should have had.
        missing: &'static str,
    },
}

impl Error {
    /// The same call may succeed later, and calling again cannot execute anything twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Unsettled { .. } | Self::Gap { .. } => true,
            Self::Endpoint { .. }
            | Self::Refused { .. }
            | Self::Unanswered { .. }
            | Self::SessionExpired
            | Self::ReplyLost
            | Self::Reply { .. } => false,
        }
    }

    /// Whether the call may have been executed.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Endpoint { .. } | Self::Unavailable { .. } | Self::Gap { .. } => Fate::NotExecuted,
            Self::Refused { fate, .. } => *fate,
            Self::Unanswered { .. }
            | Self::Unsettled { .. }
            | Self::SessionExpired
            | Self::ReplyLost
            | Self::Reply { .. } => Fate::Unknown,
        }
    }

    /// The gRPC code, if a server answered with one that ended the call.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Endpoint { .. }
            | Self::Unavailable { .. }
            | Self::Unanswered { .. }
            | Self::Unsettled { .. }
            | Self::SessionExpired
            | Self::ReplyLost
            | Self::Gap { .. }
            | Self::Reply { .. } => None,
        }
    }
}
