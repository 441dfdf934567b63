//! The logged cursor in the small world: each process has a delivery log and a consumer, which counts
//! what it reads.

use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::broadcast::{
    BroadcastMessage, Context, CursorError, Deliveries, Delivery, Guarantee, LoggedCursor, MessageId, Record,
    Topic,
};
use crate::kernel::{
    Bounds, Config, Held, Incarnation, LogId, Logged, Mutant, ProcessId, Protocol, Stored, Turn, Undecodable,
    Upon,
};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;

const CURSOR: &str = "consumer/cursor";
const EFFECT: &str = "consumer/effect";
const TWO: Size =
    Size { processes: 2, askers: 2, requests: 2, crashes: 1, ticks: 0, again: true, overtaken: false };
const KEPT: u64 = 1;

/// Processes with a consumer each.
#[derive(Clone, Debug)]
pub(super) struct Cursor;

impl Scenario for Cursor {
    const NAME: &'static str = "logged-cursor";
    const PROPERTIES: &'static [Property] = &[
        Property::DurableHint,
        Property::CompleteHint,
        Property::ContiguousEffects,
        Property::KeptForCursor,
    ];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::CursorStoredApart,
            by: Property::ContiguousEffects,
            seeds: 20,
            within: Some(TWO),
        },
        Trial { mutant: Mutant::ExposeBeforeSync, by: Property::DurableHint, seeds: 20, within: Some(TWO) },
    ];
    const CLOSED: Option<Size> = Some(TWO);
    const WIDE: Option<Size> = Some(Size {
        processes: 3,
        askers: 3,
        requests: 3,
        crashes: 1,
        ticks: 1,
        again: true,
        overtaken: false,
    });
    type Process = Consumer;
    type Monitor = Reader;

    fn configure(config: &mut Config) {
        config.bounds = Bounds { delivery_entries: KEPT, ..Bounds::default() };
    }
}

/// What is asked of a process.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Deliver a message.
    Put(u64),
    /// Ready: process the next delivery, if there is one.
    Take,
}

/// What a process tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tell {
    /// The delivery log holds at least so much.
    Deliver { up_to: u64 },
    /// The delivery at a position was processed.
    Took { position: u64 },
    /// There never will be anything at the cursor.
    Lost(CursorError),
}

/// A delivery log, and a consumer whose effect is the list of what it read.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    config: Config,
    deliveries: Deliveries,
    cursor: LoggedCursor,
    effect: Logged<Vec<u64>>,
    /// A bug put in on purpose: the cursor is stored in a turn of its own.
    apart: bool,
}

impl Consumer {
    fn put(&mut self, number: u64, turn: &mut Turn) {
        let topic = Topic { guarantee: Guarantee::BestEffort, name: "t".to_owned() };
        let id = MessageId { origin: self.config.me, seq: number };
        let payload = Bytes::from(number.to_be_bytes().to_vec());
        self.deliveries
            .append(Record::Delivery(Delivery { topic, id, context: Context::default(), payload }), turn);
    }

    fn take(&mut self, turn: &mut Turn, up: &mut Held<Tell>) {
        if std::mem::take(&mut self.apart) {
            self.cursor.advance(turn);
        }
        let record = match self.cursor.ready(&self.deliveries) {
            Ok(Some(Record::Delivery(delivery))) => delivery,
            Ok(Some(Record::Gap { .. }) | None) => return,
            Err(error) => return up.expose(Tell::Lost(error)),
        };
        let position = self.cursor.position();
        let mut effect = self.effect.to_vec();
        effect.push(record.id.seq);
        self.effect.set(effect, turn);
        match self.config.mutants.on(Mutant::CursorStoredApart) {
            true => self.apart = true,
            false => self.cursor.advance(turn),
        }
        up.expose(Tell::Took { position });
    }

    fn tell(&mut self, turn: &mut Turn, up: &mut Held<Tell>) {
        self.deliveries.trim(self.cursor.position(), turn);
        if let Some((first, records)) = self.deliveries.take_news() {
            up.expose(Tell::Deliver { up_to: first + records.len() as u64 });
        }
    }
}

impl Protocol for Consumer {
    type Request = Ask;
    type Indication = Tell;

