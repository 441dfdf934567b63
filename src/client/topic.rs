//! Topics: publish with a chosen guarantee.

use std::future::IntoFuture;

use bytes::Bytes;
use tokio::{sync::Mutex, time::timeout};
use tonic::Code;

use super::{Call, Client, Error, Fate, Receiver, Start, Subscription};
use crate::proto::kvorum::v1::{self as pb, OpenPublisherRequest, PublishRequest, UnsubscribeRequest};

/// What is promised of the messages of a topic. All but the first are *uniform*: what any replica
/// delivers, all deliver that are not down for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guarantee {
    /// Delivered if the replica that took it stays up, or comes back.
    BestEffort,
    /// Uniform, in any order.
    Reliable,
    /// Uniform, and in the order in which each replica took its messages.
    Fifo,
    /// Uniform, and after everything that the publisher knew of: see [`Publish::after`].
    Causal,
    /// Uniform, and in the same order at every replica.
    Total,
}

/// A topic: a name together with a guarantee. It comes into being when it is first used.
///
/// ```no_run
/// # async fn example(client: kvorum::Client) -> Result<(), kvorum::client::Error> {
/// use kvorum::client::{Guarantee, Start};
///
/// let chat = client.topic("chat", Guarantee::Causal);
/// let mut subscription = chat.subscribe(Start::Oldest);
/// let question = subscription.next().await?;
/// // Nobody sees the answer without the question.
/// chat.publish("forty-two").after(&question.context).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Topic {
    client: Client,
    topic: pb::Topic,
}

/// What a program knows of, in causal order: an opaque token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context(pub Bytes);

/// A publication under way. Await it, or say first what it follows.
#[derive(Debug, Clone)]
#[must_use = "nothing is published until it is awaited"]
pub struct Publish {
    client: Client,
    request: PublishRequest,
}

/// A message was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// In causal order: what it follows, and itself.
    pub context: Context,
    /// In total order: its place in the order of all total-order topics; 0 in others.
    pub position: u64,
    /// In other orders: id of the member that took it.
    pub origin: u64,
    /// In other orders: its number there.
    pub sequence: u64,
}

/// Numbers the publications in total order, so that repeating one publishes once.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    id: Option<u64>,
    last: u64,
}

impl Client {
    /// A topic.
    pub fn topic(&self, name: impl Into<String>, guarantee: Guarantee) -> Topic {
        let guarantee = match guarantee {
            Guarantee::BestEffort => pb::Guarantee::BestEffort,
            Guarantee::Reliable => pb::Guarantee::Reliable,
            Guarantee::Fifo => pb::Guarantee::Fifo,
            Guarantee::Causal => pb::Guarantee::Causal,
            Guarantee::Total => pb::Guarantee::Total,
        };
        Topic { client: self.clone(), topic: pb::Topic { guarantee: guarantee.into(), name: name.into() } }
    }
}

impl Topic {
    /// Publishes a message: returns when it is sure to be delivered.
    pub fn publish(&self, payload: impl Into<Bytes>) -> Publish {
        let request =
            PublishRequest { topic: Some(self.topic.clone()), payload: payload.into(), ..Default::default() };
        Publish { client: self.client.clone(), request }
    }

    /// Deliveries, from a point on. The program keeps the cursor.
    pub fn subscribe(&self, start: Start) -> Subscription {
        Subscription::new(self.client.clone(), self.topic.clone(), start)
    }

    /// Deliveries, each until it is acknowledged. The replica keeps where the subscriber is; in total
    /// order, the cluster does.
    pub fn receive(&self, subscriber: impl Into<String>) -> Receiver {
        Receiver::new(&self.client, self.topic.clone(), subscriber.into())
    }

    /// Forgets a subscriber of [`receive`](Self::receive): of the replica that is asked; in total
    /// order, of the cluster.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is none; any more, if an earlier attempt of this call forgot it and its
    /// answer was lost.
    pub async fn unsubscribe(&self, subscriber: impl Into<String>) -> Result<(), Error> {
        let request = UnsubscribeRequest { subscriber: subscriber.into(), guarantee: self.topic.guarantee };
        self.client.settle(request).await.map(drop)
    }
}

impl Publish {
    /// In causal order: the message is delivered after everything that this context knows of. Give
    /// the context of the last delivery of each subscription, and of the last publication.
    pub fn after(mut self, context: &Context) -> Self {
        if !context.0.is_empty() {
            self.request.contexts.push(context.0.clone());
        }
        self
    }

    async fn send(self) -> Result<Published, Error> {
        let total = self.request.topic.as_ref().is_some_and(|t| t.guarantee() == pb::Guarantee::Total);
        let reply = match total {
            true => self.send_numbered().await?,
            false => self.client.once(self.request).await?,
        };
        let pb::PublishReply { context, position, origin, sequence } = reply;
        Ok(Published { context: Context(context), position, origin, sequence })
    }

    /// One after the other, each with the next number. One that is given up leaves its number
    /// unused, and a copy that is still on its way is refused once a later one is published.
    async fn send_numbered(mut self) -> Result<pb::PublishReply, Error> {
        let deadline = self.client.settings.deadline;
        let locked = timeout(deadline, self.client.publisher.lock()).await;
        let mut publisher = locked.map_err(|_| Error::Unavailable {
            endpoint: "this client".into(),
            message: "waiting for earlier publications to be answered".into(),
            after: deadline,
        })?;
        loop {
            let fresh = publisher.id.is_none();
            let id = match publisher.id {
                Some(id) => id,
                None => {
                    let id = self.client.read(OpenPublisherRequest {}).await?.publisher;
                    *publisher = Publisher { id: Some(id), last: 0 };
                    id
                }
            };
            publisher.last += 1;
            (self.request.publisher, self.request.sequence) = (Some(id), publisher.last);
            match self.client.repeat(self.request.clone()).await {
                // The replicas have forgotten the publisher.
                Err(Error::Refused { code: Code::NotFound, fate, .. }) => {
                    publisher.id = None;
                    if fresh || fate == Fate::Unknown {
                        return Err(Error::SessionExpired);
                    }
                }
                other => return other,
            }
        }
    }
}

impl IntoFuture for Publish {
    type Output = Result<Published, Error>;
    type IntoFuture = Call<Published>;

    /// # Errors
    /// The fate of the message is unknown where its answer is lost, since another copy may have been
    /// published meanwhile; except in total order, where it is repeated with its number.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

pub(super) type SharedPublisher = Mutex<Publisher>;
