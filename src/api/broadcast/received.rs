//! Acknowledged redelivery of total-order topics, whose subscribers any replica may serve.
//!
//! *Stop* holds across replicas: no delivery is sent, by any of them, after its StopOk was given, by
//! any of them. A view alone would not do, since this replica may be behind:
//!
//! ```text
//!  A  shows 7 pending ───────────────────────────────── (behind) ── Δ is over: sends 7 again
//!  B       Acknowledge 7 ── decided ── StopOk ──────────────────────────┘ after it: forbidden
//! ```
//!
//! So what a view of A shows is only a reason to ask; what is sent is what is pending behind a read
//! barrier that A asked for after it had decided to send:
//!
//! ```text
//!  A  Δ is over ── room for all of it ── barrier asked ── … ── answered: 7 is stopped, is not sent
//!  B       Acknowledge 7 ── decided ── StopOk ─┘ before the barrier: it is in the view
//! ```
//!
//! A StopOk that is given after the barrier was asked for is concurrent with the delivery: it may as
//! well have been sent before. For nothing waits in between but for the barrier: room is made first,
//! for a whole batch, and what the batch has no room for is decided anew. A barrier costs a round trip
//! to a majority, for a batch; and a replica that gets none for as long as it is patient ends the
//! stream, so that its subscriber goes elsewhere.

use super::redelivered::AGAIN;
use super::token::Token;
use super::total::told;
use super::{Replies, begun, gone};
use crate::api::call::Call;
use crate::api::ledger::unexpected;
use crate::api::service::Service;
use crate::api::{Refused, Replica, status};
use crate::broadcast::{Begin, FellOff, Publication, SubscribeError, UnknownSubscriber};
use crate::kernel::SharedBounds;
use crate::ledger::{Command, Error, Response as Done, View};
use crate::proto::kvorum::v1::SubscribeReply;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Deliveries behind one barrier, at most. A topic's own bound holds for their bytes.
const BATCH: usize = 16;

/// When a subscriber was told of each publication: no more than what is pending.
type Told = BTreeMap<u64, Instant>;

impl<R: Replica> Service<R> {
    pub(super) async fn receive_total(
        &self,
        topic: String,
        subscriber: String,
        oldest: bool,
        call: Call,
    ) -> Result<Response<ReceiverStream<Result<SubscribeReply, Status>>>, Status> {
        let subscribe = Command::Subscribe {
            subscriber: subscriber.clone(),
            topic: topic.clone(),
            begin: if oldest { Begin::Oldest } else { Begin::Now },
            window: SharedBounds::DEFAULT.unacknowledged,
        };
        let low = match self.ledger(subscribe, call).await? {
            Done::Subscribed(low) => low,
            other => return Err(unexpected(other)),
        };
        self.stream_of(BATCH, move |service, replies| async move {
            match service.pump_received(&subscriber, &topic, low, &replies).await {
                Ok(never) => match never {},
                Err(why) => why,
            }
        })
    }

    pub(super) async fn stop_total(
        &self,
        subscriber: String,
        position: u64,
        call: Call,
    ) -> Result<(), Status> {
        match self.ledger(Command::AcknowledgeDelivery { subscriber, position }, call).await? {
            Done::DeliveryAcknowledged => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn forget_total(&self, subscriber: String, call: Call) -> Result<(), Status> {
        match self.ledger(Command::Unsubscribe { subscriber }, call).await? {
            Done::Unsubscribed => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Sends what a subscriber has pending, again and again, until that is not possible any more.
    async fn pump_received(
        &self,
        subscriber: &str,
        topic: &str,
        low: u64,
        replies: &Replies,
    ) -> Result<Infallible, Status> {
        let mut changed = self.replica().ledger_changed();
        replies.send(Ok(begun(Token::Total(low)))).await.map_err(gone)?;
        let mut told_at = Told::new();
        loop {
            let room = replies.reserve_many(BATCH).await.map_err(gone)?;
            let view = self.replica().ledger_barrier(self.limits().patience).await;
            let view = view.map_err(|why| self.refused(why))?;
            let pending = pending(&view, subscriber, topic).map_err(status::of_ledger)?;
            told_at.retain(|position, _| pending.binary_search_by_key(position, |p| p.position).is_ok());
            for (permit, publication) in room.zip(due(pending, &told_at)) {
                told_at.insert(publication.position, Instant::now());
                permit.send(Ok(told(publication)));
            }
            // Until this replica shows a reason to ask again.
            while let Some(again) = self.nothing_before(subscriber, topic, &told_at)? {
                let due = async {
                    match again {
                        Again::At(when) => sleep_until(when).await,
                        Again::Never => std::future::pending().await,
                    }
                };
                tokio::select! {
                    news = changed.changed() => news.map_err(|_| self.refused(Refused::Halted))?,
                    () = due => {}
                }
            }
        }
    }

    /// Until when the view of this replica shows nothing to be sent; nothing, where it does now.
    fn nothing_before(&self, subscriber: &str, topic: &str, told_at: &Told) -> Result<Option<Again>, Status> {
        let view = self.replica().ledger().ok_or_else(|| self.refused(Refused::Halted))?;
        // That it gets nothing more is something to be sent.
        let Ok(pending) = pending(&view, subscriber, topic) else { return Ok(None) };
        let told: Option<Vec<Instant>> = pending.iter().map(|p| told_at.get(&p.position).copied()).collect();
        Ok(match told.map(|told| told.into_iter().min()) {
            None => None,
            Some(None) => Some(Again::Never),
            Some(Some(first)) if first.elapsed() >= AGAIN => None,
            Some(Some(first)) => Some(Again::At(first + AGAIN)),
        })
    }
}

/// When something is to be sent again.
enum Again {
    /// At this instant.
    At(Instant),
    /// Not before there is news.
    Never,
}

/// What a subscriber has pending in a view, or why it is delivered nothing more.
fn pending(view: &View, subscriber: &str, topic: &str) -> Result<Vec<Publication>, Error> {
    let place = view.subscribers().places().get(subscriber);
    if let Some(other) = place.map(|place| &place.topic).filter(|other| ***other != *topic) {
        // Forgotten meanwhile, and there again.
        let (subscriber, topic) = (subscriber.to_owned(), format!("total/{other}"));
        return Err(SubscribeError::OtherTopic { subscriber, topic }.into());
    }
    let pending = view.pending(subscriber).ok_or_else(|| UnknownSubscriber(subscriber.to_owned()))?;
    pending.map_err(|fell: FellOff| SubscribeError::from(fell).into())
}

/// What is to be sent now: what was never told, or long ago.
fn due(pending: Vec<Publication>, told_at: &Told) -> Vec<Publication> {
    let now = Instant::now();
    let recent = |p: &Publication| told_at.get(&p.position).is_some_and(|when| now - *when < AGAIN);
    pending.into_iter().filter(|p| !recent(p)).collect()
}
