//! Service `kvorum.v1.AtomicCommit`.

use super::call::Call;
use super::ledger::unexpected;
use super::service::{Service, follow, reply};
use super::{Refused, Replica, status};
use crate::atomic_commit::{self as core, CommitError, Reason};
use crate::ledger::{Command, Response as Done, View};
use crate::proto::kvorum::v1::atomic_commit_server::AtomicCommit;
use crate::proto::kvorum::v1::reason::Kind;
use crate::proto::kvorum::v1::{
    self as pb, AcknowledgeOutcomeReply, AcknowledgeOutcomeRequest, BeginRequest, LookRequest,
    OutcomesRequest, Transaction, UnacknowledgedReply, VoteRequest,
};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// After so long, an outcome that is not acknowledged is told again.
const AGAIN: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl<R: Replica> AtomicCommit for Service<R> {
    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<Transaction>, Status> {
        let call = self.call(&request)?;
        self.has_room()?;
        let BeginRequest { transaction, participants, timeout_millis } = request.into_inner();
        if timeout_millis == 0 {
            return Err(Status::invalid_argument("kvorum: a transaction needs a timeout of 1 ms or more"));
        }
        self.transact(Command::Begin { transaction, participants, timeout: timeout_millis }, call).await
    }

    async fn vote(&self, request: Request<VoteRequest>) -> Result<Response<Transaction>, Status> {
        let call = self.call(&request)?;
        let VoteRequest { transaction, participant, vote } = request.into_inner();
        let vote = vote.ok_or_else(|| Status::invalid_argument("kvorum: the vote is missing"))?;
        self.transact(Command::Vote { transaction, participant, vote: asked(vote) }, call).await
    }

    async fn look(&self, request: Request<LookRequest>) -> Result<Response<Transaction>, Status> {
        let call = self.call(&request)?;
        let LookRequest { transaction, wait } = request.into_inner();
        // One that is unknown is waited for by nobody.
        let settled = |view: &View| match view.transaction(&transaction) {
            Some(status) if wait && status.outcome.is_none() => None,
            found => Some(found),
        };
        let found = match self.find(wait, call, settled).await? {
            Some(found) => found,
            None => self.replica().ledger().and_then(|view| view.transaction(&transaction)),
        };
        let unknown = || status::of_ledger(CommitError::Unknown { transaction: transaction.clone() }.into());
        reply(told(found.ok_or_else(unknown)?))
    }

    async fn unacknowledged(
        &self,
        request: Request<OutcomesRequest>,
    ) -> Result<Response<UnacknowledgedReply>, Status> {
        let call = self.call(&request)?;
        let participant = request.into_inner().participant;
        let owed = self.find(false, call, |view| Some(owed(view, &participant))).await?;
        reply(UnacknowledgedReply { transactions: owed.into_iter().flatten().map(told).collect() })
    }

    type OutcomesStream = ReceiverStream<Result<Transaction, Status>>;

    async fn outcomes(
        &self,
        request: Request<OutcomesRequest>,
    ) -> Result<Response<Self::OutcomesStream>, Status> {
        let subscriber = self.subscriber()?;
        let participant = request.into_inner().participant;
        let this = self.clone();
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(async move {
            let _subscriber = subscriber;
            tokio::select! {
                () = send.closed() => {}
                why = this.tell(&participant, &send) => {
                    let _ = send.send(Err(why)).await; // who listened may have gone
                }
            }
        });
        follow(receive)
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeOutcomeRequest>,
    ) -> Result<Response<AcknowledgeOutcomeReply>, Status> {
        let call = self.call(&request)?;
        let AcknowledgeOutcomeRequest { transaction, participant } = request.into_inner();
        self.transact(Command::Acknowledge { transaction, participant }, call).await?;
        reply(AcknowledgeOutcomeReply {})
    }
}

impl<R: Replica> Service<R> {
    async fn transact(&self, command: Command, call: Call) -> Result<Response<Transaction>, Status> {
        match self.ledger(command, call).await? {
            Done::Transaction(status) => reply(told(status)),
            other => Err(unexpected(other)),
        }
    }

    /// Tells a participant its outcomes: a new one at once, all of them again and again. Returns why
    /// it does not any more.
    async fn tell(&self, participant: &str, send: &mpsc::Sender<Result<Transaction, Status>>) -> Status {
        let mut changed = self.replica().ledger_changed();
        let mut round = Instant::now() + AGAIN;
        let mut heard = BTreeSet::new();
        loop {
            let owed = self.replica().ledger().map(|view| owed(&view, participant));
            let Some(owed) = owed else { return self.refused(Refused::Halted) };
            for status in owed {
                // Waits for a slow participant; what it holds up is this task alone.
                if heard.insert(status.begun) && send.send(Ok(told(status))).await.is_err() {
                    return self.refused(Refused::Halted);
                }
            }
            tokio::select! {
                news = changed.changed() => if news.is_err() {
                    return self.refused(Refused::Halted);
                },
                () = sleep_until(round) => {
                    round = Instant::now() + AGAIN;
                    heard.clear();
                }
            }
        }
    }
}

fn owed(view: &View, participant: &str) -> Vec<core::Status> {
    view.owed(participant).filter_map(|(name, _)| view.transaction(&name)).collect()
}

fn asked(vote: pb::Vote) -> core::Vote {
    if vote.yes {
        return core::Vote::Yes;
    }
    let reason = vote.reason.unwrap_or_default();
    core::Vote::No(match reason.kind() {
        Kind::Integrity => Reason::Integrity,
        Kind::Concurrency => Reason::Concurrency,
        Kind::Disk => Reason::Disk,
        Kind::Suspected => Reason::Suspected,
        Kind::Other => Reason::Other(reason.text),
    })
}

fn because(reason: Reason) -> pb::Reason {
    let (kind, text) = match reason {
        Reason::Integrity => (Kind::Integrity, String::new()),
        Reason::Concurrency => (Kind::Concurrency, String::new()),
        Reason::Disk => (Kind::Disk, String::new()),
        Reason::Suspected => (Kind::Suspected, String::new()),
        Reason::Other(text) => (Kind::Other, text),
    };
    pb::Reason { kind: kind.into(), text }
}

/// A transaction, on the wire.
fn told(status: core::Status) -> Transaction {
    let core::Status { name, begun, timeout, participants, outcome } = status;
    let participant = |(name, p): (std::sync::Arc<str>, core::Participant)| pb::Participant {
        name: name.to_string(),
        vote: p.vote.map(|vote| match vote {
            core::Vote::Yes => pb::Vote { yes: true, reason: None },
            core::Vote::No(reason) => pb::Vote { yes: false, reason: Some(because(reason)) },
        }),
        acknowledged: p.acknowledged,
    };
    let outcome = outcome.map(|outcome| match outcome {
        core::Outcome::Committed => pb::Outcome { committed: true, by: String::new(), reason: None },
        core::Outcome::Aborted { by, reason } => {
            pb::Outcome { committed: false, by: by.unwrap_or_default(), reason: Some(because(reason)) }
        }
    });
    Transaction {
        name: name.to_string(),
        begun,
        timeout_millis: timeout,
        participants: participants.into_iter().map(participant).collect(),
        outcome,
    }
}
