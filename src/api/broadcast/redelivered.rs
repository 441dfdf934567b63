//! Acknowledged redelivery, of topics in other orders than the total one.

use super::ordered::gather;
use super::token::Token;
use super::{Replies, begun, gone};
use crate::api::call::Call;
use crate::api::mirror::Pending;
use crate::api::service::Service;
use crate::api::{Refused, Replica, status};
use crate::broadcast::{Context, Cursor, Topic};
use crate::proto::kvorum::v1::SubscribeReply;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// A delivery is not told again within so long, however often the replica says that it is pending.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

impl<R: Replica> Service<R> {
    pub(super) async fn redeliver(
        &self,
        topic: Topic,
        subscriber: String,
        oldest: bool,
        call: Call,
    ) -> Result<Response<ReceiverStream<Result<SubscribeReply, Status>>>, Status> {
        let from = oldest.then(|| self.replica().mirror().range().start);
        // Followed first: what is pending is said as soon as it subscribes.
        let pending = self.replica().mirror().follow(&subscriber);
        let subscribed = self.replica().subscribe(subscriber, topic, from, call.patience).await;
        let low = subscribed.map_err(|why| self.refused(why))?.map_err(status::of_subscribe)?;
        self.stream(move |service, replies| async move {
            match service.pump_pending(low, pending, &replies).await {
                Ok(never) => match never {},
                Err(why) => why,
            }
        })
    }

    pub(super) async fn stop(&self, subscriber: String, position: u64, call: Call) -> Result<(), Status> {
        let stopped = self.replica().acknowledge(subscriber, position, call.patience).await;
        stopped.map_err(|why| self.refused(why))?.map_err(status::of_acknowledge)
    }

    pub(super) async fn forget(&self, subscriber: String, call: Call) -> Result<(), Status> {
        let forgotten = self.replica().unsubscribe(subscriber, call.patience).await;
        forgotten.map_err(|why| self.refused(why))?.map_err(status::of_unsubscribe)
    }

    /// Sends what a subscriber has pending, again and again, until that is not possible any more.
    async fn pump_pending(
        &self,
        low: u64,
        mut pending: watch::Receiver<Pending>,
        replies: &Replies,
    ) -> Result<Infallible, Status> {
        let mirror = self.replica().mirror();
        let at = |position| Cursor { log: mirror.log(), position };
        replies.send(Ok(begun(Token::Ordered(at(low))))).await.map_err(gone)?;
        let mut context = Context::default();
        let mut halted = mirror.changed();
        // When each was told; no more than what is pending.
        let mut told: BTreeMap<u64, Instant> = BTreeMap::new();
        loop {
            let positions = match &*pending.borrow_and_update() {
                Ok(positions) => positions.clone(),
                Err(fell_off) => return Err(Status::out_of_range(fell_off.to_string())),
            };
            told.retain(|position, _| positions.binary_search(position).is_ok());
            for position in positions {
                if told.get(&position).is_some_and(|when| when.elapsed() < AGAIN) {
                    continue;
                }
                // One that is trimmed by now has fallen off, and the next word says so.
                let Some(record) = mirror.record(position) else { continue };
                let mut reply = self.told(position, record, at(position + 1));
                gather(&mut context, &mut reply);
                replies.send(Ok(reply)).await.map_err(gone)?;
                told.insert(position, Instant::now());
            }
            loop {
                tokio::select! {
                    news = pending.changed() => {
                        news.map_err(|_| self.refused(Refused::Halted))?;
                        break;
                    }
                    news = halted.changed() => if news.is_err() || mirror.halted() {
                        return Err(self.refused(Refused::Halted));
                    },
                }
            }
        }
    }
}
