//! Clients of topics: some publish, and each process has a subscriber with acknowledged redelivery.

use super::broadcasts::{Broadcasts, Number, payload};
use super::clients::{Asked, Glimpse, Life};
use super::coverage::Coverage;
use super::disk::SimDisk;
use super::property::{Property, Verdict, ensure};
use crate::broadcast::{
    AcknowledgeError, Context, Guarantee, PublishError, Record, Topic, TopicIndication, TopicRequest,
};
use crate::kernel::{Bounds, ProcessId, Ticks, Timing};
use crate::stack::{Event, RequestId};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Requests of these clients are numbered from here on.
const FIRST: RequestId = 1 << 40;
const GUARANTEES: [Guarantee; 3] = [Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal];
const SUBSCRIBER: &str = "subscriber";

/// What a publisher waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: RequestId,
    at: ProcessId,
    /// The life of it that was asked: its directory, and its incarnation.
    life: Life,
    number: Number,
}

/// A program that publishes, and takes what it saw along to another process.
#[derive(Clone, Debug, Default)]
struct Publisher {
    waiting: Option<Waiting>,
    saw: Option<(Number, Context)>,
}

/// The subscriber at one process.
#[derive(Clone, Debug, Default)]
struct Subscriber {
    /// Where it began, once it is there.
    from: Option<u64>,
    /// What it was delivered last.
    pending: BTreeSet<u64>,
    /// Delivered at least once, and no acknowledgement under way: it must come again.
    owed: BTreeSet<u64>,
    /// Acknowledged, for good.
    stopped: BTreeSet<u64>,
    /// Acknowledgements under way.
    stopping: BTreeMap<RequestId, u64>,
    /// When it was delivered something last, in ticks of the process.
    last: Ticks,
    /// The life of the process that it asked last.
    life: Option<Life>,
    fell: bool,
}

/// All clients of topics.
#[derive(Debug)]
pub(super) struct TopicClients {
    rng: Rng,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    judge: Broadcasts,
    next: RequestId,
    timing: Timing,
    bounds: Bounds,
    stopped: bool,
    /// Processes at which a probe was refused.
    refused: BTreeSet<ProcessId>,
}

fn topic(at: ProcessId, guarantee: Guarantee) -> Topic {
    Topic { guarantee, name: format!("t{}", at.0 % 2) }
}

/// What the subscriber at a process subscribes to.
fn subscribed(at: ProcessId) -> Topic {
    topic(ProcessId(0), GUARANTEES[at.index() % GUARANTEES.len()])
}

impl TopicClients {
    pub(super) fn new(rng: Rng, publishers: usize, processes: usize, timing: Timing, bounds: Bounds) -> Self {
        Self {
            rng,
            publishers: vec![Publisher::default(); publishers],
            subscribers: vec![Subscriber::default(); processes],
            judge: Broadcasts::new(processes),
            next: FIRST,
            timing,
            bounds,
            stopped: false,
            refused: BTreeSet::new(),
        }
    }

    /// Publishers, and as many subscribers as there are processes.
    pub(super) fn len(&self) -> usize {
        self.publishers.len() + self.subscribers.len()
    }

    /// Nothing is published any more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many publications of processes that stayed up were not answered.
    pub(super) fn waiting(&self) -> usize {
        self.publishers.iter().filter(|p| p.waiting.is_some()).count()
    }

    pub(super) fn booted(&mut self, p: ProcessId, disk: &SimDisk) {
        self.judge.booted(p, disk);
    }

    pub(super) fn wiped(&mut self, p: ProcessId) {
        self.judge.wiped(p);
        self.subscribers[p.index()] = Subscriber::default();
    }

    /// A client's turn.
    pub(super) fn act(&mut self, number: usize, world: Glimpse<'_>) -> Asked {
        match number.checked_sub(self.publishers.len()) {
            Some(at) => self.subscribe(ProcessId(at as u8), world),
            None => self.publish(number, world),
        }
    }

    fn publish(&mut self, client: usize, world: Glimpse<'_>) -> Asked {
        if let Some(waiting) = self.publishers[client].waiting {
            if world.life(waiting.at) != Some(waiting.life) {
                self.publishers[client].waiting = None;
            }
            return None;
        }
        if self.stopped {
            return None;
        }
        let at = ProcessId(self.rng.u8(..world.processes.len() as u8));
        let guarantee = GUARANTEES[self.rng.usize(..GUARANTEES.len())];
        self.begin(client, at, guarantee, world)
    }

