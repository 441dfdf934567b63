//! Subscribers of total-order topics: what they were delivered, at whatever process, and what they
//! acknowledged, at whatever process.

use super::{Property, Publications, Verdict, ensure};
use crate::broadcast::{AcknowledgeError, Begin, FellOff, Publication, SubscribeError};
use crate::kernel::ProcessId;
use crate::ledger::View;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one subscriber. It is never forgotten.
#[derive(Debug)]
pub(in crate::sim) struct Receipts {
    name: &'static str,
    topic: &'static str,
    window: u64,
    /// The step at which somebody was told that it is one.
    known: Option<u64>,
    /// Deliveries, and the step of the first.
    delivered: BTreeMap<u64, u64>,
    /// What it was delivered last, but for what is acknowledged since.
    pending: BTreeSet<u64>,
    /// Positions of which somebody asked for an acknowledgement.
    asked: BTreeSet<u64>,
    /// Positions that are acknowledged, and the step at which somebody was told so first.
    stopped: BTreeMap<u64, u64>,
}

/// What a process shows of a subscriber, to one that asked at a step.
pub(in crate::sim) struct Shown<'a> {
    pub(in crate::sim) at: ProcessId,
    pub(in crate::sim) view: &'a View,
    pub(in crate::sim) since: u64,
    pub(in crate::sim) now: u64,
}

impl Receipts {
    pub(in crate::sim) fn new(name: &'static str, topic: &'static str, window: u64) -> Self {
        Self {
            name,
            topic,
            window,
            known: None,
            delivered: BTreeMap::new(),
            pending: BTreeSet::new(),
            asked: BTreeSet::new(),
            stopped: BTreeMap::new(),
        }
    }

