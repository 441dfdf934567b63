//! Errors as gRPC statuses. Clients match on the code and on the exact text.

use super::replica::Refused;
use crate::atomic_commit::CommitError;
use crate::broadcast::{AcknowledgeError, PublicationError, PublishError, SubscribeError, UnknownSubscriber};
use crate::consensus::ProposeError;
use crate::kv;
use crate::ledger;
use crate::register::Failed;
use crate::stack::Refusal;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// What the state machine refuses.
pub(super) fn of_kv(error: kv::Error) -> Status {
    let code = match error.code() {
        kv::Code::InvalidArgument => Code::InvalidArgument,
        kv::Code::NotFound => Code::NotFound,
        kv::Code::OutOfRange => Code::OutOfRange,
        kv::Code::FailedPrecondition => Code::FailedPrecondition,
        kv::Code::ResourceExhausted => Code::ResourceExhausted,
        kv::Code::Unavailable => Code::Unavailable,
        kv::Code::DataLoss => Code::DataLoss,
    };
    Status::new(code, error.to_string())
}

/// Why there is no reply.
pub(super) fn of_refused(why: Refused) -> Status {
    let code = match why {
        Refused::Stack(Refusal::TooMany | Refusal::NoSpace) => Code::ResourceExhausted,
        Refused::Stack(Refusal::TooLarge) => Code::InvalidArgument,
        Refused::Stack(Refusal::NoLeader | Refusal::TimedOut | Refusal::LeaderChanged) => Code::Unavailable,
        // Of this replica alone: another one does better.
        Refused::Stack(Refusal::Corrupt) => return not_executed(of_kv(kv::Error::Corrupt)),
        Refused::Halted => Code::Unavailable,
    };
    Status::new(code, why.to_string())
}

/// What came of an operation on a register, if nothing good.
pub(super) fn of_register(why: Failed) -> Status {
    let code = match why {
        Failed::Name | Failed::TooLarge { .. } => Code::InvalidArgument,
        Failed::TooMany | Failed::Full | Failed::Exhausted => Code::ResourceExhausted,
        Failed::NoMajority | Failed::Unknown => Code::Unavailable,
    };
    let status = Status::new(code, why.to_string());
    match why {
        Failed::NoMajority | Failed::TooMany | Failed::Exhausted => not_executed(status),
        Failed::Name | Failed::TooLarge { .. } | Failed::Full | Failed::Unknown => status,
    }
}

/// What the ledger refuses.
pub(super) fn of_ledger(why: ledger::Error) -> Status {
    let code = match &why {
        ledger::Error::Propose(why) => match why {
            ProposeError::Name(_) | ProposeError::TooLarge { .. } => Code::InvalidArgument,
            ProposeError::TooMany { .. } | ProposeError::Full { .. } => Code::ResourceExhausted,
        },
        ledger::Error::Commit(why) => match why {
            CommitError::Name(_)
            | CommitError::Text(_)
            | CommitError::NoParticipants
            | CommitError::TooManyParticipants { .. } => Code::InvalidArgument,
            CommitError::TooManyTransactions { .. } => Code::ResourceExhausted,
            CommitError::Unknown { .. } | CommitError::NotAParticipant { .. } => Code::NotFound,
            CommitError::BegunOtherwise { .. }
            | CommitError::VotedOtherwise { .. }
            | CommitError::AfterOutcome { .. }
            | CommitError::NeverDelivered { .. } => Code::FailedPrecondition,
        },
        ledger::Error::Publication(why) => match why {
            PublicationError::Name(_) | PublicationError::TooLarge { .. } => Code::InvalidArgument,
            PublicationError::TooManyTopics { .. } => Code::ResourceExhausted,
            PublicationError::PublisherUnknown { .. } => Code::NotFound,
            PublicationError::Superseded { .. } => Code::FailedPrecondition,
            PublicationError::FellOff { .. } | PublicationError::Ahead { .. } => Code::OutOfRange,
        },
        ledger::Error::Subscribe(why) => return of_subscribe(why.clone()),
        ledger::Error::Acknowledge(why) => return of_acknowledge(why.clone()),
        ledger::Error::Unsubscribe(why) => return of_unsubscribe(why.clone()),
        ledger::Error::Malformed => Code::Unimplemented,
    };
    Status::new(code, format!("kvorum: {why}"))
}

