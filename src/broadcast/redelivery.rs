//! Acknowledged redelivery: answer B to "did the layer above process it before the crash?"
//!
//! Requests: Subscribe(name, topic), Stop(id), which is an acknowledgement, Unsubscribe(name).
//! Indications: Deliver(id), every Δ until it is stopped; StopOk(id).
//!
//! Properties:
//! * *stop*: no delivery of an id follows its StopOk, in any incarnation;
//! * *recurrence*: an id that is not stopped is delivered again and again;
//! * *bounded pending*: at most `bounds.unacknowledged` deliveries from the oldest that is not
//!   stopped on are delivered; past that nothing more is, until that one is stopped.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Sections 2.4.4 and 2.4.5 (stubborn and logged links, between a module and the one
//! above it).
//!
//! **Durable first**: the delivery, before it is delivered; that it is stopped, before StopOk. **On
//! recovery** what is pending is what the log holds and what is not stopped.
//!
//! The pending messages of all subscribers are those of the delivery log: a message is stored once,
//! whoever has yet to see it. A subscriber is a position, below which it has stopped everything, and a
//! window of what it has stopped above. The log waits for a subscriber that lags until it has twice
//! its bound; then the subscriber falls off, is told so, and gets nothing more until it subscribes
//! again: it never misses a delivery in silence.

use super::cursor::FellOff;
use super::deliveries::{Deliveries, Record};
use super::message::{MAX_NAME, Topic};
use super::topic::{AcknowledgeError, SubscribeError, UnknownSubscriber};
use crate::kernel::{Account, Bound, Bounds, Config, Memory, Mutant, SLOT, Stored, Ticks, Turn, Undecodable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What stands before a subscriber's name in stable storage.
const PREFIX: &str = "redelivery/";

/// What is stored of a subscriber.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Place {
    topic: Topic,
    /// Where it began: nothing below was ever delivered to it.
    from: u64,
    /// Everything of the topic below is stopped.
    low: u64,
    /// Stopped at or above `low`.
    stopped: BTreeSet<u64>,
    /// Where it was when it fell off.
    fell: Option<FellOff>,
}

impl Place {
    fn store(&self, name: &str, turn: &mut Turn) {
        let bytes = postcard::to_allocvec(self).expect("places are plain data, which always encodes");
        turn.put_var(format!("{PREFIX}{name}"), bytes.into());
    }
}

/// A subscriber.
///
/// Invariant: of the topic's positions from `place.low` to `next`, each is either pending or
/// stopped, and of both together there are at most `bounds.unacknowledged`.
#[derive(Clone, Debug)]
struct Subscriber {
    place: Place,
    pending: BTreeSet<u64>,
    /// The first position that was not looked at.
    next: u64,
    /// Pending, and not delivered in this incarnation.
    fresh: bool,
    /// Ticks until what is pending is delivered again.
    due: Ticks,
}

impl Subscriber {
    fn new(place: Place) -> Self {
        Self { next: place.low, place, pending: BTreeSet::new(), fresh: true, due: 0 }
    }

    /// The lowest position that is not stopped, as far as was looked.
    fn low(&self) -> u64 {
        self.pending.first().copied().unwrap_or(self.next)
    }

    /// Moves to the lowest position that is not stopped, and stores the place.
    fn settle(&mut self, name: &str, turn: &mut Turn) {
        self.place.low = self.low();
        self.place.stopped = self.place.stopped.split_off(&self.place.low);
        self.place.store(name, turn);
    }
}

/// What is to be delivered to a subscriber.
pub type Redelivered = (String, Result<Vec<u64>, FellOff>);

/// The subscribers of one process.
#[derive(Clone, Debug)]
pub struct Redelivery {
    config: Config,
    subscribers: BTreeMap<String, Subscriber>,
}

