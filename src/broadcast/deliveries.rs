//! The delivery log: what was delivered at this process, of all topics and guarantees, for whoever
//! reads it from a place of his own.
//!
//! Interface: Append(record), which returns its position; what is kept is read at a position
//! ([`Deliveries::record`]), and told as it comes ([`Deliveries::take_news`]).
//!
//! Properties: positions count up from 0 and are never used again; a position holds the same record
//! in every incarnation. What was delivered is in the log before anybody hears of it.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 2.4.5 (Log Delivered): the variable `delivered` of every logged module, in
//! one place. **On recovery** all that is kept is told again.
//!
//! Retention is bounded: what exceeds `bounds.delivery_entries` and `bounds.delivery_bytes` is
//! trimmed at the next tick, oldest first, once whoever has a name here has acknowledged it; what exceeds
//! twice as much is trimmed in any case, without waiting for a tick. So that what is trimmed is never delivered again, the numbers of
//! everything delivered are stored with the trim: a watermark and a window for each origin.
//!
//! Nothing is trimmed before it is told. A trim that knew nothing of what was told could end a
//! record in the very commit that began it:
//!
//! ```text
//! tick ─ appends Gap(m0), trims it: the log exceeds its bound ─ one commit ─ dies before it tells
//! boot ─ tells what the log holds: of m0 nobody hears anything, and m1, which m0 caused, follows
//! ```
//!
//! What was told a process hears from itself: the message that says so leaves with the stores of its
//! turn, behind what earlier turns told. Until it comes the log may exceed its bound by what one or
//! two commits hold.

use super::causal::Context;
use super::message::{BroadcastMessage, Delivery, Guarantee, Topic};
use super::seen::Seen;
use crate::kernel::{
    Account, Bound, Bounds, Config, LogId, Logged, LoggedLog, Memory, Mutant, ProcessId, SLOT, Stored, Turn,
    Undecodable,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a position of the delivery log holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Record {
    /// A message.
    Delivery(Delivery),
    /// These messages of a process are lost to this one: it was down for longer than the others keep
    /// messages, or lost its memory.
    Gap {
        /// Whose messages.
        origin: ProcessId,
        /// The first number.
        from: u64,
        /// One past the last number.
        to: u64,
    },
}

impl Record {
    /// Whether it belongs to a topic. A gap may have held messages of any topic with an order.
    pub fn is_of(&self, topic: &Topic) -> bool {
        match self {
            Self::Delivery(delivery) => delivery.topic == *topic,
            Self::Gap { .. } => topic.guarantee != Guarantee::BestEffort,
        }
    }

    fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("records are plain data, which always encodes").into()
    }

    /// How many bytes the log holds of it.
    pub(crate) fn bytes(&self) -> usize {
        self.encode().len()
    }

    /// From the log.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// What the records of a prefix of the log amount to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Sum {
    /// The length of the prefix.
    len: u64,
    /// Of each origin, what uniform reliable broadcast has delivered, or lost for ever.
    delivered: Vec<Seen>,
    /// What was delivered in causal order.
    causal: Context,
    /// One past the number of this process' own last message in FIFO order, or 0.
    fifo: u64,
}

impl Sum {
    fn add(&mut self, record: &Record, me: ProcessId) {
        self.len += 1;
        match record {
            Record::Gap { origin, from, to } => self.delivered[origin.index()].fill(*from, *to),
            Record::Delivery(Delivery { topic, id, .. }) => {
                match topic.guarantee {
                    Guarantee::BestEffort => return,
                    Guarantee::Reliable => {}
                    Guarantee::Fifo if id.origin == me => self.fifo = self.fifo.max(id.seq + 1),
                    Guarantee::Fifo => {}
                    Guarantee::Causal => self.causal.add(*id),
                }
                self.delivered[id.origin.index()].insert(id.seq);
            }
        }
    }
}

/// Windows of undelivered messages that may come until a process hears what was told.
const FRESH: usize = 8;