/// Why nothing was published, or nobody knows whether it was.
pub(super) fn of_publish(why: PublishError) -> Status {
    let status = |code| Status::new(code, why.to_string());
    match why {
        PublishError::Name | PublishError::TooLarge { .. } => status(Code::InvalidArgument),
        PublishError::TooManyTopics { .. } => status(Code::ResourceExhausted),
        PublishError::TooMany => not_executed(status(Code::ResourceExhausted)),
        PublishError::NotAVoter | PublishError::ContextAhead => not_executed(status(Code::Unavailable)),
        PublishError::Unknown => status(Code::Unavailable),
    }
}

/// Why somebody is no subscriber.
pub(super) fn of_subscribe(why: SubscribeError) -> Status {
    let code = match &why {
        SubscribeError::Name { .. } => Code::InvalidArgument,
        SubscribeError::TooMany { .. } => Code::ResourceExhausted,
        SubscribeError::OtherTopic { .. } => Code::FailedPrecondition,
        SubscribeError::FellOff(_) | SubscribeError::Ahead { .. } => Code::OutOfRange,
    };
    Status::new(code, why.to_string())
}

/// Why nothing was acknowledged.
pub(super) fn of_acknowledge(why: AcknowledgeError) -> Status {
    let code = match &why {
        AcknowledgeError::Unknown(_) => Code::NotFound,
        AcknowledgeError::NeverDelivered { .. } | AcknowledgeError::FellOff(_) => Code::OutOfRange,
    };
    Status::new(code, why.to_string())
}

/// Why nobody was forgotten.
pub(super) fn of_unsubscribe(why: UnknownSubscriber) -> Status {
    Status::not_found(why.to_string())
}

/// Tells a client that another attempt, here or elsewhere, may succeed and executes nothing twice.
pub(super) fn not_executed(mut status: Status) -> Status {
    status.metadata_mut().insert("kvorum-fate", MetadataValue::from_static("not-executed"));
    status
}

/// No leader, or nothing to show yet.
pub(super) fn no_leader() -> Status {
    of_refused(Refusal::NoLeader.into())
}

/// More requests than there is room for.
pub(super) fn too_many() -> Status {
    of_refused(Refusal::TooMany.into())
}

/// A request over the limit.
pub(super) fn too_large() -> Status {
    of_kv(kv::Error::RequestTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_texts_are_those_that_clients_match_on() {
        let errors = [
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision"),
            (Code::NotFound, "etcdserver: requested lease not found"),
            (Code::InvalidArgument, "etcdserver: key is not provided"),
            (Code::InvalidArgument, "etcdserver: key not found"),
            (Code::InvalidArgument, "etcdserver: value is provided"),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::InvalidArgument, "etcdserver: invalid sort option"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (Code::DataLoss, "etcdserver: corrupt cluster"),
            (Code::FailedPrecondition, "kvorum: session expired"),
        ];
        let kv = [
            kv::Error::Compacted,
            kv::Error::FutureRevision,
            kv::Error::LeaseNotFound,
            kv::Error::EmptyKey,
            kv::Error::KeyNotFound,
            kv::Error::ValueProvided,
            kv::Error::DuplicateKey,
            kv::Error::TooManyOps,
            kv::Error::RequestTooLarge,
            kv::Error::InvalidSortOption,
            kv::Error::NoSpace,
            kv::Error::Corrupt,
            kv::Error::SessionExpired,
        ];
        for ((code, text), error) in errors.into_iter().zip(kv) {
            let status = of_kv(error);
            assert_eq!((status.code(), status.message()), (code, text));
        }
        for (code, text, why) in [
            (Code::Unavailable, "etcdserver: no leader", Refusal::NoLeader.into()),
            (Code::Unavailable, "etcdserver: request timed out", Refusal::TimedOut.into()),
            (Code::Unavailable, "etcdserver: leader changed", Refusal::LeaderChanged.into()),
            (Code::DataLoss, "etcdserver: corrupt cluster", Refusal::Corrupt.into()),
            (Code::ResourceExhausted, "etcdserver: too many requests", Refusal::TooMany.into()),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Refusal::NoSpace.into()),
            (Code::InvalidArgument, "etcdserver: request is too large", Refusal::TooLarge.into()),
            (Code::Unavailable, "etcdserver: server stopped", Refused::Halted),
        ] {
            let status = of_refused(why);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }
}