impl Redelivery {
    /// The subscribers as they were last durable.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn start(config: Config, stored: &Stored) -> Result<Self, Undecodable> {
        let mut subscribers = BTreeMap::new();
        for (var, bytes) in &stored.vars {
            let Some(name) = var.strip_prefix(PREFIX) else { continue };
            let mut place: Place = postcard::from_bytes(bytes).map_err(|_| Undecodable(var.to_string()))?;
            if config.mutants.on(Mutant::RedeliveredAfterStop) {
                place.stopped = BTreeSet::new();
            }
            subscribers.insert(name.to_owned(), Subscriber::new(place));
        }
        Ok(Self { config, subscribers })
    }

    /// Subscribers: `subscribers`, each with its name and its topic's, and `unacknowledged` positions that
    /// are pending or stopped.
    pub fn memory(&self) -> Memory {
        let Bounds { subscribers, unacknowledged, .. } = self.config.bounds;
        let most = subscribers * (SLOT + 2 * MAX_NAME + unacknowledged * SLOT);
        let held = self.subscribers.iter().map(|(name, s)| {
            (1 + s.pending.len() + s.place.stopped.len(), name.len() + s.place.topic.name.len())
        });
        Memory::new(Account::Subscribers, held.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)), most)
    }

    /// Whether what is stored of the subscribers is not as in another recovery.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let places =
            |r: &Self| r.subscribers.iter().map(|(name, s)| (name.clone(), s.place.clone())).collect();
        let (a, b): (Vec<_>, Vec<_>) = (places(self), places(other));
        a != b
    }

    /// The lowest position that some subscriber has not stopped.
    pub fn wanted(&self) -> u64 {
        if self.config.mutants.on(Mutant::TrimmedUnacknowledged) {
            return u64::MAX;
        }
        let standing = self.subscribers.values().filter(|s| s.place.fell.is_none());
        standing.map(Subscriber::low).min().unwrap_or(u64::MAX)
    }

    /// Adds a subscriber, which begins at `from`, or at the end of the log. One that exists stays
    /// where it is; one that fell off has to say where it goes on. Returns the lowest position that it has not
    /// stopped.
    ///
    /// # Errors
    /// And nothing has changed.
    pub fn subscribe(
        &mut self,
        name: &str,
        topic: Topic,
        from: Option<u64>,
        deliveries: &Deliveries,
        turn: &mut Turn,
    ) -> Result<u64, SubscribeError> {
        let fits = |name: &str| (1..=MAX_NAME).contains(&name.len());
        if !(fits(name) && fits(&topic.name)) {
            return Err(SubscribeError::Name { limit: MAX_NAME });
        }
        if let Some(known) = self.subscribers.get_mut(name) {
            if known.place.topic != topic {
                let topic = known.place.topic.to_string();
                return Err(SubscribeError::OtherTopic { subscriber: name.to_owned(), topic });
            }
            match (known.place.fell, from) {
                (None, _) => {
                    known.fresh = true;
                    return Ok(known.low());
                }
                // One that comes back may not have been told.
                (Some(fell), None) => return Err(fell.into()),
                (Some(_), Some(_)) => {}
            }
        } else if self.subscribers.len() >= self.config.bounds.subscribers {
            turn.hit(Bound::Subscribers);
            return Err(SubscribeError::TooMany { limit: self.config.bounds.subscribers });
        }
        let low = from.unwrap_or(deliveries.len());
        if low < deliveries.first() {
            return Err(FellOff { position: low, oldest: deliveries.first() }.into());
        }
        if low > deliveries.len() {
            return Err(SubscribeError::Ahead { position: low, end: deliveries.len() });
        }
        // Who goes on after it fell off is not delivered what it had stopped.
        let stopped = self.subscribers.get_mut(name).map(|s| s.place.stopped.split_off(&low));
        let place = Place { topic, from: low, low, stopped: stopped.unwrap_or_default(), fell: None };
        place.store(name, turn);
        self.subscribers.insert(name.to_owned(), Subscriber::new(place));
        Ok(low)
    }

    /// Forgets a subscriber.
    ///
    /// # Errors
    /// When there is none.
    pub fn unsubscribe(&mut self, name: &str, turn: &mut Turn) -> Result<(), UnknownSubscriber> {
        self.subscribers.remove(name).ok_or_else(|| UnknownSubscriber(name.to_owned()))?;
        turn.remove_var(format!("{PREFIX}{name}"));
        Ok(())
    }

    /// Stop: the delivery at a position is processed. StopOk is what is exposed in this turn.
    ///
    /// # Errors
    /// And nothing has changed.
    pub fn stop(
        &mut self,
        name: &str,
        position: u64,
        deliveries: &Deliveries,
        turn: &mut Turn,
    ) -> Result<(), AcknowledgeError> {
        let known = self.subscribers.get_mut(name).ok_or_else(|| UnknownSubscriber(name.to_owned()))?;
        if known.pending.remove(&position) {
            known.place.stopped.insert(position);
            known.settle(name, turn);
            return Ok(());
        }
        // Stopped before: what is not kept any more is taken at its word.
        let place = &known.place;
        let other = deliveries.record(position).is_some_and(|r| !r.is_of(&place.topic));
        let below = (place.from..place.low).contains(&position) && !other;
        if below || place.stopped.contains(&position) {
            return Ok(());
        }
        match place.fell {
            Some(fell) => Err(fell.into()),
            None => Err(AcknowledgeError::NeverDelivered { subscriber: name.to_owned(), position }),
        }
    }

    /// The log was trimmed, in this turn: stores where those are who have stopped what went, and
    /// who fell off.
    pub fn upon_trimmed(&mut self, deliveries: &Deliveries, turn: &mut Turn) {
        let oldest = deliveries.first();
        for (name, subscriber) in &mut self.subscribers {
            let position = subscriber.low();
            if subscriber.place.fell.is_some() || subscriber.place.low >= oldest {
                continue;
            }
            if position >= oldest {
                subscriber.settle(name, turn);
                continue;
            }
            subscriber.place.fell = Some(FellOff { position, oldest });
            subscriber.place.store(name, turn);
            subscriber.pending.clear();
            subscriber.fresh = true;
        }
    }

    /// Time passes.
    pub fn tick(&mut self) {
        for subscriber in self.subscribers.values_mut() {
            subscriber.due = subscriber.due.saturating_sub(1);
        }
    }

    /// What is to be delivered now: at once what is new, and again what is due.
    pub fn settle(&mut self, deliveries: &Deliveries, turn: &mut Turn) -> Vec<Redelivered> {
        let mut due = Vec::new();
        // Else what was said before waits for the disk as well.
        let repeats = !turn.is_full();
        for (name, subscriber) in &mut self.subscribers {
            if let Some(fell) = subscriber.place.fell {
                if subscriber.fresh || (subscriber.due == 0 && repeats) {
                    due.push((name.clone(), Err(fell)));
                    subscriber.fresh = false;
                    subscriber.due = self.config.timing.election;
                }
                continue;
            }
            let window = match self.config.mutants.on(Mutant::WindowIgnored) {
                true => usize::MAX,
                false => self.config.bounds.unacknowledged,
            };
            for looked in 0.. {
                let place = &subscriber.place;
                if subscriber.next >= deliveries.len() {
                    break;
                }
                if subscriber.pending.len() + place.stopped.len() >= window {
                    turn.hit(Bound::Unacknowledged);
                    break;
                }
                if looked >= self.config.bounds.redelivery_scan {
                    turn.hit(Bound::RedeliveryScan);
                    break;
                }
                let Some(record) = deliveries.record(subscriber.next) else { break };
                if Record::is_of(&record, &place.topic) && !place.stopped.contains(&subscriber.next) {
                    subscriber.pending.insert(subscriber.next);
                    subscriber.fresh = true;
                }
                subscriber.next += 1;
            }
            let again = subscriber.due == 0 && repeats && !self.config.mutants.on(Mutant::NotRedelivered);
            if !subscriber.pending.is_empty() && (subscriber.fresh || again) {
                due.push((name.clone(), Ok(subscriber.pending.iter().copied().collect())));
                subscriber.due = self.config.timing.election;
            }
            subscriber.fresh = false;
        }
        due
    }
}
