//! Non-blocking atomic commit.

use std::{fmt, time::Duration};

use super::{Client, Error, Outcomes};
use crate::proto::kvorum::v1::{
    self as pb, AcknowledgeOutcomeRequest, BeginRequest, LookRequest, OutcomesRequest, VoteRequest,
    reason::Kind,
};

/// A transaction among participants that vote on it: it commits if all vote yes, aborts if one votes
/// no or its time runs out, and has the same outcome for everyone, for ever.
///
/// Every call may be repeated, also by a process that has crashed meanwhile: the same vote again, or
/// the same acknowledgement, changes nothing.
///
/// ```no_run
/// # async fn example(client: kvorum::Client) -> Result<(), kvorum::client::Error> {
/// use kvorum::client::{Outcome, Reason, Vote};
/// use std::time::Duration;
///
/// let transfer = client.transaction("transfer/7");
/// transfer.begin(["bank a", "bank b"], Duration::from_secs(30)).await?;
/// // Each participant, wherever it runs, prepares, votes, and does what the outcome says.
/// transfer.vote("bank a", Vote::Yes).await?;
/// transfer.vote("bank b", Vote::No(Reason::Integrity)).await?;
/// assert_ne!(transfer.outcome().await?, Some(Outcome::Committed));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Transaction {
    client: Client,
    name: String,
}

/// What a participant says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// It can commit, and will if it is told to.
    Yes,
    /// It cannot.
    No(Reason),
}

/// Why a participant cannot commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The result would contradict itself.
    Integrity,
    /// Another transaction is in the way.
    Concurrency,
    /// Its disk failed.
    Disk,
    /// Another participant has been silent for too long.
    Suspected,
    /// Something else.
    Other(String),
}

/// What comes of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every participant voted yes.
    Committed,
    /// One voted no, or the time ran out.
    Aborted {
        /// Who voted no; nobody, where the time ran out.
        by: Option<String>,
        /// Its reason; where the time ran out, those that had not voted are suspected.
        reason: Reason,
    },
}

/// A participant of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Its name.
    pub name: String,
    /// Its vote, once it has voted.
    pub vote: Option<Vote>,
    /// Whether it has acknowledged the outcome.
    pub acknowledged: bool,
}

/// A transaction as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionStatus {
    /// Its name.
    pub name: String,
    /// Tells transactions of one name apart; grows.
    pub begun: u64,
    /// After so long without an outcome it aborts.
    pub timeout: Duration,
    /// In the order of their names.
    pub participants: Vec<Participant>,
    /// Once there is one.
    pub outcome: Option<Outcome>,
}

impl Transaction {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Begins it. After `timeout` without an outcome it aborts.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` for one that has begun on other terms, `RESOURCE_EXHAUSTED` where too
    /// many are not finished, `INVALID_ARGUMENT` for terms that cannot be: it has not begun.
    pub async fn begin<N: Into<String>>(
        &self,
        participants: impl IntoIterator<Item = N>,
        timeout: Duration,
    ) -> Result<TransactionStatus, Error> {
        let request = BeginRequest {
            transaction: self.name.clone(),
            participants: participants.into_iter().map(Into::into).collect(),
            timeout_millis: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(self.client.settle(request).await?.into())
    }

    /// Votes for a participant. A yes is a promise: it must be able to commit from now on, also
    /// after a crash.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` for a vote that differs from the first one, or that comes after the
    /// outcome; `NOT_FOUND` for a transaction or a participant that is none: nothing has changed.
    pub async fn vote(&self, participant: &str, vote: Vote) -> Result<TransactionStatus, Error> {
        let request = VoteRequest {
            transaction: self.name.clone(),
            participant: participant.to_owned(),
            vote: Some(vote.into()),
        };
        Ok(self.client.settle(request).await?.into())
    }

    /// Waits for the outcome; nothing, if there is none by the client's deadline.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// `NOT_FOUND` for one that has not begun, or finished long ago; or if no replica answers.
    pub async fn outcome(&self) -> Result<Option<Outcome>, Error> {
        let request = LookRequest { transaction: self.name.clone(), wait: true };
        self.client.wait(request, |reply| Ok(reply.outcome.map(Into::into))).await
    }

