//! Acknowledged redelivery of total-order topics: answer B to "did the layer above process it before
//! the crash?", as replicated state. A subscriber goes on at any replica.
//!
//! Requests, of the log: Subscribe(name, topic, where to begin, window), Stop(name, position), which
//! is an acknowledgement, Unsubscribe(name). Deliveries: what is pending, read from a state of the
//! ledger, every Δ until it is stopped.
//!
//! Properties:
//! * *stop*: no state after that of a StopOk has the position pending;
//! * *recurrence*: a publication that is not stopped is pending in every state, until its subscriber
//!   falls off, which it is told;
//! * *bounded pending*: pending is only what lies among the first `window` publications from the
//!   oldest that is not stopped on.
//!
//! Source: as of [`Redelivery`](super::Redelivery): Cachin, Guerraoui, Rodrigues, *Introduction to
//! Reliable and Secure Distributed Programming*, Sections 2.4.4 and 2.4.5.
//!
//! **Durable first**: the log entry, before StopOk. **On recovery** what is pending is what the state
//! says.
//!
//! The pending publications of all subscribers are those that the topic retains: a subscriber is a
//! position, below which it has stopped everything, and a window of what it has stopped above. There
//! is nothing to be stored when something is published or trimmed:
//!
//! * Who fell off is not written down, but seen. `low` is never above the first publication that is
//!   not stopped, and a topic drops its oldest first: what it dropped at or above `low` was pending,
//!   and it did so if and only if `low` lies below its oldest. So a publication costs the same however
//!   many subscribers there are; and retention waits for none of them, since one that never comes
//!   back would stop all publishers.
//! * What was ever delivered is not written down either: deliveries are reads. An acknowledgement
//!   counts if its position could have been delivered, which is within the window. So the window of
//!   a subscriber stays as it was when it began: a smaller one might leave out what it was delivered.

use super::cursor::FellOff;
use super::publications::{Publication, Publications};
use super::topic::{AcknowledgeError, SubscribeError, UnknownSubscriber};
use crate::kernel::{MAX_NAME, Mutant, Mutants, SharedBounds};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a subscriber begins that is new, or goes on that fell off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Begin {
    /// With what is published from now on. This does not say where one goes on that fell off: it may
    /// not know that it did.
    Now,
    /// With the oldest publication that is retained when the log comes to it.
    Oldest,
    /// With what is at this position, or beyond.
    At(u64),
}

/// Where a subscriber stands.
///
/// Invariant: unless it fell off, the topic's first publication at or above `low` is not in
/// `stopped`; what is in there is among the first `window` from there on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// Where it began: nothing below was ever delivered to it.
    pub from: u64,
    /// Everything of the topic below is stopped.
    pub low: u64,
    /// Publications that it is delivered from the oldest that is not stopped on.
    pub window: u64,
    /// Stopped at or above `low`.
    pub stopped: BTreeSet<u64>,
}

impl Place {
    /// That it fell off, if it did.
    pub fn fell_off(&self, publications: &Publications) -> Option<FellOff> {
        let oldest = publications.oldest(&self.topic);
        (self.low < oldest).then_some(FellOff { position: self.low, oldest })
    }

    /// The publications that it may be delivered, stopped ones among them.
    fn within<'a>(
        &'a self,
        publications: &'a Publications,
        mutants: Mutants,
    ) -> impl Iterator<Item = Publication> + 'a {
        let window = match mutants.on(Mutant::WindowIgnored) {
            true => usize::MAX,
            false => self.window as usize,
        };
        publications.from(&self.topic, self.low).take(window)
    }

    /// Moves to the first publication that is not stopped.
    fn settle(&mut self, publications: &Publications) {
        while let Some(first) = self.stopped.first().copied()
            && publications.from(&self.topic, self.low).next().is_some_and(|p| p.position == first)
        {
            self.stopped.pop_first();
            self.low = first + 1;
        }
    }
}

/// The subscribers, by name. Cloning is O(1).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Subscribers {
    places: OrdMap<Arc<str>, Arc<Place>>,
}

