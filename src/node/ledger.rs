//! The handle's part for what needs consensus: instances, transactions, total-order topics.
//!
//! Everything here may be asked again after an error: what was done already is not done twice. (A
//! publication without a publisher is the one exception.) An answer that was lost while another
//! replica took over is asked for again at once.

use super::error::{Failed, Refused};
use super::handle::Handle;
use crate::api;
use crate::atomic_commit::{CommitError, Outcome, Status, Vote};
use crate::broadcast::{
    Begin, Either, Publication, PublicationError, Publisher, SubscribeError, UnknownSubscriber,
};
use crate::kernel::{BoundChanges, ReplicatedBounds};
use crate::ledger::{Command, Error, Reply, Response, View};
use crate::stack::Refusal;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Bytes of publications that one read returns, but for the first.
const READ_BYTES: usize = 1 << 20;
/// An attempt of a command: another one follows where there is time.
const ATTEMPT: Duration = Duration::from_secs(2);

impl Handle {
    /// Proposes a value to an instance of consensus. Returns the decision, which may be the value of
    /// another: the same one to everybody, for ever.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where there is no room for the instance.
    pub async fn propose(&self, instance: &str, value: Bytes, deadline: Duration) -> Result<Bytes, Failed> {
        if let Some(decision) = self.ledger().and_then(|view| view.decision(instance)) {
            return Ok(decision);
        }
        let command = Command::Propose { instance: instance.to_owned(), value };
        match self.insist(&command, deadline).await? {
            Response::Decided(decision) => Ok(decision),
            other => unreachable!("a proposal is answered by {other:?}"),
        }
    }