    /// How it stands.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome).
    pub async fn status(&self) -> Result<TransactionStatus, Error> {
        let request = LookRequest { transaction: self.name.clone(), wait: false };
        Ok(self.client.read(request).await?.into())
    }

    /// A participant has done what the outcome asks for: it is not told again.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` where there is no outcome yet; `NOT_FOUND` as [`vote`](Self::vote).
    pub async fn acknowledge(&self, participant: &str) -> Result<(), Error> {
        let request =
            AcknowledgeOutcomeRequest { transaction: self.name.clone(), participant: participant.to_owned() };
        self.client.settle(request).await.map(drop)
    }
}

impl Client {
    /// A transaction by its name, whether it has begun or not.
    pub fn transaction(&self, name: impl Into<String>) -> Transaction {
        Transaction::new(self.clone(), name.into())
    }

    /// What a participant is told, again and again until it acknowledges: the outcomes of its
    /// transactions. After a crash this is where it learns what became of those it had voted on.
    pub fn outcomes(&self, participant: impl Into<String>) -> Outcomes {
        Outcomes::new(self.clone(), participant.into())
    }

    /// The transactions whose outcome a participant has not acknowledged, as of now, the oldest first.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If no replica answers in time.
    pub async fn unacknowledged(
        &self,
        participant: impl Into<String>,
    ) -> Result<Vec<TransactionStatus>, Error> {
        let reply = self.read(OutcomesRequest { participant: participant.into() }).await?;
        Ok(reply.transactions.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integrity => "integrity",
            Self::Concurrency => "concurrency",
            Self::Disk => "disk",
            Self::Suspected => "suspected",
            Self::Other(text) => text,
        })
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(reason) => write!(f, "no ({reason})"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::Aborted { by: Some(by), reason } => write!(f, "aborted by {by} ({reason})"),
            Self::Aborted { by: None, reason } => write!(f, "aborted, its time ran out ({reason})"),
        }
    }
}

impl From<Reason> for pb::Reason {
    fn from(reason: Reason) -> Self {
        let (kind, text) = match reason {
            Reason::Integrity => (Kind::Integrity, String::new()),
            Reason::Concurrency => (Kind::Concurrency, String::new()),
            Reason::Disk => (Kind::Disk, String::new()),
            Reason::Suspected => (Kind::Suspected, String::new()),
            Reason::Other(text) => (Kind::Other, text),
        };
        Self { kind: kind.into(), text }
    }
}

impl From<pb::Reason> for Reason {
    fn from(reason: pb::Reason) -> Self {
        match reason.kind() {
            Kind::Integrity => Self::Integrity,
            Kind::Concurrency => Self::Concurrency,
            Kind::Disk => Self::Disk,
            Kind::Suspected => Self::Suspected,
            Kind::Other => Self::Other(reason.text),
        }
    }
}

impl From<Vote> for pb::Vote {
    fn from(vote: Vote) -> Self {
        match vote {
            Vote::Yes => Self { yes: true, reason: None },
            Vote::No(reason) => Self { yes: false, reason: Some(reason.into()) },
        }
    }
}

impl From<pb::Vote> for Vote {
    fn from(pb::Vote { yes, reason }: pb::Vote) -> Self {
        if yes { Self::Yes } else { Self::No(reason.unwrap_or_default().into()) }
    }
}

impl From<pb::Outcome> for Outcome {
    fn from(pb::Outcome { committed, by, reason }: pb::Outcome) -> Self {
        match committed {
            true => Self::Committed,
            false => Self::Aborted {
                by: Some(by).filter(|by| !by.is_empty()),
                reason: reason.unwrap_or_default().into(),
            },
        }
    }
}

impl From<pb::Transaction> for TransactionStatus {
    fn from(transaction: pb::Transaction) -> Self {
        let pb::Transaction { name, begun, timeout_millis, participants, outcome } = transaction;
        let participant = |pb::Participant { name, vote, acknowledged }| Participant {
            name,
            vote: vote.map(Into::into),
            acknowledged,
        };
        Self {
            name,
            begun,
            timeout: Duration::from_millis(timeout_millis),
            participants: participants.into_iter().map(participant).collect(),
            outcome: outcome.map(Into::into),
        }
    }
}