impl Subscribers {
    /// The log delivers a subscription, at `index`. One that exists stays where it is, and keeps its
    /// window; one that fell off has to say where it goes on. Returns the lowest position that it has
    /// not stopped.
    ///
    /// # Errors
    /// And nothing has changed.
    pub fn subscribe(
        &mut self,
        index: u64,
        name: &str,
        topic: &str,
        (begin, window): (Begin, u64),
        publications: &Publications,
        bounds: &SharedBounds,
    ) -> Result<u64, SubscribeError> {
        let fits = |name: &str| (1..=MAX_NAME).contains(&name.len());
        if !(fits(name) && fits(topic)) {
            return Err(SubscribeError::Name { limit: MAX_NAME });
        }
        let known = self.places.get_key_value(name);
        if let Some((_, place)) = known {
            if *place.topic != *topic {
                let topic = format!("total/{}", place.topic);
                return Err(SubscribeError::OtherTopic { subscriber: name.to_owned(), topic });
            }
            match (place.fell_off(publications), begin) {
                (None, _) => return Ok(place.low),
                (Some(fell), Begin::Now) => return Err(fell.into()),
                (Some(_), Begin::Oldest | Begin::At(_)) => {}
            }
        } else if self.places.len() >= bounds.subscribers {
            return Err(SubscribeError::TooMany { limit: bounds.subscribers });
        }
        let (oldest, end) = (publications.oldest(topic), index + 1);
        let low = match begin {
            Begin::Now => end,
            Begin::Oldest => oldest,
            Begin::At(position) => position,
        };
        if low < oldest {
            return Err(FellOff { position: low, oldest }.into());
        }
        if low > end {
            return Err(SubscribeError::Ahead { position: low, end });
        }
        let (name, mut place) = match known {
            Some((name, place)) => (name.clone(), Place::clone(place)),
            None => {
                let window = window.clamp(1, bounds.unacknowledged);
                let stopped = BTreeSet::new();
                (name.into(), Place { topic: topic.into(), from: low, low, window, stopped })
            }
        };
        // Who goes on after it fell off is not delivered what it had stopped.
        place.stopped = place.stopped.split_off(&low);
        (place.from, place.low) = (low, low);
        place.settle(publications);
        let low = place.low;
        self.places.insert(name, place.into());
        Ok(low)
    }

    /// The log delivers a Stop: the delivery at a position is processed. What was stopped before, is;
    /// of what is not retained any more, the subscriber is taken at its word.
    ///
    /// # Errors
    /// And nothing has changed.
    pub fn acknowledge(
        &mut self,
        name: &str,
        position: u64,
        publications: &Publications,
        mutants: Mutants,
    ) -> Result<(), AcknowledgeError> {
        let known = self.places.get_mut(name).ok_or_else(|| UnknownSubscriber(name.to_owned()))?;
        let never = || AcknowledgeError::NeverDelivered { subscriber: name.to_owned(), position };
        if position < known.low {
            let delivered = position >= known.from && !publications.lacks(&known.topic, position);
            return if delivered { Ok(()) } else { Err(never()) };
        }
        if known.stopped.contains(&position) {
            return Ok(());
        }
        if let Some(fell) = known.fell_off(publications) {
            return Err(fell.into());
        }
        if !known.within(publications, mutants).any(|p| p.position == position) {
            return Err(never());
        }
        let place = Arc::make_mut(known);
        place.stopped.insert(position);
        place.settle(publications);
        Ok(())
    }

    /// The log delivers the end of a subscription: its subscriber is forgotten.
    ///
    /// # Errors
    /// When there is none.
    pub fn unsubscribe(&mut self, name: &str) -> Result<(), UnknownSubscriber> {
        self.places.remove(name).map(drop).ok_or_else(|| UnknownSubscriber(name.to_owned()))
    }

    /// What a subscriber is to be delivered, in order; nothing, where there is no such subscriber.
    pub fn pending(
        &self,
        name: &str,
        publications: &Publications,
        mutants: Mutants,
    ) -> Option<Result<Vec<Publication>, FellOff>> {
        let place = self.places.get(name)?;
        if let Some(fell) = place.fell_off(publications) {
            return Some(Err(fell));
        }
        let pending = place.within(publications, mutants).filter(|p| !place.stopped.contains(&p.position));
        Some(Ok(pending.collect()))
    }

    /// Where each subscriber stands, by name.
    pub fn places(&self) -> &OrdMap<Arc<str>, Arc<Place>> {
        &self.places
    }

    /// Takes a subscriber as a checkpoint has it.
    pub fn restore(&mut self, name: Arc<str>, place: Place) {
        self.places.insert(name, place.into());
    }
}

#[cfg(test)]
mod tests;