    /// Waits for the decision of an instance, and proposes nothing.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn decision(&self, instance: &str, deadline: Duration) -> Result<Bytes, Failed> {
        let decision = |view: &View| view.decision(instance);
        self.wait_for(deadline, decision).await?.ok_or(Refusal::TimedOut.into())
    }

    /// The decision of an instance, if it was decided before the call.
    ///
    /// # Errors
    /// When no leader confirms in time that it leads.
    pub async fn decided(&self, instance: &str, deadline: Duration) -> Result<Option<Bytes>, Failed> {
        match self.ledger().and_then(|view| view.decision(instance)) {
            Some(decision) => Ok(Some(decision)),
            None => Ok(self.ledger_barrier(deadline).await?.decision(instance)),
        }
    }

    /// Begins a transaction, which commits if every participant votes yes, and is aborted if one
    /// votes no, or `timeout` passes first. Begun again in the same way, it is the same one.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where it cannot begin.
    pub async fn begin(
        &self,
        transaction: &str,
        participants: &[String],
        timeout: Duration,
        deadline: Duration,
    ) -> Result<Status, Failed> {
        let command = Command::Begin {
            transaction: transaction.to_owned(),
            participants: participants.to_owned(),
            timeout: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        self.transact(&command, deadline).await
    }

    /// Votes on a transaction, for a participant.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where the vote does not count: see [`CommitError`].
    pub async fn vote(
        &self,
        transaction: &str,
        participant: &str,
        vote: Vote,
        deadline: Duration,
    ) -> Result<Status, Failed> {
        let (transaction, participant) = (transaction.to_owned(), participant.to_owned());
        self.transact(&Command::Vote { transaction, participant, vote }, deadline).await
    }

    /// Waits for the outcome of a transaction.
    ///
    /// # Errors
    /// When it has none in time, or there is no such transaction.
    pub async fn outcome(&self, transaction: &str, deadline: Duration) -> Result<Outcome, Failed> {
        let known = |view: &View| view.transaction(transaction).is_some();
        if !self.ledger().is_some_and(|view| known(&view)) && !known(&self.ledger_barrier(deadline).await?) {
            return Err(unknown(transaction));
        }
        let settled = |view: &View| match view.transaction(transaction) {
            Some(status) => status.outcome.map(Ok),
            None => Some(Err(unknown(transaction))),
        };
        self.wait_for(deadline, settled).await?.ok_or(Failed::from(Refusal::TimedOut))?
    }

    /// A transaction as it stood at the call, or later.
    ///
    /// # Errors
    /// When there is no such transaction, or no leader confirms in time that it leads.
    pub async fn transaction(&self, transaction: &str, deadline: Duration) -> Result<Status, Failed> {
        self.ledger_barrier(deadline).await?.transaction(transaction).ok_or_else(|| unknown(transaction))
    }

    /// Tells that a participant has learned the outcome of a transaction: it is not told again.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where there is nothing to be acknowledged.
    pub async fn acknowledge(
        &self,
        transaction: &str,
        participant: &str,
        deadline: Duration,
    ) -> Result<(), Failed> {
        let (transaction, participant) = (transaction.to_owned(), participant.to_owned());
        self.transact(&Command::Acknowledge { transaction, participant }, deadline).await?;
        Ok(())
    }

    /// Outcomes that a participant has not acknowledged, the oldest first; waits until there is
    /// one, and returns none at the deadline. To be asked again and again: what was told and not
    /// acknowledged is told again.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn unacknowledged(
        &self,
        participant: &str,
        deadline: Duration,
    ) -> Result<Vec<(Arc<str>, Outcome)>, Failed> {
        let owed = |view: &View| {
            let owed: Vec<_> = view.owed(participant).collect();
            (!owed.is_empty()).then_some(owed)
        };
        Ok(self.wait_for(deadline, owed).await?.unwrap_or_default())
    }

    /// Opens a publisher, whose publications have one effect each however often they are sent.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn open_publisher(&self, deadline: Duration) -> Result<u64, Failed> {
        match self.insist(&Command::OpenPublisher, deadline).await? {
            Response::PublisherOpened(id) => Ok(id),
            other => unreachable!("a publisher is opened by {other:?}"),
        }
    }

    /// Publishes to a total-order topic. Returns the position. A publisher counts its publications
    /// from 1, and goes on once it has the position of the one before.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where it cannot be published. Without a publisher, whether it was
    /// published is unknown when there is no answer in time.
    pub async fn publish_total(
        &self,
        topic: &str,
        publisher: Option<Publisher>,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<u64, Failed> {
        let again = publisher.is_some();
        let command = Command::Publish { topic: topic.to_owned(), publisher, payload };
        let response = match again {
            true => self.insist(&command, deadline).await?,
            false => self.attempt(&command, deadline).await?,
        };
        match response {
            Response::Published(position) => Ok(position),
            other => unreachable!("a publication is answered by {other:?}"),
        }
    }

    /// Publications of a total-order topic from a cursor on, at most so many; waits until there is
    /// one, and returns none at the deadline. The next cursor is one past the last position.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where the cursor fell off, or is ahead.
    pub async fn read_total(
        &self,
        topic: &str,
        cursor: u64,
        max_entries: usize,
        deadline: Duration,
    ) -> Result<Vec<Publication>, Failed> {
        if self.ledger().is_none_or(|view| cursor > view.end()) {
            // Perhaps another replica told it, and this one is behind.
            self.ledger_barrier(deadline).await?;
        }
        let some = |view: &View| match view.read(topic, cursor, max_entries, READ_BYTES) {
            Ok(read) if read.is_empty() => None,
            read => Some(read),
        };
        let read: Option<Result<Vec<Publication>, PublicationError>> = self.wait_for(deadline, some).await?;
        Ok(read.unwrap_or(Ok(Vec::new())).map_err(Error::from)?)
    }

    /// Has the publications of a total-order topic delivered to a subscriber, at any replica, until it
    /// acknowledges them: see [`receive_total`](Self::receive_total). One that is known stays where it
    /// is. `window` is how many it is delivered from the oldest that it has not acknowledged on.
    /// Returns the lowest position that it has not acknowledged.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where it cannot be: see [`SubscribeError`].
    pub async fn subscribe_total(
        &self,
        subscriber: &str,
        topic: &str,
        begin: Begin,
        window: u64,
        deadline: Duration,
    ) -> Result<u64, Failed> {
        let (subscriber, topic) = (subscriber.to_owned(), topic.to_owned());
        match self.insist(&Command::Subscribe { subscriber, topic, begin, window }, deadline).await? {
            Response::Subscribed(low) => Ok(low),
            other => unreachable!("a subscription is answered by {other:?}"),
        }
    }

    /// Publications that a subscriber has not acknowledged, anywhere, at the call or later; waits until
    /// there is one, and returns none at the deadline. To be asked again and again: what was told and
    /// not acknowledged is told again.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where there is no such subscriber, or it fell off; else when no leader
    /// confirms in time that it leads.
    pub async fn receive_total(
        &self,
        subscriber: &str,
        deadline: Duration,
    ) -> Result<Vec<Publication>, Failed> {
        let end = Instant::now() + deadline;
        let left = || end.saturating_duration_since(Instant::now());
        let unknown = || Error::from(UnknownSubscriber(subscriber.to_owned()));
        loop {
            // Behind a barrier: this replica may not know yet what was acknowledged at another.
            let pending = self.ledger_barrier(left()).await?.pending(subscriber);
            let pending = pending.ok_or_else(unknown)?.map_err(SubscribeError::from).map_err(Error::from)?;
            if !pending.is_empty() {
                return Ok(pending);
            }
            // Now it knows: what it shows from here on is a reason to ask again.
            let news = |view: &View| match view.pending(subscriber) {
                Some(Ok(pending)) if pending.is_empty() => None,
                Some(_) | None => Some(()),
            };
            if self.wait_for(left(), news).await?.is_none() {
                return Ok(Vec::new());
            }
        }
    }

    /// A subscriber has processed the publication at a position: it is not delivered again, at any
    /// replica. Safe to repeat.
    ///
    /// # Errors
    /// [`Failed::Ledger`] where nothing was delivered there: see [`crate::broadcast::AcknowledgeError`].
    pub async fn acknowledge_total(
        &self,
        subscriber: &str,
        position: u64,
        deadline: Duration,
    ) -> Result<(), Failed> {
        let subscriber = subscriber.to_owned();
        match self.insist(&Command::AcknowledgeDelivery { subscriber, position }, deadline).await? {
            Response::DeliveryAcknowledged => Ok(()),
            other => unreachable!("an acknowledgement is answered by {other:?}"),
        }
    }

    /// Forgets a subscriber of [`subscribe_total`](Self::subscribe_total).
    ///
    /// # Errors
    /// [`Failed::Ledger`] where there is none, any more.
    pub async fn unsubscribe_total(&self, subscriber: &str, deadline: Duration) -> Result<(), Failed> {
        match self.insist(&Command::Unsubscribe { subscriber: subscriber.to_owned() }, deadline).await? {
            Response::Unsubscribed => Ok(()),
            other => unreachable!("the end of a subscription is answered by {other:?}"),
        }
    }

    /// Changes bounds of the ledger; returns what all of them are now. What is beyond new bounds
    /// already, stays.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn set_ledger_bounds(
        &self,
        changes: BoundChanges,
        deadline: Duration,
    ) -> Result<ReplicatedBounds, Failed> {
        match self.insist(&Command::SetBounds(changes), deadline).await? {
            Response::Bounds(bounds) => Ok(bounds),
            other => unreachable!("bounds are answered by {other:?}"),
        }
    }

    /// The ledger as it was published last; nothing while the replica may not serve.
    pub fn ledger(&self) -> Option<View> {
        self.inner.requests.shared.view().map(|view| view.second.clone())
    }

    /// The ledger with everything that was acknowledged anywhere before the call.
    ///
    /// # Errors
    /// When no leader confirms in time that it leads.
    pub async fn ledger_barrier(&self, deadline: Duration) -> Result<View, Failed> {
        Ok(self.inner.requests.barrier(deadline).await?.second.clone())
    }

    /// Tells of each view that is published: the length of the log prefix that it shows.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.inner.requests.shared.published()
    }

    async fn transact(&self, command: &Command, deadline: Duration) -> Result<Status, Failed> {
        match self.insist(command, deadline).await? {
            Response::Transaction(status) => Ok(status),
            other => unreachable!("a request about a transaction is answered by {other:?}"),
        }
    }

    /// Executes a command that may be executed twice: where its fate is unknown, again.
    async fn insist(&self, command: &Command, deadline: Duration) -> Result<Response, Failed> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let refused = match self.attempt(command, left.min(ATTEMPT)).await {
                Err(Failed::Refused(Refused::Refusal(why))) => why,
                answered => return answered,
            };
            match refused {
                Refusal::LeaderChanged | Refusal::TimedOut if Instant::now() < end => {}
                // It waited for a leader all the time.
                Refusal::NoLeader if left > ATTEMPT => {}
                Refusal::LeaderChanged
                | Refusal::TimedOut
                | Refusal::NoLeader
                | Refusal::TooMany
                | Refusal::NoSpace
                | Refusal::Corrupt
                | Refusal::TooLarge => {
                    return Err(refused.into());
                }
            }
        }
    }

    /// Executes a command once.
    pub(super) async fn attempt(&self, command: &Command, deadline: Duration) -> Result<Response, Failed> {
        match self.inner.requests.execute(command.encode(), deadline).await? {
            Either::Second(reply) => Ok(reply?),
            Either::First(_) => unreachable!("a command of the ledger was asked for"),
        }
    }

    /// Waits until a view shows something; nothing at the deadline.
    async fn wait_for<T>(
        &self,
        deadline: Duration,
        look: impl Fn(&View) -> Option<T>,
    ) -> Result<Option<T>, Failed> {
        let end = Instant::now() + deadline;
        let mut published = self.published();
        loop {
            published.borrow_and_update();
            if let Some(found) = self.ledger().as_ref().and_then(&look) {
                return Ok(Some(found));
            }
            if self.inner.requests.shared.has_diverged() {
                return Err(Refusal::Corrupt.into());
            }
            if self.inner.requests.shared.halted().is_some() {
                return Err(Refused::Stopped(self.inner.requests.why_halted()).into());
            }
            match timeout_at(end, published.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Refused::Stopped(self.inner.requests.why_halted()).into()),
                Err(_) => return Ok(None),
            }
        }
    }
}

