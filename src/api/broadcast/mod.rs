//! Service `kvorum.v1.Broadcast`: topics in total order, which are the ledger's, and the others.

mod ordered;
mod received;
mod redelivered;
mod token;
mod total;

use self::token::Token;
use super::Replica;
use super::ledger::unexpected;
use super::service::{Service, follow, reply};
use crate::broadcast as core;
use crate::kernel::MAX_NAME;
use crate::ledger::{Command, Response as Done};
use crate::proto::kvorum::v1::broadcast_server::Broadcast;
use crate::proto::kvorum::v1::subscribe_request::From as Asked;
use crate::proto::kvorum::v1::{
    self as pb, AcknowledgeReply, AcknowledgeRequest, OpenPublisherReply, OpenPublisherRequest, PublishReply,
    PublishRequest, ReceiveRequest, SubscribeReply, SubscribeRequest, UnsubscribeReply, UnsubscribeRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// A topic of either kind.
enum Topic {
    /// In total order: the ledger's.
    Total(String),
    /// In another.
    Ordered(core::Topic),
}

/// Where a subscription begins.
enum Start {
    Oldest,
    Now,
    After(Token),
}

/// Where replies to a subscriber go: it takes one, and one or a few wait. A subscriber that is slow holds up
/// no one but itself.
type Replies = mpsc::Sender<Result<SubscribeReply, Status>>;

#[tonic::async_trait]
impl<R: Replica> Broadcast for Service<R> {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishReply>, Status> {
        let call = self.call(&request)?;
        self.has_room()?;
        let PublishRequest { topic, payload, contexts, publisher, sequence } = request.into_inner();
        reply(match Topic::read(topic)? {
            Topic::Total(topic) => self.publish_total(topic, payload, publisher, sequence, call).await?,
            Topic::Ordered(topic) => self.publish_ordered(topic, payload, &contexts, call).await?,
        })
    }

    async fn open_publisher(
        &self,
        request: Request<OpenPublisherRequest>,
    ) -> Result<Response<OpenPublisherReply>, Status> {
        let call = self.call(&request)?;
        match self.ledger(Command::OpenPublisher, call).await? {
            Done::PublisherOpened(publisher) => reply(OpenPublisherReply { publisher }),
            other => Err(unexpected(other)),
        }
    }

    type SubscribeStream = ReceiverStream<Result<SubscribeReply, Status>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let call = self.call(&request)?;
        let SubscribeRequest { topic, from, context } = request.into_inner();
        let start = match from {
            Some(Asked::Oldest(true)) => Start::Oldest,
            Some(Asked::Cursor(token)) => Start::After(Token::read(&token)?),
            Some(Asked::Oldest(false) | Asked::Now(_)) | None => Start::Now,
        };
        match Topic::read(topic)? {
            Topic::Total(topic) => self.subscribe_total(topic, start, call).await,
            Topic::Ordered(topic) => self.subscribe_ordered(topic, start, &context),
        }
    }

    type ReceiveStream = ReceiverStream<Result<SubscribeReply, Status>>;

    async fn receive(
        &self,
        request: Request<ReceiveRequest>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        let call = self.call(&request)?;
        let ReceiveRequest { topic, subscriber, oldest } = request.into_inner();
        match Topic::read(topic)? {
            Topic::Total(topic) => self.receive_total(topic, subscriber, oldest, call).await,
            Topic::Ordered(topic) => self.redeliver(topic, subscriber, oldest, call).await,
        }
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeReply>, Status> {
        let call = self.call(&request)?;
        let request = request.into_inner();
        let total = request.guarantee() == pb::Guarantee::Total;
        let AcknowledgeRequest { subscriber, position, .. } = request;
        match total {
            true => self.stop_total(subscriber, position, call).await?,
            false => self.stop(subscriber, position, call).await?,
        }
        reply(AcknowledgeReply {})
    }

    async fn unsubscribe(
        &self,
        request: Request<UnsubscribeRequest>,
    ) -> Result<Response<UnsubscribeReply>, Status> {
        let call = self.call(&request)?;
        let request = request.into_inner();
        match request.guarantee() {
            pb::Guarantee::Total => self.forget_total(request.subscriber, call).await?,
            pb::Guarantee::BestEffort
            | pb::Guarantee::Reliable
            | pb::Guarantee::Fifo
            | pb::Guarantee::Causal
            | pb::Guarantee::Unspecified => self.forget(request.subscriber, call).await?,
        }
        reply(UnsubscribeReply {})
    }
}

impl Topic {
    fn read(topic: Option<pb::Topic>) -> Result<Self, Status> {
        let topic = topic.ok_or_else(|| Status::invalid_argument("kvorum: the topic is missing"))?;
        let guarantee = match topic.guarantee() {
            pb::Guarantee::Total => {
                named(&topic.name, MAX_NAME)?;
                return Ok(Self::Total(topic.name));
            }
            pb::Guarantee::BestEffort => core::Guarantee::BestEffort,
            pb::Guarantee::Reliable => core::Guarantee::Reliable,
            pb::Guarantee::Fifo => core::Guarantee::Fifo,
            pb::Guarantee::Causal => core::Guarantee::Causal,
            pb::Guarantee::Unspecified => {
                return Err(Status::invalid_argument("kvorum: the guarantee of the topic is missing"));
            }
        };
        named(&topic.name, core::MAX_NAME)?;
        Ok(Self::Ordered(core::Topic { guarantee, name: topic.name }))
    }
}

/// Nobody can publish to a topic of another name: who waits for it would wait for ever.
fn named(topic: &str, limit: usize) -> Result<(), Status> {
    match topic.len() {
        len if (1..=limit).contains(&len) => Ok(()),
        len => Err(Status::invalid_argument(format!(
            "kvorum: the name of such a topic has 1 to {limit} bytes, and this one has {len}"
        ))),
    }
}

impl<R: Replica> Service<R> {
    /// A stream of what `pump` sends, until it says why it ends, or the subscriber leaves.
    fn stream<F: Future<Output = Status> + Send + 'static>(
        &self,
        pump: impl FnOnce(Self, Replies) -> F,
    ) -> Result<Response<ReceiverStream<Result<SubscribeReply, Status>>>, Status> {
        self.stream_of(1, pump)
    }

    /// The same, where so many replies may be on their way.
    fn stream_of<F: Future<Output = Status> + Send + 'static>(
        &self,
        replies: usize,
        pump: impl FnOnce(Self, Replies) -> F,
    ) -> Result<Response<ReceiverStream<Result<SubscribeReply, Status>>>, Status> {
        let subscriber = self.subscriber()?;
        let (send, receive) = mpsc::channel(replies);
        let pump = pump(self.clone(), send.clone());
        tokio::spawn(async move {
            let _subscriber = subscriber;
            tokio::select! {
                () = send.closed() => {}
                why = pump => {
                    let _ = send.send(Err(why)).await; // who listened may have gone
                }
            }
        });
        follow(receive)
    }
}

/// The reply that says where a subscription begins.
fn begun(token: Token) -> SubscribeReply {
    SubscribeReply { what: Some(pb::subscribe_reply::What::Begun(pb::Begun {})), cursor: token.bytes() }
}

/// The end of a pump whose subscriber has left: said to nobody.
fn gone<T>(_: T) -> Status {
    Status::cancelled("kvorum: the subscriber has left")
}