    /// A publication at one process, by a client of its own: where faults have stopped it must be
    /// confirmed.
    pub(super) fn probe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        self.publishers.push(Publisher::default());
        self.begin(self.publishers.len() - 1, at, Guarantee::Fifo, world)
    }

    fn begin(&mut self, client: usize, at: ProcessId, guarantee: Guarantee, world: Glimpse<'_>) -> Asked {
        let life = world.life(at)?;
        let request = self.request();
        let saw = self.publishers[client].saw.clone().filter(|_| guarantee == Guarantee::Causal);
        let number = self.judge.asks(at, guarantee, saw.as_ref().map(|(number, _)| *number));
        self.publishers[client].waiting = Some(Waiting { request, at, life, number });
        let context = saw.map(|(_, context)| context).unwrap_or_default();
        let topic = topic(ProcessId(self.rng.u8(..2)), guarantee);
        let patience = 4 * self.timing.election;
        let publish = TopicRequest::Publish { request, topic, context, payload: payload(number), patience };
        Some((at, Event::Topics(publish)))
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        self.next
    }

    fn subscribe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        let life = world.life(at)?;
        let request = self.request();
        let subscriber = SUBSCRIBER.to_owned();
        let mine = &mut self.subscribers[at.index()];
        if mine.life != Some(life) || mine.fell {
            // It comes back, as somebody who does not know how far it had come.
            mine.life = Some(life);
            mine.fell = false;
            mine.pending.clear();
            mine.stopping.clear();
            let subscribe =
                TopicRequest::Subscribe { request, subscriber, topic: subscribed(at), from: None };
            return Some((at, Event::Topics(subscribe)));
        }
        let position = match self.rng.u8(..8) {
            0 => mine.pending.last().map_or(0, |last| last + 1 + self.rng.u64(..100)),
            1..4 => *mine.pending.first()?,
            _ => *mine.pending.iter().nth(self.rng.usize(..mine.pending.len().max(1)))?,
        };
        mine.stopping.insert(request, position);
        mine.owed.remove(&position);
        Some((at, Event::Topics(TopicRequest::Acknowledge { request, subscriber, position })))
    }

    /// A process tells something.
    pub(super) fn upon(
        &mut self,
        at: ProcessId,
        told: &TopicIndication,
        (disk, now): (&SimDisk, Ticks),
        coverage: &mut Coverage,
    ) -> Verdict {
        self.judge.told(at, told, disk)?;
        match told {
            TopicIndication::Published { request, outcome } => {
                let mine =
                    |p: &&mut Publisher| p.waiting.is_some_and(|w| w.request == *request && w.at == at);
                let Some(publisher) = self.publishers.iter_mut().find(mine) else { return Ok(()) };
                let Some(Waiting { number, .. }) = publisher.waiting.take() else { return Ok(()) };
                match outcome {
                    Ok(published) => {
                        coverage.publications += 1;
                        if !published.context.is_empty() {
                            publisher.saw = Some((number, published.context.clone()));
                        }
                        self.judge.confirmed(at, number)
                    }
                    Err(
                        PublishError::TooMany
                        | PublishError::NotAVoter
                        | PublishError::ContextAhead
                        | PublishError::Unknown,
                    ) => {
                        self.refused.insert(at);
                        Ok(())
                    }
                    Err(
                        other @ (PublishError::Name
                        | PublishError::TooLarge { .. }
                        | PublishError::TooManyTopics { .. }),
                    ) => ensure(false, Property::Validity, || {
                        format!("{at} refuses to publish m{number}: {other}")
                    }),
                }
            }
            TopicIndication::Delivered { first, records, kept } => {
                coverage.deliveries += records.len() as u64;
                coverage.gaps += records.iter().filter(|r| matches!(r, Record::Gap { .. })).count() as u64;
                match first {
                    0 => Ok(()),
                    _ => self.kept(at, *kept, first + records.len() as u64),
                }
            }
            TopicIndication::Subscribed { outcome, .. } => {
                let mine = &mut self.subscribers[at.index()];
                if let Ok(low) = outcome
                    && mine.from.is_none_or(|from| *low > from)
                {
                    mine.from = Some(*low);
                }
                Ok(())
            }
            TopicIndication::Redelivered { outcome: Ok(positions), .. } => {
                coverage.redeliveries += positions.len() as u64;
                self.redelivered(at, positions, now)
            }
            TopicIndication::Redelivered { outcome: Err(fell), .. } => {
                coverage.fell_off += 1;
                let mine = &mut self.subscribers[at.index()];
                mine.fell = true;
                mine.owed.clear();
                ensure(!mine.stopped.contains(&fell.position), Property::KeptForCursor, || {
                    format!(
                        "{at} says that its subscriber fell off at {}, which is acknowledged",
                        fell.position
                    )
                })
            }
            TopicIndication::Acknowledged { request, outcome } => self.acknowledged(at, *request, outcome),
            TopicIndication::Unsubscribed { .. } => Ok(()),
        }
    }

    /// So much of the log is kept, which ends here.
    fn kept(&self, at: ProcessId, kept: u64, end: u64) -> Verdict {
        let lagging = self.subscribers[at.index()].owed.range(..kept).next();
        let full = end - kept >= 2 * self.bounds.delivery_entries;
        ensure(lagging.is_none() || full, Property::KeptForCursor, || {
            format!("{at} keeps deliveries {kept}..{end}, and {lagging:?} is not acknowledged")
        })
    }

    fn redelivered(&mut self, at: ProcessId, positions: &[u64], now: Ticks) -> Verdict {
        let mine = &mut self.subscribers[at.index()];
        let again = positions.iter().find(|p| mine.stopped.contains(p));
        ensure(again.is_none(), Property::Stop, || {
            format!("{at} delivers position {again:?} again, which is acknowledged")
        })?;
        ensure(positions.len() <= self.bounds.unacknowledged, Property::BoundedPending, || {
            format!("{at} delivers {} positions at a time", positions.len())
        })?;
        for position in positions {
            let of = self.judge.record(at, *position).is_some_and(|r| r.is_of(&subscribed(at)));
            ensure(of, Property::DurableHint, || {
                format!("{at} delivers position {position}, which was not told, or is of another topic")
            })?;
        }
        mine.pending = positions.iter().copied().collect();
        let missed = mine.owed.iter().find(|p| !mine.pending.contains(p));
        ensure(missed.is_none(), Property::Recurrence, || {
            format!("{at} delivers {positions:?} again, and not {missed:?}, which is not acknowledged")
        })?;
        mine.owed.clone_from(&mine.pending);
        mine.owed.retain(|p| !mine.stopping.values().any(|stopping| stopping == p));
        mine.last = now;
        Ok(())
    }

    fn acknowledged(
        &mut self,
        at: ProcessId,
        request: RequestId,
        outcome: &Result<(), AcknowledgeError>,
    ) -> Verdict {
        let mine = &mut self.subscribers[at.index()];
        let Some(position) = mine.stopping.remove(&request) else { return Ok(()) };
        match outcome {
            Ok(()) => {
                mine.stopped.insert(position);
                mine.pending.remove(&position);
                let known = self.judge.record(at, position).is_some();
                ensure(known, Property::Stop, || {
                    format!("{at} takes an acknowledgement of position {position}, which it never delivered")
                })
            }
            Err(AcknowledgeError::NeverDelivered { .. }) => {
                ensure(!mine.pending.contains(&position), Property::Stop, || {
                    format!("{at} refuses an acknowledgement of position {position}, which it delivered")
                })
            }
            Err(AcknowledgeError::FellOff(_)) => {
                mine.fell = true;
                Ok(())
            }
            Err(AcknowledgeError::Unknown(_)) => {
                ensure(mine.from.is_none(), Property::Stop, || format!("{at} forgot its subscriber"))
            }
        }
    }

    /// Faults stopped long ago, and these processes hear a majority.
    pub(super) fn finally(&self, near: &[ProcessId], ticks: impl Fn(ProcessId) -> Ticks) -> Verdict {
        self.judge.finally(near)?;
        for p in near {
            ensure(!self.refused.contains(p), Property::Validity, || {
                format!("{p} hears a majority, and did not confirm a publication")
            })?;
            let mine = &self.subscribers[p.index()];
            let silent = ticks(*p).saturating_sub(mine.last);
            let waits = !mine.pending.is_empty() && !mine.fell;
            ensure(!waits || silent <= 4 * self.timing.election, Property::Recurrence, || {
                format!("{p} has not delivered {:?} again for {silent} ticks", mine.pending)
            })?;
        }
        Ok(())
    }

    /// Forgets who was refused: from now on nobody must be.
    pub(super) fn forgive(&mut self) {
        self.refused.clear();
    }
}
