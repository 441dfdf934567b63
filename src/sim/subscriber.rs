//! A subscriber with acknowledged redelivery, and what must hold of what it is delivered.

use super::broadcasts::{self, Told};
use super::property::{Property, Verdict, ensure};
use crate::broadcast::{AcknowledgeError, FellOff, SubscribeError};
use crate::kernel::{Bounds, ProcessId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a record has beside its message, at most: names, and what the message depends on.
const RECORD: usize = 256;

/// The subscriber at one process.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    at: ProcessId,
    bounds: Bounds,
    /// Whether it was told that it is one.
    known: bool,
    /// What it was delivered last.
    pending: BTreeSet<u64>,
    /// Delivered, and no acknowledgement of it under way: it must come again.
    owed: BTreeSet<u64>,
    /// Acknowledged, for good.
    stopped: BTreeSet<u64>,
    /// Acknowledgements under way, by request.
    stopping: BTreeMap<u64, u64>,
    /// That it fell off, if it was told so.
    fell: Option<FellOff>,
}

impl Subscriber {
    pub(super) fn new(at: ProcessId, bounds: &Bounds) -> Self {
        Self {
            at,
            bounds: *bounds,
            known: false,
            pending: BTreeSet::new(),
            owed: BTreeSet::new(),
            stopped: BTreeSet::new(),
            stopping: BTreeMap::new(),
            fell: None,
        }
    }

    /// What it was delivered last, and has not acknowledged.
    pub(super) fn pending(&self) -> &BTreeSet<u64> {
        &self.pending
    }

    /// What it was delivered, and must be delivered again.
    pub(super) fn owed(&self) -> &BTreeSet<u64> {
        &self.owed
    }

    /// What it was delivered once, and was not delivered last, though it is not acknowledged.
    pub(super) fn missed(&self) -> Option<u64> {
        let missed = self.owed.iter().find(|p| !self.pending.contains(p));
        missed.copied().filter(|_| !self.fell())
    }

    /// Whether an acknowledgement of a position is under way.
    pub(super) fn stops_already(&self, position: u64) -> bool {
        self.stopping.values().any(|p| *p == position)
    }

    /// Its process crashed: nobody knows which acknowledgements were taken.
    pub(super) fn crashes(&mut self) {
        self.stopping.clear();
        self.pending.clear();
    }

    /// Whether it fell off, and has to subscribe again.
    pub(super) fn fell(&self) -> bool {
        self.fell.is_some()
    }

    /// Where it goes on, if it fell off.
    pub(super) fn from(&self) -> Option<u64> {
        self.fell.map(|fell| fell.oldest)
    }

    /// It subscribed, for the first time or as one who does not know how far it had come.
    pub(super) fn subscribed(&mut self, outcome: &Result<u64, SubscribeError>, log: &Told) -> Verdict {
        match outcome {
            Ok(_) => {
                self.known = true;
                self.fell = None;
                Ok(())
            }
            Err(SubscribeError::FellOff(fell)) if self.fell.is_some() => {
                self.fell = Some(*fell);
                Ok(())
            }
            Err(SubscribeError::FellOff(fell)) => self.falls(*fell, log),
            Err(other) => ensure(false, Property::Recurrence, || format!("{}: {other}", self.at)),
        }
    }

    /// It acknowledges a position.
    pub(super) fn stops(&mut self, request: u64, position: u64) {
        self.stopping.insert(request, position);
        self.owed.remove(&position);
    }