/// The delivery log of one process.
///
/// Invariant: `sum` is that of the whole log; `base`, when it was stored last, was that of a prefix
/// that reaches at least to the first record that is kept. `first() ≤ told ≤ asked`, but for a log
/// that was just recovered: it is told anew before it is trimmed.
#[derive(Clone, Debug)]
pub struct Deliveries {
    config: Config,
    log: LoggedLog,
    sum: Sum,
    base: Logged<Sum>,
    /// How many of the records that are kept each topic has.
    topics: BTreeMap<Topic, u64>,
    /// Appended, and not told yet; the last records of the log.
    news: Vec<Record>,
    /// Whether anything was told in this incarnation.
    begun: bool,
    /// Everything below was told in this incarnation.
    told: u64,
    /// What this process has asked itself about, and will be told.
    asked: u64,
    /// Whether a question is under way.
    asking: bool,
}

impl Deliveries {
    /// The log as it was last durable, all of it to be told again.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn start(config: Config, stored: &Stored) -> Result<Self, Undecodable> {
        let log = LoggedLog::recover(LogId::DELIVERIES, stored);
        let nothing = Sum {
            len: 0,
            delivered: vec![Seen::default(); config.processes],
            causal: Context::default(),
            fifo: 0,
        };
        let base = Logged::recover("deliveries/base", stored, nothing)?;
        let mut deliveries = Self {
            sum: Sum::clone(&base),
            base,
            topics: BTreeMap::new(),
            news: Vec::new(),
            begun: false,
            told: 0,
            asked: 0,
            asking: false,
            log,
            config,
        };
        for position in deliveries.first()..deliveries.len() {
            let Some(record) = deliveries.record(position) else {
                return Err(Undecodable(format!("deliveries/{position}")));
            };
            if position >= deliveries.sum.len {
                deliveries.sum.add(&record, deliveries.config.me);
            }
            deliveries.count(&record);
            deliveries.news.push(record);
        }
        if deliveries.config.mutants.on(Mutant::HintRestartsAtTheEnd) {
            deliveries.news.clear();
        }
        if deliveries.config.mutants.on(Mutant::PositionsByName) {
            deliveries.news.sort_by_key(|record| match record {
                Record::Delivery(delivery) => (delivery.id.origin, delivery.id.seq),
                Record::Gap { origin, from, .. } => (*origin, *from),
            });
        }
        Ok(deliveries)
    }

    /// Deliveries: twice `delivery_entries` of `delivery_bytes`, where a subscriber lags; and of every
    /// process a few windows of undelivered ones, which came since the process asked what was told, and as
    /// many since it asked again.
    pub fn memory(&self) -> Memory {
        let Bounds { delivery_entries, delivery_bytes, undelivered, message_bytes, .. } = self.config.bounds;
        let one = SLOT + Bounds::MESSAGE_HEADER;
        let fresh = FRESH * self.config.processes * undelivered as usize * (one + message_bytes);
        let most = 2 * delivery_entries as usize * one + 2 * delivery_bytes + 2 * fresh;
        let kept = (self.len() - self.first()) as usize;
        Memory::new(Account::Deliveries, (kept, self.log.bytes()), most)
    }

    /// Whether the log, or what follows from it, is not as in another recovery.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let of = |d: &Self| (d.log.first(), d.log.len(), d.log.bytes());
        of(self) != of(other) || (&self.sum, &self.topics) != (&other.sum, &other.topics)
    }

    /// The oldest position that is kept.
    pub fn first(&self) -> u64 {
        self.log.first()
    }

    /// One past the last position.
    pub fn len(&self) -> u64 {
        self.log.len()
    }

    /// Whether nothing was ever delivered.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Of each origin, what uniform reliable broadcast has delivered, or lost for ever.
    pub fn delivered(&self) -> &[Seen] {
        &self.sum.delivered
    }

    /// What was delivered in causal order.
    pub fn causal(&self) -> &Context {
        &self.sum.causal
    }

    /// One past the number of this process' own last message in FIFO order that is delivered, or 0.
    pub fn end_of_fifo(&self) -> u64 {
        self.sum.fifo
    }

    /// Whether a topic would be one too many.
    pub fn is_full_for(&self, topic: &Topic) -> bool {
        self.topics.len() >= self.config.bounds.topics && !self.topics.contains_key(topic)
    }

    /// What a position holds, while it is kept.
    pub fn record(&self, position: u64) -> Option<Record> {
        self.log.get(position).and_then(Record::decode)
    }

    /// Appends a record; its position.
    pub fn append(&mut self, record: Record, turn: &mut Turn) -> u64 {
        let position = self.log.len();
        self.log.append(vec![record.encode()], turn);
        self.sum.add(&record, self.config.me);
        self.count(&record);
        self.news.push(record);
        position
    }

    /// What was appended since this was last asked, and where it begins; at first all that is kept.
    pub fn take_news(&mut self) -> Option<(u64, Vec<Record>)> {
        if self.begun && self.news.is_empty() {
            return None;
        }
        self.begun = true;
        let news = std::mem::take(&mut self.news);
        Some((self.len() - news.len() as u64, news))
    }

    /// This process hears from itself that everything below `end` was told. Whether the log exceeds twice
    /// its bounds, and is to be trimmed at once.
    pub fn upon_told(&mut self, end: u64) -> bool {
        self.told = self.told.max(end);
        self.asking = false;
        self.exceeds_twice()
    }

    fn exceeds_twice(&self) -> bool {
        let Bounds { delivery_entries, delivery_bytes, .. } = self.config.bounds;
        self.len() - self.first() > 2 * delivery_entries || self.log.bytes() > 2 * delivery_bytes
    }

    /// Asks what was told, if the log exceeds twice its bounds and no question is under way.
    pub fn ask_if_over(&mut self, turn: &mut Turn) {
        if self.exceeds_twice() && !self.asking && self.begun {
            self.ask(turn);
        }
    }

    fn ask(&mut self, turn: &mut Turn) {
        self.asking = true;
        self.asked = self.len() - self.news.len() as u64;
        turn.send(self.config.me, &BroadcastMessage::Told { end: self.asked });
    }

    /// Drops what retention does not keep and was told. From `wanted` on nothing is acknowledged yet.
    /// Whether anything was dropped.
    pub fn trim(&mut self, wanted: u64, turn: &mut Turn) -> bool {
        let bounds = &self.config.bounds;
        let (entries, bytes) = (bounds.delivery_entries, bounds.delivery_bytes);
        let exceeds =
            self.beyond(entries, bytes, wanted).max(self.beyond(2 * entries, 2 * bytes, self.len()));
        if exceeds > self.asked && self.begun {
            self.ask(turn);
        }
        let before = match self.config.mutants.on(Mutant::TrimmedUntold) {
            true => exceeds,
            false => exceeds.min(self.told),
        };
        if before <= self.first() || self.config.mutants.on(Mutant::DeliveriesKept) {
            return false;
        }
        if before > wanted {
            turn.hit(Bound::DeliveriesWanted);
        }
        let many = self.len() - self.first() > entries;
        turn.hit(if many { Bound::DeliveryEntries } else { Bound::DeliveryBytes });
        for position in self.first()..before {
            if let Some(Record::Delivery(Delivery { topic, .. })) = self.record(position)
                && let Some(kept) = self.topics.get_mut(&topic)
            {
                *kept -= 1;
                if *kept == 0 {
                    self.topics.remove(&topic);
                }
            }
        }
        self.base.set(self.sum.clone(), turn);
        self.log.trim(before, turn);
        true
    }

    /// The first position such that what follows stays within bounds, or else `limit`.
    fn beyond(&self, entries: u64, bytes: usize, limit: u64) -> u64 {
        let mut first = self.first();
        let mut size = self.log.bytes();
        while first < limit && (self.len() - first > entries || size > bytes) {
            let Some(oldest) = self.log.get(first) else { break };
            size -= oldest.len();
            first += 1;
        }
        first
    }

    fn count(&mut self, record: &Record) {
        if let Record::Delivery(delivery) = record {
            *self.topics.entry(delivery.topic.clone()).or_default() += 1;
        }
    }
}
