//! What must hold of the deliveries of topics: judged from what is asked and told, in whatever world.
//!
//! Every payload is another one, so that a message is known by it.

use super::disk::SimDisk;
use super::property::{Property, Verdict, ensure};
use super::sizes::{padded, unpadded};
use crate::broadcast::{Delivery, Guarantee, Record, Relayed, Topic, TopicIndication};
use crate::kernel::{LogId, ProcessId, ProcessSet};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Names a message: the place of its publication among all of them.
pub(super) type Number = usize;

/// A message that somebody was asked to publish.
#[derive(Clone, Debug)]
struct Asked {
    at: ProcessId,
    guarantee: Guarantee,
    /// What its publisher knew of, in causal order.
    past: BTreeSet<Number>,
    /// Its name, as those tell it who delivered it.
    seq: Option<u64>,
    /// Whether its publisher was told that it is published.
    confirmed: bool,
    /// Who was seen to hold it durably.
    holders: ProcessSet,
}

/// What was ever told of a delivery log, by position. The disk does not know: there it may be trimmed.
pub(super) type Told = BTreeMap<u64, Record>;

/// One past the last position that was ever told.
pub(super) fn end(told: &Told) -> u64 {
    told.last_key_value().map_or(0, |(position, _)| position + 1)
}

/// What one process was seen to deliver.
#[derive(Clone, Debug, Default)]
struct Seen {
    log: Told,
    delivered: BTreeMap<Number, u64>,
    /// Numbers that are lost to it, by origin.
    gaps: Vec<(ProcessId, u64, u64)>,
    /// Of each origin, the last message in FIFO order.
    fifo: BTreeMap<ProcessId, Number>,
    /// Causal deliveries, in order.
    causal: BTreeSet<Number>,
    /// What its disk held at its boot, until it has told that.
    recovered: Option<(u64, u64)>,
    /// One past the last position told in this life.
    told: u64,
    /// How much of its two logs was looked at.
    relayed: u64,
    stored: u64,
    /// Whether its disk lost its memory: it counts nowhere.
    forgot: bool,
}

/// The deliveries of all processes.
#[derive(Clone, Debug)]
pub(super) struct Broadcasts {
    asked: Vec<Asked>,
    seen: Vec<Seen>,
    /// Whether it is known who holds what: not where a log is trimmed as soon as it is written.
    watches_holders: bool,
}

/// The payload of a message, of so many bytes at least.
pub(super) fn payload(number: Number, size: usize) -> Bytes {
    padded(&format!("m{number}"), size).into()
}

fn number(payload: &Bytes) -> Option<Number> {
    unpadded(std::str::from_utf8(payload).ok()?).strip_prefix('m')?.parse().ok()
}

/// What the entries of a log hold, from one on.
fn entries(disk: &SimDisk, log: LogId, from: u64, of: impl Fn(&Bytes) -> Option<Bytes>) -> Vec<Bytes> {
    let (first, end) = disk.extent(log);
    (first.max(from)..end).filter_map(|index| disk.entry(log, index).and_then(&of)).collect()
}

impl Broadcasts {
    pub(super) fn new(processes: usize) -> Self {
        Self { asked: Vec::new(), seen: vec![Seen::default(); processes], watches_holders: true }
    }

    /// Of logs that are trimmed as soon as they are written.
    pub(super) fn of_readers(processes: usize) -> Self {
        Self { watches_holders: false, ..Self::new(processes) }
    }

    /// How many messages were asked to be published.
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    /// A process is asked to publish, by somebody who has seen a message and what caused it. Returns
    /// the number of the message.
    pub(super) fn asks(&mut self, at: ProcessId, guarantee: Guarantee, saw: Option<Number>) -> Number {
        let mut past = BTreeSet::new();
        if guarantee == Guarantee::Causal {
            past.clone_from(&self.seen[at.index()].causal);
            let own = |a: &Asked| a.at == at && a.guarantee == guarantee && a.confirmed;
            past.extend((0..self.asked.len()).filter(|n| own(&self.asked[*n])));
            if let Some(saw) = saw.filter(|n| self.asked[*n].guarantee == Guarantee::Causal) {
                past.extend(&self.asked[saw].past);
                past.insert(saw);
            }
        }
        self.asked.push(Asked {
            at,
            guarantee,
            past,
            seq: None,
            confirmed: false,
            holders: ProcessSet::default(),
        });
        self.asked.len() - 1
    }