    /// Its acknowledgement is answered. `told` says whether the log ever held something at a position.
    pub(super) fn stopped(
        &mut self,
        request: u64,
        outcome: &Result<(), AcknowledgeError>,
        told: impl Fn(u64) -> bool,
    ) -> Verdict {
        let Some(position) = self.stopping.remove(&request) else { return Ok(()) };
        let at = self.at;
        match outcome {
            Ok(()) => {
                self.stopped.insert(position);
                self.pending.remove(&position);
                ensure(told(position), Property::Stop, || {
                    format!("{at} takes an acknowledgement of position {position}, which it never delivered")
                })
            }
            Err(AcknowledgeError::NeverDelivered { .. }) => {
                ensure(!self.pending.contains(&position), Property::Stop, || {
                    format!("{at} refuses an acknowledgement of position {position}, which it delivered")
                })
            }
            Err(AcknowledgeError::FellOff(fell)) => {
                self.fell = Some(*fell);
                Ok(())
            }
            Err(AcknowledgeError::Unknown(_)) => {
                ensure(!self.known, Property::Stop, || format!("{at} forgot its subscriber"))
            }
        }
    }

    /// It is delivered what waits for its acknowledgement. `record` says whether a position was told,
    /// and is of its topic.
    pub(super) fn delivered(&mut self, positions: &[u64], record: impl Fn(u64) -> bool) -> Verdict {
        let at = self.at;
        let again = positions.iter().find(|p| self.stopped.contains(p));
        ensure(again.is_none(), Property::Stop, || {
            format!("{at} delivers position {again:?} again, which is acknowledged")
        })?;
        ensure(positions.len() <= self.bounds.unacknowledged, Property::BoundedPending, || {
            format!("{at} delivers {} positions at a time", positions.len())
        })?;
        let early = positions.iter().find(|p| !record(**p));
        ensure(early.is_none(), Property::DurableHint, || {
            format!("{at} delivers position {early:?}, which was not told, or is of another topic")
        })?;
        self.pending = positions.iter().copied().collect();
        // After a boot it may have looked at a part of the log only, and not beyond.
        let looked = positions.last().copied().unwrap_or(0);
        let missed = self.owed.range(..=looked).find(|p| !self.pending.contains(p));
        ensure(missed.is_none(), Property::Recurrence, || {
            format!("{at} delivers {positions:?} again, and not {missed:?}, which is not acknowledged")
        })?;
        let stopping: BTreeSet<u64> = self.stopping.values().copied().collect();
        self.owed.extend(&self.pending - &stopping);
        Ok(())
    }

    /// It is told that it fell off, perhaps once more: the log had no more room when it fell.
    pub(super) fn falls(&mut self, fell: FellOff, log: &Told) -> Verdict {
        let again = self.fell.replace(fell).is_some();
        self.owed.clear();
        self.pending.clear();
        let (at, FellOff { position, oldest }) = (self.at, fell);
        let end = broadcasts::end(log);
        ensure(again || self.is_full(oldest..end, log), Property::KeptForCursor, || {
            format!("{at} keeps deliveries {oldest}..{end}, and drops {position}, which is not acknowledged")
        })?;
        ensure(!self.stopped.contains(&position), Property::KeptForCursor, || {
            format!("{at} says that its subscriber fell off at {position}, which is acknowledged")
        })
    }

    /// Whether these records are twice what the log keeps: one record more would be too many, or too
    /// large.
    fn is_full(&self, kept: Range<u64>, log: &Told) -> bool {
        let Bounds { delivery_entries, delivery_bytes, message_bytes, .. } = self.bounds;
        let many = kept.end - kept.start >= 2 * delivery_entries;
        let bytes: usize = log.range(kept).map(|(_, record)| record.bytes()).sum();
        many || bytes + message_bytes + RECORD > 2 * delivery_bytes
    }

    /// So much of the log is kept, which ends here. What it is told first after a boot may repeat a
    /// trim of the life before, which nobody was told of.
    pub(super) fn kept(&self, first: u64, kept: u64, end: u64, log: &Told) -> Verdict {
        if first <= kept {
            return Ok(());
        }
        // Who fell off holds up nobody: more may be trimmed in the same commit. It fell when the log had
        // too much behind what it lacks.
        let lagging = self.owed.range(..kept).next().copied();
        let fell = lagging.is_none_or(|lacks| self.is_full(lacks + 1..end, log));
        ensure(fell, Property::KeptForCursor, || {
            format!("{} keeps deliveries {kept}..{end}, and {lagging:?} is not acknowledged", self.at)
        })
    }
}
