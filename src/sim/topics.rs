//! Clients of topics: some publish, and each process has a subscriber with acknowledged redelivery.

use super::broadcasts::{Broadcasts, Number, payload};
use super::clients::{Asked, Glimpse, Life};
use super::coverage::Coverage;
use super::disk::SimDisk;
use super::property::{Property, Verdict, ensure};
use super::sizes::Sizes;
use super::subscriber::Subscriber;
use crate::broadcast::{
    Context, Guarantee, PublishError, Record, SubscribeError, Topic, TopicIndication, TopicRequest,
};
use crate::kernel::{Bounds, ProcessId, Ticks, Timing};
use crate::stack::{Event, RequestId};
use fastrand::Rng;
use std::collections::BTreeSet;

/// Requests of these clients are numbered from here on.
const FIRST: RequestId = 1 << 40;
const GUARANTEES: [Guarantee; 4] =
    [Guarantee::Reliable, Guarantee::Fifo, Guarantee::Causal, Guarantee::BestEffort];
/// Those of them, the first ones, that somebody subscribes to.
const SUBSCRIBED: usize = 3;
/// Topics that there are.
const TOPICS: usize = 2 * GUARANTEES.len();
const SUBSCRIBER: &str = "subscriber";
/// One that comes and goes, to be one too many at times.
const PASSING: &str = "passer-by";

/// What a publisher waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: RequestId,
    at: ProcessId,
    /// The life of it that was asked: its directory, and its incarnation.
    life: Life,
    number: Number,
    /// Whether it is larger than a message may be.
    large: bool,
}

/// A program that publishes, and takes what it saw along to another process.
#[derive(Clone, Debug, Default)]
struct Publisher {
    waiting: Option<Waiting>,
    saw: Option<(Number, Context)>,
    /// Whether it is a probe; and where that is to be made again, once its process takes more.
    probes: bool,
    again: Option<ProcessId>,
}

/// The subscriber at one process, and when it was delivered something last.
#[derive(Debug)]
struct Reader {
    subscriber: Subscriber,
    /// In ticks of the process.
    last: Ticks,
    /// The life of the process that it asked last.
    life: Option<Life>,
}

impl Reader {
    fn new(at: ProcessId, bounds: &Bounds) -> Self {
        Self { subscriber: Subscriber::new(at, bounds), last: 0, life: None }
    }
}

/// All clients of topics.
#[derive(Debug)]
pub(super) struct TopicClients {
    pub(super) rng: Rng,
    publishers: Vec<Publisher>,
    readers: Vec<Reader>,
    judge: Broadcasts,
    next: RequestId,
    timing: Timing,
    bounds: Bounds,
    sizes: Sizes,
    stopped: bool,
    /// Processes at which a probe was refused.
    refused: BTreeSet<ProcessId>,
    /// Requests for the one that passes by.
    passing: BTreeSet<RequestId>,
}

fn topic(at: ProcessId, guarantee: Guarantee) -> Topic {
    Topic { guarantee, name: format!("t{}", at.0 % 2) }
}

/// What the subscriber at a process subscribes to.
fn subscribed(at: ProcessId) -> Topic {
    topic(ProcessId(0), GUARANTEES[at.index() % SUBSCRIBED])
}

impl TopicClients {
    pub(super) fn new(
        mut rng: Rng,
        publishers: usize,
        processes: usize,
        timing: Timing,
        bounds: Bounds,
    ) -> Self {
        let Bounds { message_bytes, relayed_bytes, delivery_bytes, .. } = bounds;
        let sizes = Sizes::around([message_bytes, relayed_bytes, delivery_bytes], &mut rng);
        Self {
            rng,
            publishers: vec![Publisher::default(); publishers],
            readers: (0..processes as u8).map(|p| Reader::new(ProcessId(p), &bounds)).collect(),
            judge: Broadcasts::new(processes),
            next: FIRST,
            timing,
            bounds,
            sizes,
            stopped: false,
            refused: BTreeSet::new(),
            passing: BTreeSet::new(),
        }
    }

    /// Publishers, and as many subscribers as there are processes.
    pub(super) fn len(&self) -> usize {
        self.publishers.len() + self.readers.len()
    }

    /// Nothing is published any more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many publications of processes that stayed up were not answered.
    pub(super) fn waiting(&self) -> usize {
        self.publishers.iter().filter(|p| p.waiting.is_some() || p.again.is_some()).count()
    }

    pub(super) fn booted(&mut self, p: ProcessId, disk: &SimDisk) {
        self.judge.booted(p, disk);
    }

    pub(super) fn stored(&mut self, p: ProcessId, disk: &SimDisk) -> Verdict {
        self.judge.stored(p, disk)
    }

    pub(super) fn wiped(&mut self, p: ProcessId, formed: bool, kept: u64) -> Verdict {
        self.readers[p.index()] = Reader::new(p, &self.bounds);
        self.judge.wiped(p, formed, kept)
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
        if let Some(at) = self.publishers[client].again.take() {
            return self.begin(client, at, Guarantee::Fifo, 0, world);
        }
        if self.stopped {
            return None;
        }
        let at = ProcessId(self.rng.u8(..world.processes.len() as u8));
        let guarantee = GUARANTEES[self.rng.usize(..GUARANTEES.len())];
        let size = self.sizes.draw(&mut self.rng);
        self.begin(client, at, guarantee, size, world)
    }