impl api::Ledger for Handle {
    async fn ledger_execute(&self, command: Command, patience: Duration) -> Result<Reply, api::Refused> {
        let done = match &command {
            // Executed twice, it would be published twice.
            Command::Publish { publisher: None, .. } => self.attempt(&command, patience).await,
            Command::Publish { publisher: Some(_), .. }
            | Command::OpenPublisher
            | Command::Propose { .. }
            | Command::Begin { .. }
            | Command::Vote { .. }
            | Command::TimeOut { .. }
            | Command::Acknowledge { .. }
            | Command::SetBounds(_)
            | Command::Subscribe { .. }
            | Command::AcknowledgeDelivery { .. }
            | Command::Unsubscribe { .. } => self.insist(&command, patience).await,
        };
        match done {
            Ok(response) => Ok(Ok(response)),
            Err(Failed::Ledger(why)) => Ok(Err(why)),
            Err(Failed::Refused(why)) => Err(why.into()),
        }
    }

    async fn ledger_barrier(&self, patience: Duration) -> Result<View, api::Refused> {
        Ok(self.inner.requests.barrier(patience).await?.second.clone())
    }

    fn ledger(&self) -> Option<View> {
        Handle::ledger(self)
    }

    fn ledger_changed(&self) -> watch::Receiver<u64> {
        self.published()
    }
}

fn unknown(transaction: &str) -> Failed {
    Failed::Ledger(Error::Commit(CommitError::Unknown { transaction: transaction.to_owned() }))
}

#[cfg(test)]
mod tests;
