//! Acknowledged redelivery in the small world: messages are published, and a subscriber at each
//! process acknowledges what it is delivered.

use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::broadcast::{Context, Guarantee, Topic, TopicIndication, TopicRequest, Topics};
use crate::kernel::{Bounds, Config, LogId, Mutant, ProcessId};
use crate::sim::broadcasts::{Broadcasts, payload};
use crate::sim::property::{Property, Verdict, ensure};
use crate::sim::subscriber::Subscriber;

const NAME: &str = "s";
/// More ticks than any run has.
const PATIENCE: u64 = 1 << 32;
/// Requests that publish are numbered from here on; an acknowledgement has the number of its position.
const PUBLISH: u64 = 1 << 32;
const TWO: Size =
    Size { processes: 2, askers: 2, requests: 2, crashes: 1, ticks: 0, again: true, overtaken: false };

/// Small, so that they are met.
fn bounds() -> Bounds {
    Bounds { delivery_entries: 1, unacknowledged: 2, ..Bounds::default() }
}

fn topic() -> Topic {
    Topic { guarantee: Guarantee::Reliable, name: "t".to_owned() }
}

/// Processes with a subscriber each.
#[derive(Clone, Debug)]
pub(super) struct Redelivery;

impl Scenario for Redelivery {
    const NAME: &'static str = "redelivery";
    const PROPERTIES: &'static [Property] = &[
        Property::Stop,
        Property::Recurrence,
        Property::BoundedPending,
        Property::KeptForCursor,
        Property::ToldFirst,
    ];
    const TRIALS: &'static [Trial] = &[
        Trial { mutant: Mutant::RedeliveredAfterStop, by: Property::Stop, seeds: 100, within: Some(TWO) },
        Trial { mutant: Mutant::NotRedelivered, by: Property::Recurrence, seeds: 20, within: Some(TWO) },
        Trial { mutant: Mutant::WindowIgnored, by: Property::BoundedPending, seeds: 20, within: None },
        Trial { mutant: Mutant::TrimmedUnacknowledged, by: Property::KeptForCursor, seeds: 20, within: None },
        Trial { mutant: Mutant::TrimmedUntold, by: Property::ToldFirst, seeds: 20, within: None },
    ];
    const CLOSED: Option<Size> = Some(Size {
        processes: 2,
        askers: 2,
        requests: 1,
        crashes: 1,
        ticks: 0,
        again: true,
        overtaken: false,
    });
    const WIDE: Option<Size> = Some(Size {
        processes: 3,
        askers: 3,
        requests: 1,
        crashes: 1,
        ticks: 1,
        again: true,
        overtaken: false,
    });
    type Process = Topics;
    type Monitor = Readers;

    fn configure(config: &mut Config) {
        config.bounds = bounds();
    }
}

/// The subscribers, and those who publish.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    judge: Broadcasts,
    readers: Vec<Reader>,
}

/// The subscriber at one process.
#[derive(Clone, Debug)]
struct Reader {
    subscriber: Subscriber,
    /// Whether it has subscribed in this life of its process.
    here: bool,
    /// How often it was delivered something since it was asked something, or its process recovered;
    /// more than twice is twice.
    served: u8,
}

impl Monitor<Topics> for Readers {
    fn new(processes: usize) -> Self {
        let reader =
            |p| Reader { subscriber: Subscriber::new(ProcessId(p), &bounds()), here: false, served: 0 };
        Self { judge: Broadcasts::of_readers(processes), readers: (0..processes as u8).map(reader).collect() }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<TopicRequest> {
        let Reader { subscriber: mine, here, .. } = &self.readers[at.process.index()];
        let subscriber = NAME.to_owned();
        if !here || mine.fell() {
            let from = mine.from();
            return vec![TopicRequest::Subscribe { request: 0, subscriber, topic: topic(), from }];
        }
        let mut asks = Vec::new();
        let number = self.judge.len();
        if number < allowed {
            asks.push(TopicRequest::Publish {
                request: PUBLISH + number as u64,
                topic: topic(),
                context: Context::default(),
                payload: payload(number, 0),
                patience: PATIENCE,
            });
        }
        // What is delivered, and what never was. Once all is published the oldest is not acknowledged any
        // more: it has to be delivered again and again.
        let end = at.disk.extent(LogId::DELIVERIES).1;
        let kept_back = usize::from(number >= allowed);
        let positions =
            mine.owed().iter().skip(kept_back).copied().chain(mine.pending().last().map(|_| end + 1));
        asks.extend(positions.filter(|p| !mine.stops_already(*p)).map(|position| {
            TopicRequest::Acknowledge { request: position, subscriber: subscriber.clone(), position }
        }));
        asks
    }

    fn asked(&mut self, at: At<'_>, request: &TopicRequest) {
        let reader = &mut self.readers[at.process.index()];
        reader.served = 0;
        match request {
            TopicRequest::Publish { .. } => {
                self.judge.asks(at.process, Guarantee::Reliable, None);
            }
            TopicRequest::Subscribe { .. } => {
                reader.here = true;
            }
            TopicRequest::Acknowledge { request, position, .. } => {
                reader.subscriber.stops(*request, *position);
            }
            TopicRequest::Unsubscribe { .. } => {}
        }
    }

    fn stored(&mut self, at: At<'_>) -> Verdict {
        self.judge.stored(at.process, at.disk)
    }

    fn booted(&mut self, at: At<'_>) -> Verdict {
        self.judge.booted(at.process, at.disk);
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        let reader = &mut self.readers[process.index()];
        reader.here = false;
        reader.served = 0;
        reader.subscriber.crashes();
    }

    fn indicated(&mut self, at: At<'_>, indication: &TopicIndication) -> Verdict {
        self.judge.told(at.process, indication, at.disk)?;
        let (holds, log) = (self.judge.holds(at.process, topic()), self.judge.log(at.process));
        let Reader { subscriber, served, .. } = &mut self.readers[at.process.index()];
        match indication {
            TopicIndication::Delivered { first, records, kept } => {
                subscriber.kept(*first, *kept, first + records.len() as u64, log)
            }
            TopicIndication::Subscribed { outcome, .. } => subscriber.subscribed(outcome, log),
            TopicIndication::Redelivered { outcome: Ok(positions), .. } => {
                *served = (*served + 1).min(2);
                subscriber.delivered(positions, holds)
            }
            TopicIndication::Redelivered { outcome: Err(fell), .. } => subscriber.falls(*fell, log),
            TopicIndication::Acknowledged { request, outcome } => {
                subscriber.stopped(*request, outcome, self.judge.told_of(at.process))
            }
            TopicIndication::Published { .. } | TopicIndication::Unsubscribed { .. } => Ok(()),
        }
    }

    fn finally(&self, _links: &Links, up: &[At<'_>]) -> Verdict {
        for p in up.iter().map(|at| at.process) {
            let Reader { subscriber, served, .. } = &self.readers[p.index()];
            let waits = !subscriber.owed().is_empty() && !subscriber.fell();
            ensure(!waits || *served == 2, Property::Recurrence, || {
                format!("{p} has not delivered {:?} again", subscriber.owed())
            })?;
        }
        Ok(())
    }
}
