//! The messages that a uniform reliable broadcast relays, in stable storage.

use super::message::{MessageId, Order, Relayed};
use super::seen::Seen;
use crate::kernel::{Bound, Bounds, LogId, LoggedLog, ProcessId, Stored, Turn, Undecodable};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The log of relayed messages, and what it amounts to.
///
/// Messages leave it from the front. One at the front that still has to be delivered is moved to the
/// end, in one batch: a message whose predecessor was lost with its publisher would otherwise keep
/// everything behind it for ever.
///
/// Invariant: `held` is what the log holds and what is delivered: what left the log was delivered.
///
/// Bounds: the undelivered messages of each origin lie within `bounds.undelivered` numbers; of the
/// others `bounds.relayed_entries` of `bounds.relayed_bytes` are kept.
#[derive(Clone, Debug)]
pub(super) struct RelayedLog {
    log: LoggedLog,
    /// The names of the entries, in the order of the log.
    ids: VecDeque<MessageId>,
    /// Where each message lies.
    places: BTreeMap<MessageId, u64>,
    /// Held and not delivered.
    waiting: BTreeMap<MessageId, Order>,
    /// Of each origin, what this process holds, or once held.
    held: Vec<Seen>,
    /// Of each origin, what is held and not in the log any more: it was delivered, or is lost.
    gone: Vec<Seen>,
}

impl RelayedLog {
    /// The log as it was last durable, beside what is delivered.
    pub(super) fn start(stored: &Stored, delivered: &[Seen]) -> Result<Self, Undecodable> {
        let log = LoggedLog::recover(LogId::RELAYED, stored);
        let mut relayed = Self {
            log,
            ids: VecDeque::new(),
            places: BTreeMap::new(),
            waiting: BTreeMap::new(),
            held: delivered.to_vec(),
            gone: Vec::new(),
        };
        for index in relayed.log.first()..relayed.log.len() {
            let Some(message) = relayed.log.get(index).and_then(decode) else {
                return Err(Undecodable(format!("relayed/{index}")));
            };
            if !delivered[message.id.origin.index()].contains(message.id.seq) {
                relayed.waiting.insert(message.id, message.order);
            }
            relayed.place(message.id, index);
        }
        for (at, delivered) in delivered.iter().enumerate() {
            let (origin, mut gone, mut from) = (ProcessId(at as u8), Seen::default(), 0);
            for kept in relayed.kept(origin, 0).map(|id| id.seq) {
                delivered.within(from, kept).for_each(|(a, b)| gone.fill(a, b));
                from = kept + 1;
            }
            delivered.within(from, u64::MAX).for_each(|(a, b)| gone.fill(a, b));
            relayed.gone.push(gone);
        }
        Ok(relayed)
    }

    /// A bug put in on purpose: nothing of it is offered any more.
    pub(super) fn forgotten(self) -> Self {
        Self { places: BTreeMap::new(), waiting: BTreeMap::new(), ..self }
    }

