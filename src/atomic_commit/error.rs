//! Why a request about a transaction was refused.

use super::vote::{Outcome, Vote};
use crate::kernel::{MAX_NAME, MAX_TEXT};
use thiserror::Error;

/// Why a request about a transaction was refused. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CommitError {
    /// A transaction or a participant has no name, or too long a one.
    #[error("names of transactions and participants must have 1 to {MAX_NAME} bytes, and one has {0}")]
    Name(usize),
    /// The explanation of a vote is too long.
    #[error("the reason of a vote may have {MAX_TEXT} bytes, and this one has {0}")]
    Text(usize),
    /// Nobody would vote.
    #[error("a transaction needs a participant")]
    NoParticipants,
    /// Too many would vote.
    #[error("{count} participants, and a transaction may have {limit}")]
    TooManyParticipants {
        /// How many.
        count: u64,
        /// The most.
        limit: u64,
    },
    /// There are as many unfinished transactions as there may be.
    #[error(
        "{limit} transactions are undecided, or not acknowledged by every participant: finish some, or raise the bound"
    )]
    TooManyTransactions {
        /// The most.
        limit: u64,
    },
    /// The name is taken by a transaction with other participants, or another timeout.
    #[error(
        "transaction {transaction:?} has begun with other participants or another timeout: choose another name"
    )]
    BegunOtherwise {
        /// The transaction.
        transaction: String,
    },
    /// There is no transaction of this name: it has not begun, or finished long ago.
    #[error("transaction {transaction:?} is unknown: it has not begun, or it finished long ago")]
    Unknown {
        /// The transaction.
        transaction: String,
    },
    /// The transaction has no such participant.
    #[error("{participant:?} is no participant of transaction {transaction:?}")]
    NotAParticipant {
        /// The transaction.
        transaction: String,
        /// Who is none.
        participant: String,
    },
    /// The participant has voted already, and differently: the first vote counts.
    #[error("{participant:?} has voted on {transaction:?} already: {before}")]
    VotedOtherwise {
        /// The transaction.
        transaction: String,
        /// The participant.
        participant: String,
        /// Its vote.
        before: Vote,
    },
    /// The vote comes too late.
    #[error("transaction {transaction:?} has its outcome already: {outcome}")]
    AfterOutcome {
        /// The transaction.
        transaction: String,
        /// Its outcome.
        outcome: Outcome,
    },
    /// What would be acknowledged was never told.
    #[error("transaction {transaction:?} has no outcome yet that could be acknowledged")]
    NeverDelivered {
        /// The transaction.
        transaction: String,
    },
}