    fn start(
        config: Config,
        _inc: Incarnation,
        stored: &Stored,
        turn: &mut Turn,
        up: &mut Held<Tell>,
    ) -> Result<Self, Undecodable> {
        let mut consumer = Self {
            deliveries: Deliveries::start(config.clone(), stored)?,
            cursor: LoggedCursor::recover(CURSOR, stored, 0)?,
            effect: Logged::recover(EFFECT, stored, Vec::new())?,
            apart: false,
            config,
        };
        consumer.tell(turn, up);
        Ok(consumer)
    }

    fn upon(&mut self, event: Upon<Ask>, turn: &mut Turn, up: &mut Held<Tell>) {
        match event {
            Upon::Request(Ask::Put(number)) => self.put(number, turn),
            Upon::Request(Ask::Take) => self.take(turn, up),
            Upon::Frame { from, frame } => {
                if let Ok(BroadcastMessage::Told { end }) = frame.message()
                    && from == self.config.me
                {
                    self.deliveries.upon_told(end);
                }
            }
            Upon::Tick => {}
        }
        self.tell(turn, up);
    }
}

/// The judge of all consumers.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    asked: u64,
    /// What each process was told last, in this life.
    told: Vec<Option<u64>>,
    /// What was durable at its boot.
    recovered: Vec<u64>,
}

impl Monitor<Consumer> for Reader {
    fn new(processes: usize) -> Self {
        Self { asked: 0, told: vec![None; processes], recovered: vec![0; processes] }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<Ask> {
        let (_, end) = at.disk.extent(LogId::DELIVERIES);
        let mut asks = Vec::new();
        if self.asked < allowed as u64 {
            asks.push(Ask::Put(self.asked));
        }
        if at.disk.decoded::<u64>(CURSOR).unwrap_or(0) < end {
            asks.push(Ask::Take);
        }
        asks
    }

    fn asked(&mut self, _at: At<'_>, request: &Ask) {
        match request {
            Ask::Put(_) => self.asked += 1,
            Ask::Take => {}
        }
    }

    fn stored(&mut self, at: At<'_>) -> Verdict {
        let p = at.process;
        let cursor = at.disk.decoded::<u64>(CURSOR).unwrap_or(0);
        let effect: Vec<u64> = at.disk.decoded(EFFECT).unwrap_or_default();
        ensure(effect.len() as u64 == cursor, Property::ContiguousEffects, || {
            format!("{p} has had {} effects, and its cursor is {cursor}", effect.len())
        })?;
        let (first, end) = at.disk.extent(LogId::DELIVERIES);
        ensure(first <= cursor || end - first >= 2 * KEPT, Property::KeptForCursor, || {
            format!("{p} keeps {first}..{end}, and its consumer is at {cursor}")
        })
    }

    fn booted(&mut self, at: At<'_>) -> Verdict {
        self.recovered[at.process.index()] = at.disk.extent(LogId::DELIVERIES).1;
        Ok(())
    }

    fn crashed(&mut self, process: ProcessId) {
        self.told[process.index()] = None;
    }

    fn indicated(&mut self, at: At<'_>, indication: &Tell) -> Verdict {
        let p = at.process;
        match indication {
            Tell::Deliver { up_to } => {
                let durable = at.disk.extent(LogId::DELIVERIES).1;
                ensure(*up_to <= durable, Property::DurableHint, || {
                    format!("{p} hints at {up_to} deliveries, and {durable} are durable")
                })?;
                let first = self.told[p.index()].replace(*up_to).is_none();
                let recovered = self.recovered[p.index()];
                ensure(!first || *up_to >= recovered, Property::CompleteHint, || {
                    format!("{p} recovers with {recovered} deliveries, and hints at {up_to} first")
                })
            }
            Tell::Took { .. } => Ok(()),
            // It lagged behind twice the bound, and is told so.
            Tell::Lost(CursorError::FellOff(_)) => Ok(()),
            Tell::Lost(error @ (CursorError::Ahead { .. } | CursorError::OtherLog { .. })) => {
                ensure(false, Property::ContiguousEffects, || format!("{p}: {error}"))
            }
        }
    }

    fn finally(&self, _links: &Links, _up: &[At<'_>]) -> Verdict {
        Ok(())
    }
}