    /// Whether the log, or what follows from it, is not as in another recovery.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let of = |r: &Self| (r.log.first(), r.log.len(), r.log.bytes());
        of(self) != of(other)
            || (&self.ids, &self.places, &self.waiting) != (&other.ids, &other.places, &other.waiting)
            || (&self.held, &self.gone) != (&other.held, &other.gone)
    }

    pub(super) fn held(&self) -> &[Seen] {
        &self.held
    }

    /// How many messages are in the log, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.ids.len(), self.log.bytes())
    }

    pub(super) fn is_held(&self, id: MessageId) -> bool {
        self.held[id.origin.index()].contains(id.seq)
    }

    pub(super) fn waiting(&self) -> &BTreeMap<MessageId, Order> {
        &self.waiting
    }

    pub(super) fn get(&self, id: MessageId) -> Option<Relayed> {
        self.log.get(*self.places.get(&id)?).and_then(decode)
    }

    /// The messages of an origin that are kept, from a number on.
    pub(super) fn kept(&self, origin: ProcessId, from: u64) -> impl Iterator<Item = MessageId> {
        let (first, last) = (MessageId { origin, seq: from }, MessageId { origin, seq: u64::MAX });
        self.places.range(first..=last).map(|(id, _)| *id)
    }

    /// Of each origin, what was held and is kept no more.
    pub(super) fn gone(&self) -> &[Seen] {
        &self.gone
    }

    /// Takes a message that is not held.
    pub(super) fn append(&mut self, message: &Relayed, turn: &mut Turn) {
        assert!(!self.is_held(message.id), "{} is appended twice", message.id);
        let index = self.log.len();
        self.log.append(vec![encode(message)], turn);
        self.waiting.insert(message.id, message.order.clone());
        self.place(message.id, index);
    }

    /// A message is delivered.
    pub(super) fn delivered(&mut self, id: MessageId) {
        self.waiting.remove(&id);
    }

    /// Messages of an origin are lost for ever.
    pub(super) fn skip(&mut self, origin: ProcessId, from: u64, to: u64) {
        self.held[origin.index()].fill(from, to);
        self.gone[origin.index()].fill(from, to);
    }

    /// Whether more is delivered than is kept.
    pub(super) fn exceeds(&self, bounds: &Bounds) -> bool {
        let done = self.ids.len() - self.waiting.len();
        done > bounds.relayed_entries || done > 0 && self.log.bytes() > bounds.relayed_bytes
    }

    /// Drops from the front what everybody holds, and what exceeds the bounds.
    pub(super) fn trim(&mut self, bounds: &Bounds, held_by_all: impl Fn(MessageId) -> bool, turn: &mut Turn) {
        let (first, len) = (self.log.first(), self.log.len());
        let mut before = first;
        let mut size = self.log.bytes();
        let mut moved = Vec::new();
        while before < len {
            let Some(entry) = self.log.get(before).cloned() else { break };
            let id = self.ids[(before - first) as usize];
            // Of what is kept, so many are delivered.
            let done = (len - before) as usize + moved.len() - self.waiting.len();
            let many = done > bounds.relayed_entries;
            let exceeds = many || (size > bounds.relayed_bytes && done > 0);
            match self.waiting.contains_key(&id) {
                false if exceeds || held_by_all(id) => {
                    self.places.remove(&id);
                    self.gone[id.origin.index()].insert(id.seq);
                    size -= entry.len();
                    if exceeds && !held_by_all(id) {
                        turn.hit(if many { Bound::RelayedEntries } else { Bound::RelayedBytes });
                    }
                }
                true if exceeds => moved.push((id, entry)),
                false | true => break,
            }
            before += 1;
        }
        if before == first {
            return;
        }
        self.ids.drain(..(before - first) as usize);
        for (i, (id, _)) in moved.iter().enumerate() {
            self.places.insert(*id, len + i as u64);
            self.ids.push_back(*id);
        }
        self.log.append(moved.into_iter().map(|(_, entry)| entry).collect(), turn);
        self.log.trim(before, turn);
    }

    /// An entry has this name.
    fn place(&mut self, id: MessageId, index: u64) {
        self.ids.push_back(id);
        self.places.insert(id, index);
        self.held[id.origin.index()].insert(id.seq);
    }
}

fn encode(message: &Relayed) -> Bytes {
    postcard::to_allocvec(message).expect("messages are plain data, which always encodes").into()
}

fn decode(bytes: &Bytes) -> Option<Relayed> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Held, Journal, Mutants};

    fn message(seq: u64) -> Relayed {
        let id = MessageId { origin: ProcessId(0), seq };
        Relayed { id, topic: "t".into(), order: Order::Fifo(seq), payload: Bytes::from_static(b"m") }
    }

    fn turn(react: impl FnOnce(&mut Turn)) {
        let _ = Journal::new(Mutants::default()).turn(|turn, _: &mut Held<()>| react(turn));
    }

    #[test]
    fn what_waits_at_the_front_is_moved_behind_what_has_to_go() {
        let bounds = Bounds { relayed_entries: 2, ..Bounds::default() };
        let mut relayed = RelayedLog::start(&Stored::default(), &[Seen::default()]).unwrap();
        turn(|turn| {
            (1..6).for_each(|seq| relayed.append(&message(seq), turn));
            (2..6).for_each(|seq| relayed.delivered(message(seq).id));
            relayed.trim(&bounds, |_| false, turn);
            let kept: Vec<u64> = relayed.kept(ProcessId(0), 0).map(|id| id.seq).collect();
            assert_eq!(kept, [1, 4, 5]);
            assert_eq!(relayed.get(message(1).id), Some(message(1)));
            assert_eq!(relayed.log.len(), 6, "and number 1 lies at the end");
            let gone = |number| relayed.gone()[0].contains(number);
            assert!(gone(2) && gone(3) && ![0, 1, 4, 5, 6].into_iter().any(gone));
            relayed.trim(&bounds, |_| true, turn);
            assert_eq!(relayed.kept(ProcessId(0), 0).map(|id| id.seq).collect::<Vec<_>>(), [1]);
        });
    }
}