    /// A publisher was told that its message is published.
    pub(super) fn confirmed(&mut self, at: ProcessId, number: Number) -> Verdict {
        self.asked[number].confirmed = true;
        if self.asked[number].guarantee == Guarantee::BestEffort {
            return Ok(()); // it is stored
        }
        ensure(self.seen[at.index()].delivered.contains_key(&number), Property::Validity, || {
            format!("{at} confirms m{number}, and has not delivered it")
        })
    }

    /// A process boots, with this on its disk.
    pub(super) fn booted(&mut self, p: ProcessId, disk: &SimDisk) {
        let seen = &mut self.seen[p.index()];
        seen.recovered = Some(disk.extent(LogId::DELIVERIES));
        seen.told = 0;
    }

    /// The disk of a process lost its memory, but for its first `kept` deliveries: those it has told
    /// before, and what it delivers from now on it delivers in another life. If its cluster had formed,
    /// it counts nowhere.
    pub(super) fn wiped(&mut self, p: ProcessId, formed: bool, kept: u64) -> Verdict {
        let lost = Seen { forgot: formed, ..Seen::default() };
        let before = std::mem::replace(&mut self.seen[p.index()], lost);
        for (position, record) in before.log.range(..kept) {
            self.record_told(p, *position, record)?;
        }
        Ok(())
    }

    /// Something became durable at a process: messages that it relays, or has delivered, perhaps.
    pub(super) fn stored(&mut self, p: ProcessId, disk: &SimDisk) -> Verdict {
        let seen = &mut self.seen[p.index()];
        let (first, told) = (disk.extent(LogId::DELIVERIES).0, end(&seen.log));
        ensure(first <= told, Property::ToldFirst, || {
            format!("{p} keeps deliveries from {first} on, and has told of those below {told} alone")
        })?;
        let relayed = |e: &Bytes| postcard::from_bytes::<Relayed>(e).ok().map(|m| m.payload);
        let delivered = |e: &Bytes| match postcard::from_bytes(e) {
            Ok(Record::Delivery(delivery)) => Some(delivery.payload),
            Ok(Record::Gap { .. }) | Err(_) => None,
        };
        let mut held = entries(disk, LogId::RELAYED, seen.relayed, relayed);
        held.extend(entries(disk, LogId::DELIVERIES, seen.stored, delivered));
        (seen.relayed, seen.stored) = (disk.extent(LogId::RELAYED).1, disk.extent(LogId::DELIVERIES).1);
        if !seen.forgot {
            for asked in held.iter().filter_map(number) {
                if let Some(asked) = self.asked.get_mut(asked) {
                    asked.holders.insert(p);
                }
            }
        }
        Ok(())
    }

    /// What a process ever told of its delivery log.
    pub(super) fn log(&self, p: ProcessId) -> &Told {
        &self.seen[p.index()].log
    }

    /// Whether a position was ever told.
    pub(super) fn told_of(&self, p: ProcessId) -> impl Fn(u64) -> bool {
        move |position| self.seen[p.index()].log.contains_key(&position)
    }

    /// Whether a position was told, and is of a topic.
    pub(super) fn holds(&self, p: ProcessId, topic: Topic) -> impl Fn(u64) -> bool {
        move |position| self.seen[p.index()].log.get(&position).is_some_and(|r| r.is_of(&topic))
    }

    /// A process tells something.
    pub(super) fn told(&mut self, p: ProcessId, told: &TopicIndication, disk: &SimDisk) -> Verdict {
        let TopicIndication::Delivered { first, records, .. } = told else { return Ok(()) };
        let end = first + records.len() as u64;
        let durable = disk.extent(LogId::DELIVERIES).1;
        ensure(end <= durable, Property::DurableHint, || {
            format!("{p} tells of deliveries up to {end}, and {durable} are durable there")
        })?;
        let seen = &mut self.seen[p.index()];
        if let Some((kept, length)) = seen.recovered.take() {
            ensure(*first <= kept && end >= length, Property::CompleteHint, || {
                format!("{p} recovers with deliveries {kept}..{length}, and tells first of {first}..{end}")
            })?;
        } else {
            ensure(*first == seen.told, Property::CompleteHint, || {
                format!("{p} has told of deliveries up to {}, and goes on at {first}", seen.told)
            })?;
        }
        seen.told = end;
        for (position, record) in (*first..).zip(records) {
            self.record_told(p, position, record)?;
        }
        Ok(())
    }