    /// A publication at one process, by a client of its own: where faults have stopped it must be
    /// confirmed.
    pub(super) fn probe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        self.publishers.push(Publisher { probes: true, ..Publisher::default() });
        self.begin(self.publishers.len() - 1, at, Guarantee::Fifo, 0, world)
    }

    fn begin(
        &mut self,
        client: usize,
        at: ProcessId,
        guarantee: Guarantee,
        size: usize,
        world: Glimpse<'_>,
    ) -> Asked {
        let life = world.life(at)?;
        let request = self.request();
        let saw = self.publishers[client].saw.clone().filter(|_| guarantee == Guarantee::Causal);
        let number = self.judge.asks(at, guarantee, saw.as_ref().map(|(number, _)| *number));
        let payload = payload(number, size);
        let large = payload.len() > self.bounds.message_bytes;
        self.publishers[client].waiting = Some(Waiting { request, at, life, number, large });
        let context = saw.map(|(_, context)| context).unwrap_or_default();
        let topic = topic(ProcessId(self.rng.u8(..2)), guarantee);
        let patience = 4 * self.timing.election;
        let publish = TopicRequest::Publish { request, topic, context, payload, patience };
        Some((at, Event::Topics(publish)))
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        self.next
    }

    fn subscribe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        let life = world.life(at)?;
        let request = self.request();
        if !self.stopped && self.rng.u8(..16) == 0 {
            self.passing.insert(request);
            let subscriber = PASSING.to_owned();
            let passes = match self.rng.bool() {
                true => TopicRequest::Subscribe { request, subscriber, topic: subscribed(at), from: None },
                false => TopicRequest::Unsubscribe { request, subscriber },
            };
            return Some((at, Event::Topics(passes)));
        }
        let subscriber = SUBSCRIBER.to_owned();
        let reader = &mut self.readers[at.index()];
        if reader.life != Some(life) || reader.subscriber.fell() {
            if reader.life != Some(life) {
                reader.subscriber.crashes();
            }
            reader.life = Some(life);
            let (topic, from) = (subscribed(at), reader.subscriber.from());
            let subscribe = TopicRequest::Subscribe { request, subscriber, topic, from };
            return Some((at, Event::Topics(subscribe)));
        }
        let pending = reader.subscriber.pending();
        let position = match self.rng.u8(..8) {
            0 => pending.last().map_or(0, |last| last + 1 + self.rng.u64(..100)),
            1..4 => *pending.first()?,
            _ => *pending.iter().nth(self.rng.usize(..pending.len().max(1)))?,
        };
        reader.subscriber.stops(request, position);
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
                let Some(Waiting { number, large, .. }) = publisher.waiting.take() else { return Ok(()) };
                match outcome {
                    Ok(published) => {
                        coverage.publications += 1;
                        if !published.context.is_empty() {
                            publisher.saw = Some((number, published.context.clone()));
                        }
                        self.judge.confirmed(at, number)
                    }
                    // Later, perhaps: of a probe, in any case.
                    Err(PublishError::TooMany) => {
                        publisher.again = publisher.probes.then_some(at);
                        Ok(())
                    }
                    Err(PublishError::TooManyTopics { .. }) if self.bounds.topics < TOPICS => Ok(()),
                    Err(PublishError::NotAVoter | PublishError::ContextAhead | PublishError::Unknown) => {
                        self.refused.insert(at);
                        Ok(())
                    }
                    Err(PublishError::TooLarge { .. }) if large => {
                        coverage.too_large += 1;
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
                let end = first + records.len() as u64;
                self.readers[at.index()].subscriber.kept(*first, *kept, end, self.judge.log(at))
            }
            TopicIndication::Subscribed { request, .. } if self.passing.remove(request) => Ok(()),
            TopicIndication::Subscribed { outcome: Err(SubscribeError::TooMany { limit: 1 }), .. } => {
                // The other one is there; later, perhaps.
                self.readers[at.index()].life = None;
                Ok(())
            }
            TopicIndication::Subscribed { outcome, .. } => {
                self.readers[at.index()].subscriber.subscribed(outcome, self.judge.log(at))
            }
            TopicIndication::Redelivered { subscriber, .. } if subscriber == PASSING => Ok(()),
            TopicIndication::Redelivered { outcome: Ok(positions), .. } => {
                coverage.redeliveries += positions.len() as u64;
                let reader = &mut self.readers[at.index()];
                reader.last = now;
                reader.subscriber.delivered(positions, self.judge.holds(at, subscribed(at)))
            }
            TopicIndication::Redelivered { outcome: Err(fell), .. } => {
                coverage.fell_off += 1;
                self.readers[at.index()].subscriber.falls(*fell, self.judge.log(at))
            }
            TopicIndication::Acknowledged { request, outcome } => {
                let reader = &mut self.readers[at.index()];
                reader.subscriber.stopped(*request, outcome, self.judge.told_of(at))
            }
            TopicIndication::Unsubscribed { .. } => Ok(()),
        }
    }

    /// Faults stopped long ago, and these processes hear a majority.
    pub(super) fn finally(&self, near: &[ProcessId], ticks: impl Fn(ProcessId) -> Ticks) -> Verdict {
        self.judge.finally(near)?;
        for p in near {
            ensure(!self.refused.contains(p), Property::Validity, || {
                format!("{p} hears a majority, and did not confirm a publication")
            })?;
            let Reader { subscriber, last, .. } = &self.readers[p.index()];
            let silent = ticks(*p).saturating_sub(*last);
            let waits = !subscriber.pending().is_empty() && !subscriber.fell();
            ensure(!waits || silent <= 4 * self.timing.election, Property::Recurrence, || {
                format!("{p} has not delivered {:?} again for {silent} ticks", subscriber.pending())
            })?;
            ensure(subscriber.missed().is_none(), Property::Recurrence, || {
                format!("{p} does not deliver {:?} again, which is not acknowledged", subscriber.missed())
            })?;
        }
        Ok(())
    }

    /// Forgets who was refused: from now on nobody must be.
    pub(super) fn forgive(&mut self) {
        self.refused.clear();
    }
}
