//! Topics in other orders than the total one, read with a cursor.

use super::token::Token;
use super::{Replies, Start, begun, gone};
use crate::api::call::Call;
use crate::api::service::Service;
use crate::api::{Refused, Replica, status};
use crate::broadcast::{Context, Cursor, CursorError, Guarantee, Record, Topic};
use crate::proto::kvorum::v1::subscribe_reply::What;
use crate::proto::kvorum::v1::{Delivery, Gap, PublishReply, SubscribeReply};
use bytes::Bytes;
use std::convert::Infallible;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Records that a subscriber holds at a time, at most.
const ENTRIES: usize = 64;
/// Their bytes, but for the first.
const BYTES: usize = 1 << 20;

impl<R: Replica> Service<R> {
    pub(super) async fn publish_ordered(
        &self,
        topic: Topic,
        payload: Bytes,
        contexts: &[Bytes],
        call: Call,
    ) -> Result<PublishReply, Status> {
        let mut context = Context::default();
        for token in contexts {
            context.merge(&read_context(token)?);
        }
        let published = self.replica().publish(topic, context, payload, call.patience).await;
        let published = published.map_err(|why| self.refused(why))?.map_err(status::of_publish)?;
        Ok(PublishReply {
            context: published.context.token(),
            position: 0,
            origin: self.id_of(published.id.origin),
            sequence: published.id.seq,
        })
    }

    pub(super) fn subscribe_ordered(
        &self,
        topic: Topic,
        start: Start,
        context: &[u8],
    ) -> Result<Response<ReceiverStream<Result<SubscribeReply, Status>>>, Status> {
        let context = read_context(context)?;
        let mirror = self.replica().mirror();
        let (log, kept) = (mirror.log(), mirror.range());
        let cursor = match start {
            Start::Oldest => Cursor { log, position: kept.start },
            Start::Now => Cursor { log, position: kept.end },
            Start::After(Token::Ordered(cursor)) => cursor,
            Start::After(Token::Total(_)) => return Err(Token::mismatched()),
        };
        cursor.check(log, kept.start, kept.end).map_err(refused)?;
        self.stream(|service, replies| async move {
            match service.pump_ordered(&topic, cursor, context, &replies).await {
                Ok(never) => match never {},
                Err(why) => why,
            }
        })
    }

    /// Sends what is delivered from a cursor on, until that is not possible any more.
    async fn pump_ordered(
        &self,
        topic: &Topic,
        mut cursor: Cursor,
        mut context: Context,
        replies: &Replies,
    ) -> Result<Infallible, Status> {
        let mirror = self.replica().mirror();
        let mut changed = mirror.changed();
        replies.send(Ok(begun(Token::Ordered(cursor)))).await.map_err(gone)?;
        loop {
            if mirror.halted() {
                return Err(self.refused(Refused::Halted));
            }
            let read = mirror.read(topic, cursor, ENTRIES, BYTES).map_err(refused)?;
            for (position, record) in read.records {
                let next = Cursor { position: position + 1, ..cursor };
                let mut reply = self.told(position, record, next);
                if topic.guarantee == Guarantee::Causal {
                    gather(&mut context, &mut reply);
                }
                replies.send(Ok(reply)).await.map_err(gone)?;
            }
            let more = read.next > cursor.position;
            cursor.position = read.next;
            if !more {
                changed.changed().await.map_err(|_| self.refused(Refused::Halted))?;
            }
        }
    }

    /// A record, on the wire.
    pub(super) fn told(&self, position: u64, record: Record, next: Cursor) -> SubscribeReply {
        let what = match record {
            Record::Delivery(delivery) => What::Delivery(Delivery {
                payload: delivery.payload,
                position,
                context: delivery.context.token(),
                origin: self.id_of(delivery.id.origin),
                sequence: delivery.id.seq,
            }),
            Record::Gap { origin, from, to } => What::Gap(Gap { origin: self.id_of(origin), from, to }),
        };
        SubscribeReply { what: Some(what), cursor: Token::Ordered(next).bytes() }
    }
}

/// Has a delivery's context hold everything that was delivered before it in the same stream.
pub(super) fn gather(context: &mut Context, reply: &mut SubscribeReply) {
    if let Some(What::Delivery(delivery)) = &mut reply.what
        && let Ok(own) = Context::from_token(&delivery.context)
    {
        context.merge(&own);
        delivery.context = context.token();
    }
}

fn read_context(token: &[u8]) -> Result<Context, Status> {
    Context::from_token(token).map_err(|why| Status::invalid_argument(why.to_string()))
}

pub(super) fn refused(why: CursorError) -> Status {
    match why {
        CursorError::FellOff(_) | CursorError::Ahead { .. } => Status::out_of_range(why.to_string()),
        // It may be that of another replica, which the client has yet to ask.
        CursorError::OtherLog { .. } => status::not_executed(Status::failed_precondition(why.to_string())),
    }
}
