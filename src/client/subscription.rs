//! Subscriptions: with a cursor that the program keeps, or acknowledged.

use std::sync::Arc;

use bytes::Bytes;

use super::{Client, Context, Error, stream::Stream};
use crate::proto::kvorum::v1::{
    self as pb, AcknowledgeRequest, ReceiveRequest, SubscribeReply, SubscribeRequest, subscribe_reply::What,
    subscribe_request::From,
};

/// Where a subscriber stands, after a delivery: opaque bytes, to be stored with its effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor(pub Bytes);

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is kept.
    Oldest,
    /// With what is delivered from now on.
    Now,
    /// After the delivery that had this cursor.
    After(Cursor),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What was published.
    pub payload: Bytes,
    /// Its place in the order of deliveries: of the replica, or in total order of all.
    pub position: u64,
    /// Where the subscriber stands after it.
    pub cursor: Cursor,
    /// In causal order: everything that this subscription has delivered so far.
    pub context: Context,
    /// Id of the member that took it; 0 in total order.
    pub origin: u64,
    /// Its number there; 0 in total order.
    pub sequence: u64,
}

impl Delivery {
    /// The message as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }
}

/// The deliveries of a topic, from a point on.
///
/// Whoever stores the cursor of a delivery together with its effect goes on, after a crash, exactly
/// where it was: nothing is missed and nothing is done twice. In total order a cursor holds at every
/// replica; in the others it belongs to one, to which the subscription returns.
#[derive(Debug)]
pub struct Subscription {
    stream: Stream<SubscribeRequest>,
}

impl Subscription {
    pub(super) fn new(client: Client, topic: pb::Topic, start: Start) -> Self {
        let from = match start {
            Start::Oldest => From::Oldest(true),
            Start::Now => From::Now(true),
            Start::After(cursor) => From::Cursor(cursor.0),
        };
        let request = SubscribeRequest { topic: Some(topic), from: Some(from), context: Bytes::new() };
        Self { stream: Stream::new(client, request) }
    }

    /// The next delivery. Waits for it, and goes on where it was when the connection or the replica
    /// fails.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` if the cursor fell off: what it points at is not kept any more.
    /// [`Error::Gap`], or [`Error::Unavailable`] if the replica cannot be reached for as long as the
    /// client's deadline: call again to go on.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            let reply = self.stream.next().await?;
            let request = &mut self.stream.request;
            request.from = Some(From::Cursor(reply.cursor.clone()));
            if let Some(delivery) = delivery(reply)? {
                request.context = delivery.context.0.clone();
                return Ok(delivery);
            }
        }
    }

    /// Where it stands: what comes next comes after this. Nothing before the first delivery, unless
    /// it began with a cursor.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.stream.request.from {
            Some(From::Cursor(cursor)) => Some(Cursor(cursor.clone())),
            Some(From::Oldest(_) | From::Now(_)) | None => None,
        }
    }
}

/// The deliveries of a topic, again and again until they are acknowledged, across crashes of this
/// program and of the replica: for programs that cannot store a cursor with the effect. They may see
/// a message more than once.
///
/// A subscriber of a total-order topic is the cluster's: it goes on at whatever replica answers. One of
/// the others is known to the replica where it began. Its receiver stays with the endpoint that the
/// client asks when it is made; a program that is started again connects to the same one.
#[derive(Debug)]
pub struct Receiver {
    stream: Stream<ReceiveRequest>,
}

impl Receiver {
    pub(super) fn new(client: &Client, topic: pb::Topic, subscriber: String) -> Self {
        let mut client = client.clone();
        if topic.guarantee() != pb::Guarantee::Total {
            client.pool = Arc::new(client.pool.only());
        }
        let request = ReceiveRequest { topic: Some(topic), subscriber, oldest: false };
        Self { stream: Stream::new(client, request) }
    }

    /// Begins with the oldest message that is kept, where the subscriber is new, or fell off: not with
    /// the next.
    pub fn from_oldest(mut self) -> Self {
        self.stream.request.oldest = true;
        self
    }

    /// The next delivery that is not acknowledged. Waits for it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Subscription::next`]: a subscriber that fell off goes on with [`from_oldest`](Self::from_oldest)
    /// of another receiver. `FAILED_PRECONDITION` for a subscriber of another topic.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            let reply = self.stream.next().await?;
            // It is there now. If it falls off later, it is to be told, and not to go on in silence.
            self.stream.request.oldest = false;
            if let Some(delivery) = delivery(reply)? {
                return Ok(delivery);
            }
        }
    }

    /// The delivery is processed: it does not come again. Safe to repeat.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` for what was never delivered.
    pub async fn acknowledge(&self, delivery: &Delivery) -> Result<(), Error> {
        let ReceiveRequest { topic, subscriber, .. } = &self.stream.request;
        let guarantee = topic.as_ref().map_or_else(Default::default, |topic| topic.guarantee);
        let (subscriber, position) = (subscriber.clone(), delivery.position);
        let request = AcknowledgeRequest { subscriber, position, guarantee };
        self.stream.client().settle(request).await.map(drop)
    }
}

fn delivery(reply: SubscribeReply) -> Result<Option<Delivery>, Error> {
    let SubscribeReply { what, cursor } = reply;
    match what {
        Some(What::Delivery(pb::Delivery { payload, position, context, origin, sequence })) => {
            let (cursor, context) = (Cursor(cursor), Context(context));
            Ok(Some(Delivery { payload, position, cursor, context, origin, sequence }))
        }
        Some(What::Gap(pb::Gap { origin, from, to })) => {
            Err(Error::Gap { origin, from, last: to.saturating_sub(1) })
        }
        Some(What::Begun(pb::Begun {})) | None => Ok(None),
    }
}
