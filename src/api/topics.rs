//! What the services ask of the topics of a replica that are not in total order.

use super::{Mirror, Refused};
use crate::broadcast::{
    AcknowledgeError, Context, PublishError, Published, SubscribeError, Topic, UnknownSubscriber,
};
use bytes::Bytes;
use std::future::Future;
use std::time::Duration;

/// The topics of a replica. Every method answers after `patience` at the latest.
///
/// # Errors
/// [`Refused`], of every method, when the replica cannot take the request; what it answers stands
/// within.
pub trait Topics {
    /// Publishes a message. Dropped, it may be delivered all the same.
    fn publish(
        &self,
        topic: Topic,
        context: Context,
        payload: Bytes,
        patience: Duration,
    ) -> impl Future<Output = Result<Result<Published, PublishError>, Refused>> + Send;

    /// Has the deliveries of a topic told to a subscriber until it acknowledges them: what is pending
    /// is told through the [`Mirror`]. One that is new begins at `from`, or with the next delivery.
    fn subscribe(
        &self,
        subscriber: String,
        topic: Topic,
        from: Option<u64>,
        patience: Duration,
    ) -> impl Future<Output = Result<Result<u64, SubscribeError>, Refused>> + Send;

    /// A subscriber has processed the delivery at a position. Safe to repeat.
    fn acknowledge(
        &self,
        subscriber: String,
        position: u64,
        patience: Duration,
    ) -> impl Future<Output = Result<Result<(), AcknowledgeError>, Refused>> + Send;

    /// Forgets a subscriber.
    fn unsubscribe(
        &self,
        subscriber: String,
        patience: Duration,
    ) -> impl Future<Output = Result<Result<(), UnknownSubscriber>, Refused>> + Send;

    /// What has been delivered.
    fn mirror(&self) -> &Mirror;
}
