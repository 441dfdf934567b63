//! The handle's part for topics in other orders than the total one, and what the core hands on of
//! their deliveries.

use super::core::ticks;
use super::error::Refused;
use super::handle::Handle;
use super::shared::{Answer, Ask};
use crate::api::{self, Mirror};
use crate::broadcast::{
    AcknowledgeError, Context, PublishError, Published, SubscribeError, Topic, TopicIndication, TopicRequest,
    UnknownSubscriber,
};
use crate::stack::RequestId;
use bytes::Bytes;
use std::time::Duration;

impl Handle {
    /// Publishes a message: returns when it is delivered here, and so will be everywhere; in best
    /// effort, when it is stored here. Dropped, it may be delivered all the same.
    ///
    /// # Errors
    /// [`Refused`] when the node cannot take it; else what the topics say.
    pub async fn publish(
        &self,
        topic: Topic,
        context: Context,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Result<Published, PublishError>, Refused> {
        let patience = ticks(deadline);
        let publish = |request| TopicRequest::Publish { request, topic, context, payload, patience };
        match self.ask_topics(publish, deadline).await? {
            TopicIndication::Published { outcome, .. } => Ok(outcome),
            other => unreachable!("a publication is answered by {other:?}"),
        }
    }

    /// Has the deliveries of a topic told to a subscriber until it acknowledges them, through the
    /// [`Mirror`]. Returns the first position that it has not acknowledged.
    ///
    /// # Errors
    /// [`Refused`] when the node cannot take it; else what the topics say.
    pub async fn subscribe(
        &self,
        subscriber: String,
        topic: Topic,
        from: Option<u64>,
        deadline: Duration,
    ) -> Result<Result<u64, SubscribeError>, Refused> {
        let subscribe = |request| TopicRequest::Subscribe { request, subscriber, topic, from };
        match self.ask_topics(subscribe, deadline).await? {
            TopicIndication::Subscribed { outcome, .. } => Ok(outcome),
            other => unreachable!("a subscription is answered by {other:?}"),
        }
    }

    /// A subscriber has processed the delivery at a position: it is not told again. Safe to repeat.
    ///
    /// # Errors
    /// [`Refused`] when the node cannot take it; else what the topics say.
    pub async fn acknowledge_delivery(
        &self,
        subscriber: String,
        position: u64,
        deadline: Duration,
    ) -> Result<Result<(), AcknowledgeError>, Refused> {
        let acknowledge = |request| TopicRequest::Acknowledge { request, subscriber, position };
        match self.ask_topics(acknowledge, deadline).await? {
            TopicIndication::Acknowledged { outcome, .. } => Ok(outcome),
            other => unreachable!("an acknowledgement is answered by {other:?}"),
        }
    }

    /// Forgets a subscriber of [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    /// [`Refused`] when the node cannot take it; else that there is none.
    pub async fn unsubscribe(
        &self,
        subscriber: String,
        deadline: Duration,
    ) -> Result<Result<(), UnknownSubscriber>, Refused> {
        let unsubscribe = |request| TopicRequest::Unsubscribe { request, subscriber };
        match self.ask_topics(unsubscribe, deadline).await? {
            TopicIndication::Unsubscribed { outcome, .. } => Ok(outcome),
            other => unreachable!("the end of a subscription is answered by {other:?}"),
        }
    }

    /// What the topics have delivered here, from the oldest that is kept.
    pub fn mirror(&self) -> &Mirror {
        &self.inner.requests.shared.mirror
    }

    async fn ask_topics(
        &self,
        ask: impl FnOnce(RequestId) -> TopicRequest,
        deadline: Duration,
    ) -> Result<TopicIndication, Refused> {
        let requests = &self.inner.requests;
        let request = requests.next();
        match requests.ask_as(request, Ask::Topics(ask(request)), deadline).await? {
            Answer::Topics(told) => Ok(told),
            Answer::Reply(_) | Answer::Readable | Answer::Returned(_) => {
                unreachable!("the topics were asked")
            }
        }
    }
}

impl api::Topics for Handle {
    async fn publish(
        &self,
        topic: Topic,
        context: Context,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Result<Published, PublishError>, api::Refused> {
        Ok(Handle::publish(self, topic, context, payload, patience).await?)
    }

    async fn subscribe(
        &self,
        subscriber: String,
        topic: Topic,
        from: Option<u64>,
        patience: Duration,
    ) -> Result<Result<u64, SubscribeError>, api::Refused> {
        Ok(Handle::subscribe(self, subscriber, topic, from, patience).await?)
    }

    async fn acknowledge(
        &self,
        subscriber: String,
        position: u64,
        patience: Duration,
    ) -> Result<Result<(), AcknowledgeError>, api::Refused> {
        Ok(Handle::acknowledge_delivery(self, subscriber, position, patience).await?)
    }

    async fn unsubscribe(
        &self,
        subscriber: String,
        patience: Duration,
    ) -> Result<Result<(), UnknownSubscriber>, api::Refused> {
        Ok(Handle::unsubscribe(self, subscriber, patience).await?)
    }

    fn mirror(&self) -> &Mirror {
        Handle::mirror(self)
    }
}
