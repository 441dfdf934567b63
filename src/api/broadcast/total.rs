//! Topics in total order.

use super::token::Token;
use super::{Replies, Start, begun, gone};
use crate::api::call::Call;
use crate::api::ledger::unexpected;
use crate::api::service::Service;
use crate::api::{Refused, Replica, status};
use crate::broadcast::{Publication, PublicationError, Publisher};
use crate::ledger::{Command, Error, Response as Done, View};
use crate::proto::kvorum::v1::{Delivery, PublishReply, SubscribeReply, subscribe_reply::What};
use bytes::Bytes;
use std::convert::Infallible;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Publications that a subscriber holds at a time, at most.
const ENTRIES: usize = 64;
/// Their bytes, but for the first.
const BYTES: usize = 1 << 20;

impl<R: Replica> Service<R> {
    pub(super) async fn publish_total(
        &self,
        topic: String,
        payload: Bytes,
        publisher: Option<u64>,
        sequence: u64,
        call: Call,
    ) -> Result<PublishReply, Status> {
        if publisher.is_some() && sequence == 0 {
            return Err(Status::invalid_argument("kvorum: a publisher counts its publications from 1"));
        }
        let publisher = publisher.map(|id| Publisher { id, seq: sequence });
        match self.ledger(Command::Publish { topic, publisher, payload }, call).await? {
            Done::Published(position) => Ok(PublishReply { position, ..Default::default() }),
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn subscribe_total(
        &self,
        topic: String,
        start: Start,
        call: Call,
    ) -> Result<Response<ReceiverStream<Result<SubscribeReply, Status>>>, Status> {
        // A view that has everything anybody was told of: else a cursor of another replica might
        // seem to lie ahead.
        let begin = |view: &View| {
            let cursor = match start {
                Start::Oldest => view.oldest(&topic),
                Start::Now => view.end(),
                Start::After(Token::Total(cursor)) => cursor,
                Start::After(Token::Ordered(_)) => return Some(Err(Token::mismatched())),
            };
            Some(view.read(&topic, cursor, 1, 0).map(|_| cursor).map_err(refused))
        };
        let cursor = self.find(false, call, begin).await?.ok_or_else(|| self.refused(Refused::Halted))??;
        self.stream(|service, replies| async move {
            match service.pump_total(&topic, cursor, &replies).await {
                Ok(never) => match never {},
                Err(why) => why,
            }
        })
    }

    /// Sends what is published from a cursor on, until that is not possible any more.
    async fn pump_total(
        &self,
        topic: &str,
        mut cursor: u64,
        replies: &Replies,
    ) -> Result<Infallible, Status> {
        let mut changed = self.replica().ledger_changed();
        replies.send(Ok(begun(Token::Total(cursor)))).await.map_err(gone)?;
        loop {
            let view = self.replica().ledger();
            let read = view.map(|view| view.read(topic, cursor, ENTRIES, BYTES));
            let read = read.ok_or_else(|| self.refused(Refused::Halted))?.map_err(refused)?;
            if read.is_empty() {
                changed.changed().await.map_err(|_| self.refused(Refused::Halted))?;
            }
            for publication in read {
                cursor = publication.position + 1;
                replies.send(Ok(told(publication))).await.map_err(gone)?;
            }
        }
    }
}

/// A publication, on the wire.
pub(super) fn told(Publication { position, payload }: Publication) -> SubscribeReply {
    let delivery = Delivery { payload, position, ..Default::default() };
    let cursor = Token::Total(position + 1).bytes();
    SubscribeReply { what: Some(What::Delivery(delivery)), cursor }
}

fn refused(why: PublicationError) -> Status {
    status::of_ledger(Error::Publication(why))
}