    fn record_told(&mut self, p: ProcessId, position: u64, record: &Record) -> Verdict {
        let seen = &mut self.seen[p.index()];
        if let Some(before) = seen.log.get(&position) {
            return ensure(before == record, Property::StablePositions, || {
                format!("at {p} position {position} held {before:?}, and holds {record:?}")
            });
        }
        seen.log.insert(position, record.clone());
        match record {
            Record::Gap { origin, from, to } => {
                seen.gaps.push((*origin, *from, *to));
                Ok(())
            }
            Record::Delivery(delivery) => self.delivers(p, position, delivery),
        }
    }

    /// A process delivers a message for the first time, as far as was told.
    fn delivers(&mut self, p: ProcessId, position: u64, delivery: &Delivery) -> Verdict {
        let known = number(&delivery.payload).filter(|n| *n < self.asked.len());
        let Some(number) = known else {
            return ensure(false, Property::NoCreation, || format!("{p} delivers {delivery:?}"));
        };
        let processes = self.seen.len();
        let (id, asked) = (delivery.id, &mut self.asked[number]);
        let same = asked.at == id.origin
            && asked.guarantee == delivery.topic.guarantee
            && *asked.seq.get_or_insert(id.seq) == id.seq;
        ensure(same, Property::NoCreation, || {
            format!("{p} delivers m{number} as {id} of {}; {} was asked for it", delivery.topic, asked.at)
        })?;
        if asked.guarantee != Guarantee::BestEffort && self.watches_holders {
            // Were those who hold it never to come back, nobody else would deliver it any more.
            ensure(2 * asked.holders.len() > processes, Property::UniformAgreement, || {
                format!("{p} delivers m{number}, which is durable at {:?} alone", asked.holders)
            })?;
        }
        let before = self.seen[p.index()].delivered.insert(number, position);
        ensure(before.is_none(), Property::NoDuplication, || {
            format!("{p} delivers m{number} at position {position}, and at {before:?} before")
        })?;
        match delivery.topic.guarantee {
            Guarantee::BestEffort | Guarantee::Reliable => Ok(()),
            Guarantee::Fifo => {
                let last = self.seen[p.index()].fifo.insert(id.origin, number);
                ensure(last < Some(number), Property::FifoDelivery, || {
                    format!("{p} delivers m{number} after {last:?}, which {} published later", id.origin)
                })
            }
            Guarantee::Causal => {
                let seen = &self.seen[p.index()];
                let missing = self.asked[number]
                    .past
                    .iter()
                    .find(|n| !seen.delivered.contains_key(n) && !self.is_lost(p, **n));
                ensure(missing.is_none(), Property::CausalDelivery, || {
                    format!("{p} delivers m{number}, and not m{missing:?}, which its publisher knew of")
                })?;
                self.seen[p.index()].causal.insert(number);
                Ok(())
            }
        }
    }

    /// Whether a message is lost to a process, which was told so.
    fn is_lost(&self, p: ProcessId, number: Number) -> bool {
        let Asked { at, seq, .. } = self.asked[number];
        let within = |seq| {
            self.seen[p.index()].gaps.iter().any(|(o, from, to)| *o == at && (*from..*to).contains(&seq))
        };
        seq.is_some_and(within)
    }

    /// Faults stopped long ago, and these processes hear a majority, each of them by way of others at
    /// least: what was delivered anywhere, or confirmed, they have delivered.
    pub(super) fn finally(&self, near: &[ProcessId]) -> Verdict {
        for (number, asked) in self.asked.iter().enumerate() {
            if asked.guarantee == Guarantee::BestEffort {
                continue;
            }
            let deliverer = (0..self.seen.len()).find(|q| self.seen[*q].delivered.contains_key(&number));
            if !asked.confirmed && deliverer.is_none() {
                continue;
            }
            for p in near {
                let has = self.seen[p.index()].delivered.contains_key(&number) || self.is_lost(*p, number);
                let by = match deliverer {
                    Some(_) => Property::UniformAgreement,
                    None => Property::Validity,
                };
                ensure(has, by, || {
                    format!("m{number} of {} was delivered by p{deliverer:?}, and not by {p}", asked.at)
                })?;
            }
        }
        Ok(())
    }
}