    pub(in crate::sim) fn name(&self) -> &'static str {
        self.name
    }

    pub(in crate::sim) fn topic(&self) -> &'static str {
        self.topic
    }

    /// Whether somebody was told that it is a subscriber.
    pub(in crate::sim) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// What it was delivered last, but for what is acknowledged since.
    pub(in crate::sim) fn pending(&self) -> &BTreeSet<u64> {
        &self.pending
    }

    /// The last position that it was delivered.
    pub(in crate::sim) fn last(&self) -> u64 {
        self.delivered.last_key_value().map_or(0, |(position, _)| *position)
    }

    /// A process answers a subscription.
    pub(in crate::sim) fn subscribed(
        &mut self,
        (at, now): (ProcessId, u64),
        begin: Begin,
        outcome: Result<u64, &SubscribeError>,
    ) -> Verdict {
        match outcome {
            Ok(low) => {
                self.known.get_or_insert(now);
                let Self { name, stopped, .. } = self;
                ensure(!stopped.contains_key(&low), Property::Stop, || {
                    format!("{at} says that {name} stands at {low}, which is acknowledged")
                })
            }
            // That is where it wanted to go on, and not where it stands.
            Err(SubscribeError::FellOff(fell)) if begin == Begin::At(fell.position) => Ok(()),
            Err(SubscribeError::FellOff(fell)) => self.falls(at, *fell),
            Err(other) => {
                ensure(false, Property::Recurrence, || format!("{at} refuses {}: {other}", self.name))
            }
        }
    }

    /// Somebody acknowledges a position.
    pub(in crate::sim) fn acknowledges(&mut self, position: u64) {
        self.asked.insert(position);
    }

    /// A process answers an acknowledgement.
    pub(in crate::sim) fn acknowledged(
        &mut self,
        Shown { at, view, since, now }: Shown<'_>,
        position: u64,
        outcome: Result<(), &AcknowledgeError>,
    ) -> Verdict {
        let Self { name, topic, .. } = self;
        match outcome {
            Ok(()) => {
                self.stopped.entry(position).or_insert(now);
                self.pending.remove(&position);
                let never = position < view.end() && view.publications().lacks(topic, position);
                ensure(!never, Property::Stop, || {
                    format!(
                        "{at} takes an acknowledgement of {name} at {position}, where {topic} has nothing"
                    )
                })
            }
            Err(AcknowledgeError::NeverDelivered { .. }) => {
                let went_on = view.subscribers().places().get(*name).is_some_and(|p| position < p.from);
                let delivered = self.delivered.get(&position).is_some_and(|step| *step < since);
                ensure(went_on || !delivered, Property::Stop, || {
                    format!("{at} refuses an acknowledgement of {name} at {position}, which was delivered")
                })
            }
            Err(AcknowledgeError::FellOff(fell)) => self.falls(at, *fell),
            Err(AcknowledgeError::Unknown(_)) => self.is_there(at, since),
        }
    }

    /// A process delivers what it shows to be pending. In the end, that is all there is.
    pub(in crate::sim) fn delivers(
        &mut self,
        Shown { at, view, since, now }: Shown<'_>,
        publications: &mut Publications,
        end: bool,
    ) -> Verdict {
        let Self { name, topic, .. } = *self;
        let place = view.subscribers().places().get(name);
        let (Some(place), Some(pending)) = (place, view.pending(name)) else {
            return self.is_there(at, since);
        };
        let pending = match pending {
            Ok(pending) => pending,
            Err(fell) => return self.falls(at, fell),
        };
        let positions: Vec<u64> = pending.iter().map(|p| p.position).collect();
        let again = positions.iter().find(|p| self.stopped.get(p).is_some_and(|step| *step < since));
        ensure(again.is_none(), Property::Stop, || {
            format!("{at} delivers position {again:?} to {name} again, which is acknowledged")
        })?;
        ensure(positions.len() as u64 <= self.window, Property::BoundedPending, || {
            format!("{at} delivers {positions:?} to {name} at a time")
        })?;
        for Publication { position, payload } in &pending {
            publications.tells(at, topic, *position, payload)?;
        }
        // From where it stands to the last delivery nothing is left out that it has not acknowledged.
        let open = |p: &u64| !positions.contains(p) && !self.asked.contains(p);
        let reach = positions.last().map_or(place.low, |last| last + 1);
        let missed = publications.known(topic, place.low..reach).find(open);
        ensure(missed.is_none(), Property::Recurrence, || {
            format!("{at} delivers {positions:?} to {name}, and misses {missed:?}")
        })?;
        let came_before = |(_, step): &(&u64, &u64)| **step < since;
        let before = self.delivered.range(place.from..).filter(came_before).map(|(p, _)| *p);
        let missed = before.into_iter().find(open);
        ensure(missed.is_none(), Property::Recurrence, || {
            format!("{at} delivers {positions:?} to {name}, and not {missed:?}, which is not acknowledged")
        })?;
        let next = publications.known(topic, place.low..view.end()).find(|p| !self.asked.contains(p));
        let full = positions.len() + place.stopped.len() >= self.window as usize;
        let delivers = next.is_none_or(|next| positions.contains(&next));
        ensure(!end || full || delivers, Property::Recurrence, || {
            format!("in the end {at} does not deliver {next:?} to {name}")
        })?;
        self.pending = positions.into_iter().filter(|p| !self.stopped.contains_key(p)).collect();
        for position in &self.pending {
            self.delivered.entry(*position).or_insert(now);
        }
        Ok(())
    }

    /// A process says that it fell off.
    fn falls(&self, at: ProcessId, fell: FellOff) -> Verdict {
        let (name, FellOff { position, oldest }) = (self.name, fell);
        ensure(position < oldest && !self.stopped.contains_key(&position), Property::KeptForCursor, || {
            format!("{at} says that {name} fell off at {position}, and retains everything from {oldest} on")
        })
    }

    /// A process knows of no such subscriber, and was asked at a step.
    fn is_there(&self, at: ProcessId, since: u64) -> Verdict {
        ensure(self.known.is_none_or(|known| known >= since), Property::Recurrence, || {
            format!("{at} forgot {}", self.name)
        })
    }
}
