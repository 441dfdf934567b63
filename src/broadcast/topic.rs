//! What programs ask of topics, and what they are told.

use super::causal::Context;
use super::cursor::FellOff;
use super::deliveries::Record;
use super::message::{MAX_NAME, MessageId, Topic};
use crate::kernel::Ticks;
use bytes::Bytes;
use thiserror::Error;

/// What is asked of the topics of one process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicRequest {
    /// Publish: answered by one [`TopicIndication::Published`].
    Publish {
        /// The request.
        request: u64,
        /// Where to; created on first use.
        topic: Topic,
        /// What the publisher knows of, in causal order: the message is delivered after all of that.
        context: Context,
        /// The message.
        payload: Bytes,
        /// Ticks until the request is given up.
        patience: Ticks,
    },
    /// Have the deliveries of a topic delivered again and again until they are acknowledged, across
    /// crashes: answered by one [`TopicIndication::Subscribed`].
    Subscribe {
        /// The request.
        request: u64,
        /// The subscriber's name. One that exists stays where it is; one that fell off has to say
        /// where it goes on.
        subscriber: String,
        /// Of which topic.
        topic: Topic,
        /// The first position that is wanted of a new subscriber; none is from now on.
        from: Option<u64>,
    },
    /// A delivery is processed, and need not be delivered to this subscriber again: answered by one
    /// [`TopicIndication::Acknowledged`].
    Acknowledge {
        /// The request.
        request: u64,
        /// The subscriber.
        subscriber: String,
        /// The position of the delivery.
        position: u64,
    },
    /// Forget a subscriber: answered by one [`TopicIndication::Unsubscribed`].
    Unsubscribe {
        /// The request.
        request: u64,
        /// The subscriber.
        subscriber: String,
    },
}

/// What the layer above is told of topics, once it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicIndication {
    /// Confirm: the message is delivered here, and will be everywhere; in best effort, it is stored
    /// here and will be.
    Published {
        /// The request.
        request: u64,
        /// What came of it.
        outcome: Result<Published, PublishError>,
    },
    /// The delivery log got longer. After a recovery the first of these repeats all that is kept.
    Delivered {
        /// The position of the first of `records`.
        first: u64,
        /// What was delivered, of all topics.
        records: Vec<Record>,
        /// The first position that is still kept.
        kept: u64,
    },
    /// The subscriber is there.
    Subscribed {
        /// The request.
        request: u64,
        /// The first position that it has not acknowledged.
        outcome: Result<u64, SubscribeError>,
    },
    /// These positions wait for their acknowledgement, in order; said again and again.
    Redelivered {
        /// The subscriber.
        subscriber: String,
        /// The positions, or why there are none: nothing more is delivered to a subscriber that fell
        /// off, until it subscribes again.
        outcome: Result<Vec<u64>, FellOff>,
    },
    /// The acknowledgement is stored: no delivery at this position follows, in any incarnation.
    Acknowledged {
        /// The request.
        request: u64,
        /// What came of it.
        outcome: Result<(), AcknowledgeError>,
    },
    /// The subscriber is forgotten.
    Unsubscribed {
        /// The request.
        request: u64,
        /// Whether there was one.
        outcome: Result<(), UnknownSubscriber>,
    },
}

/// A message was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its name.
    pub id: MessageId,
    /// In causal order: its causal past, and itself.
    pub context: Context,
}

/// Why nothing was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PublishError {
    /// The name is empty or too long.
    #[error("kvorum: a topic's name has 1 to {MAX_NAME} bytes")]
    Name,
    /// The message is too long.
    #[error("kvorum: a message has at most {limit} bytes")]
    TooLarge {
        /// The most that is taken.
        limit: usize,
    },
    /// There are as many topics as there may be.
    #[error("kvorum: there are {limit} topics already, as many as a replica keeps; use one that exists")]
    TooManyTopics {
        /// How many there may be.
        limit: usize,
    },
    /// Too many messages of this replica are on their way: wait for their confirmation.
    #[error("kvorum: too many messages of this replica are not confirmed yet; try again later")]
    TooMany,
    /// The replica lost its memory: it would give new messages the names of old ones.
    #[error("kvorum: this replica does not publish: it lost its memory, or has just booted; use another")]
    NotAVoter,
    /// What the context knows of did not arrive in time.
    #[error("kvorum: what the context knows of has not been delivered here in time; nothing is published")]
    ContextAhead,
    /// No majority held the message in time.
    #[error("kvorum: no majority of the replicas held the message in time; it may still be delivered")]
    Unknown,
}

/// Why somebody is no subscriber.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SubscribeError {
    /// The name of the subscriber or its topic is empty or too long.
    #[error("kvorum: the name of a subscriber or a topic has 1 to {limit} bytes")]
    Name {
        /// The longest, in bytes.
        limit: usize,
    },
    /// There are as many as there may be.
    #[error("kvorum: there are {limit} subscribers already, as many as there may be; unsubscribe one")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// The name is taken, with another topic.
    #[error("kvorum: the subscriber {subscriber} has another topic, {topic}")]
    OtherTopic {
        /// The subscriber.
        subscriber: String,
        /// Its topic, with the guarantee.
        topic: String,
    },
    /// What it wants to begin with is not kept any more.
    #[error(transparent)]
    FellOff(#[from] FellOff),
    /// What it wants to begin with does not exist yet.
    #[error("kvorum: position {position} is ahead of the log, which ends at {end}")]
    Ahead {
        /// Where it wants to begin.
        position: u64,
        /// One past the last delivery.
        end: u64,
    },
}

/// There is no subscriber of this name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("kvorum: there is no subscriber {0} here; subscribe first")]
pub struct UnknownSubscriber(pub String);

/// Why nothing was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AcknowledgeError {
    /// There is no such subscriber.
    #[error(transparent)]
    Unknown(#[from] UnknownSubscriber),
    /// Nothing was ever delivered to it at this position.
    #[error("kvorum: nothing was ever delivered to {subscriber} at position {position}")]
    NeverDelivered {
        /// The subscriber.
        subscriber: String,
        /// The position.
        position: u64,
    },
    /// It fell off.
    #[error(transparent)]
    FellOff(#[from] FellOff),
}
