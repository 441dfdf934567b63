//! Topics that deliver at once.

use super::{Fake, Fault};
use crate::api::{Mirror, Refused, Topics};
use crate::broadcast::{
    AcknowledgeError, Context, Delivery, MessageId, PublishError, Published, Record, SubscribeError, Topic,
    UnknownSubscriber,
};
use crate::kernel::ProcessId;
use crate::stack::Refusal;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many records are kept.
pub(in crate::api) const KEPT: u64 = 8;

/// A subscriber: its topic, where it began, and what it has acknowledged.
pub(super) type Subscribers = BTreeMap<String, (Topic, u64, BTreeSet<u64>)>;

impl Fake {
    /// The log gets a record.
    pub fn deliver(&self, record: Record) {
        let end = self.1.range().end;
        self.1.delivered(end, vec![record], (end + 1).saturating_sub(KEPT));
        self.redeliver();
    }

    /// Says what every subscriber has pending.
    pub fn redeliver(&self) {
        for (name, (topic, from, stopped)) in &self.state().subscribers {
            let of_it = |p: &u64| self.1.record(*p).is_some_and(|record| record.is_of(topic));
            let pending = self.1.range().filter(|p| p >= from && !stopped.contains(p) && of_it(p));
            self.1.pending(name, Ok(pending.collect()));
        }
    }

    fn published(&self, topic: Topic, mut context: Context, payload: Bytes) -> Published {
        let id = MessageId { origin: ProcessId(0), seq: self.1.range().end };
        context.add(id);
        let delivery = Delivery { topic, id, context: context.clone(), payload };
        self.deliver(Record::Delivery(delivery));
        Published { id, context }
    }
}

impl Topics for Fake {
    async fn publish(
        &self,
        topic: Topic,
        context: Context,
        payload: Bytes,
        _: Duration,
    ) -> Result<Result<Published, PublishError>, Refused> {
        let fault = self.state().faults.pop_front().flatten();
        match fault {
            None => Ok(Ok(self.published(topic, context, payload))),
            Some(Fault::Refuse(why)) => Err(why.into()),
            Some(Fault::Cut) => Ok(Err(PublishError::NotAVoter)),
            Some(Fault::Lose) => {
                self.published(topic, context, payload);
                Ok(Err(PublishError::Unknown))
            }
            Some(Fault::Slow(_) | Fault::Hang) => Err(Refusal::TimedOut.into()),
        }
    }

    async fn subscribe(
        &self,
        subscriber: String,
        topic: Topic,
        from: Option<u64>,
        _: Duration,
    ) -> Result<Result<u64, SubscribeError>, Refused> {
        let from = from.unwrap_or(self.1.range().end);
        let known = self
            .state()
            .subscribers
            .entry(subscriber.clone())
            .or_insert((topic.clone(), from, BTreeSet::new()))
            .clone();
        if known.0 != topic {
            return Ok(Err(SubscribeError::OtherTopic { subscriber, topic: known.0.to_string() }));
        }
        self.redeliver();
        Ok(Ok(known.1))
    }

    async fn acknowledge(
        &self,
        subscriber: String,
        position: u64,
        _: Duration,
    ) -> Result<Result<(), AcknowledgeError>, Refused> {
        match self.state().subscribers.get_mut(&subscriber) {
            None => Ok(Err(UnknownSubscriber(subscriber).into())),
            Some(_) if position >= self.1.range().end => {
                Ok(Err(AcknowledgeError::NeverDelivered { subscriber, position }))
            }
            Some((_, _, stopped)) => {
                stopped.insert(position);
                Ok(Ok(()))
            }
        }
    }

    async fn unsubscribe(
        &self,
        subscriber: String,
        _: Duration,
    ) -> Result<Result<(), UnknownSubscriber>, Refused> {
        let known = self.state().subscribers.remove(&subscriber);
        Ok(known.map(drop).ok_or(UnknownSubscriber(subscriber)))
    }

    fn mirror(&self) -> &Mirror {
        &self.1
    }
}
