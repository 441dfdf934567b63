//! Uniform reliable broadcast, logged, over any connected graph of fair-loss links.
//!
//! Request: Broadcast(m). Indications: Deliver(position in the delivery log); the delivery of one's
//! own message is its Confirm: the next may follow. Ready is the reader's: it takes deliveries from
//! the log when it wants ([`super::LoggedCursor`], [`super::Redelivery`]).
//!
//! Properties, while a majority of processes is correct and connected, by way of others too:
//! * *validity*: what a correct process broadcasts, it delivers;
//! * *no duplication*: no message is delivered twice, in any life of a process;
//! * *no creation*: what is delivered was broadcast by its origin;
//! * *uniform agreement*: what any process delivers, every correct process delivers, also where the
//!   one that delivered first never comes back.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Sections 3.4.3 (majority-ack uniform reliable broadcast) and 3.8.4 (logged).
//!
//! **Durable first**: a message, before it is relayed, and before this process says that it holds
//! it; the delivery, before it is told. All of it follows from the turn. **On recovery** the relayed
//! messages are offered again, and who holds what is learned anew.
//!
//! A message is delivered once a majority holds it durably. There is no acknowledgement per message:
//! each process says what it holds, as a watermark and a window for each origin, and passes on what
//! others said, so that two processes without a link between them hear of each other. What a peer
//! says is taken only while each of the two has recorded the other's boot; what it passes on was
//! taken by somebody on the same terms. A process that lost its memory says nothing that counts. What it said
//! before stays true of the life in which it said it: a majority did hold the message, and the lost disk
//! is that of a faulty process, like one that never comes back.
//!
//! **Bounds**: a process has its own undelivered messages within `bounds.undelivered` numbers, past
//! that it is refused until the oldest is delivered; it takes those of another within as many. So
//! every process has room for the oldest that it lacks of each origin, and no order among messages of
//! different origins can fill it with others. Delivered messages stay, for those who lack them, until
//! everybody holds them or there are more than `bounds.relayed_entries`: a process that comes back
//! later than that learns of a gap, which its delivery log records.

use super::causal;
use super::deliveries::{Deliveries, Record};
use super::fifo;
use super::message::{BroadcastMessage, MessageId, Order, Relayed, is_publishable};
use super::relayed::RelayedLog;
use super::seen::Seen;
use crate::kernel::{
    Account, Bound, Bounds, Config, MAX_COUNT, Memory, Mutant, ProcessId, ProcessSet, SLOT, Stored, Ticks,
    Turn, Undecodable,
};
use bytes::Bytes;

/// What a peer last said of itself, and what it was offered.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// Of each origin: what it holds, what it has delivered, and what it keeps no more. Nothing before
    /// it was heard.
    said: Option<Said>,
    /// Whether what it said counts.
    counts: bool,
    /// Ticks until it counts as silent.
    heard: Ticks,
    /// Ticks until it is offered again what it lacks; 0 while it lacks nothing.
    resend: Ticks,
    /// Where the offer goes on as soon as it has taken what it was offered last.
    next: Option<MessageId>,
}

#[derive(Clone, Debug)]
struct Said {
    held: Vec<Seen>,
    delivered: Vec<u64>,
    gone: Vec<Seen>,
}

/// What a process has yet to say of what it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Unsaid {
    /// Nothing new.
    Nothing,
    /// Something of others, or what it has delivered: with the next tick.
    Later,
    /// Something that it holds itself: with this turn.
    Now,
}

/// Numbers of an origin beyond those that are held which one word of a peer can reach.
const REACH: u64 = 1 << 16;

/// Uniform reliable broadcast at one process.
#[derive(Clone, Debug)]
pub struct UniformReliable {
    config: Config,
    relayed: RelayedLog,
    /// For each process, of each origin, what it holds durably, as far as is known here; the row of
    /// this process is in `relayed`.
    have: Vec<Vec<Seen>>,
    peers: Vec<Peer>,
    /// With whom facts are exchanged, this process included; empty while its own would not count.
    voters: ProcessSet,
    unsaid: Unsaid,
    /// Ticks until what is held is said again.
    say: Ticks,
    /// Ticks until a gap may be believed in: until then not every peer had time to be heard.
    patience: Ticks,
}

impl UniformReliable {
    /// The messages as they were last durable, to be offered again.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn start(config: Config, stored: &Stored, deliveries: &Deliveries) -> Result<Self, Undecodable> {
        let relayed = RelayedLog::start(stored, deliveries.delivered())?;
        let n = config.processes;
        let resend = config.timing.resend;
        let peer = Peer { resend, ..Peer::default() };
        Ok(Self {
            relayed: match config.mutants.on(Mutant::RelayedForgotten) {
                true => relayed.forgotten(),
                false => relayed,
            },
            have: vec![vec![Seen::default(); n]; n],
            peers: vec![peer; n],
            voters: ProcessSet::default(),
            unsaid: Unsaid::Now,
            say: resend,
            patience: config.timing.election,
            config,
        })
    }

    /// With whom facts are exchanged from now on. A process that is not among them itself broadcasts
    /// nothing, and counts nowhere: it lost its memory, or nobody has recorded its boot yet.
    pub fn set_voters(&mut self, voters: ProcessSet) {
        if self.voters != voters {
            self.voters = voters;
            self.unsaid = Unsaid::Now;
        }
    }

    /// Messages that are relayed: of each process those within `undelivered` numbers, and `relayed_entries`
    /// of `relayed_bytes` that are delivered.
    pub fn memory(&self) -> Memory {
        let Bounds { undelivered, relayed_entries, relayed_bytes, message_bytes, .. } = self.config.bounds;
        let waiting = self.config.processes * undelivered as usize;
        let one = SLOT + Bounds::MESSAGE_HEADER;
        let most = (relayed_entries + waiting) * one + relayed_bytes + (waiting + 1) * message_bytes;
        Memory::new(Account::Relayed, self.relayed.size(), most)
    }

    /// Whether what is relayed is not as in another recovery.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.relayed.differs(&other.relayed)
    }

    /// Whether what this process holds counts.
    pub fn counts(&self) -> bool {
        self.voters.contains(self.config.me)
    }

    /// The own messages that wait to be delivered, in order.
    pub fn own_waiting(&self) -> impl DoubleEndedIterator<Item = (MessageId, &Order)> {
        let of = |seq| MessageId { origin: self.config.me, seq };
        self.relayed.waiting().range(of(0)..=of(u64::MAX)).map(|(id, order)| (*id, order))
    }

    /// The name of the next own message, if there is room for one.
    pub fn next(&self, deliveries: &Deliveries) -> Option<MessageId> {
        let me = self.config.me;
        let seq = self.relayed.held()[me.index()].end();
        let oldest = deliveries.delivered()[me.index()].low();
        (self.counts() && seq - oldest < self.config.bounds.undelivered)
            .then_some(MessageId { origin: me, seq })
    }

    /// Broadcasts a message, under the name that is next.
    pub fn broadcast(&mut self, id: MessageId, topic: String, order: Order, payload: Bytes, turn: &mut Turn) {
        let message = Relayed { id, topic, order, payload };
        self.hold(&message, turn);
        turn.send_all(self.config.peers(), &BroadcastMessage::Relay { messages: vec![message] });
    }

    /// Another process says something.
    pub fn upon(
        &mut self,
        from: ProcessId,
        message: BroadcastMessage,
        deliveries: &Deliveries,
        turn: &mut Turn,
    ) {
        if from == self.config.me || from.index() >= self.config.processes {
            return;
        }
        match message {
            BroadcastMessage::Relay { messages } => {
                for message in messages {
                    if !self.may_be(&message) {
                        continue;
                    }
                    match self.has_room_for(message.id, deliveries) {
                        Ok(()) => self.hold(&message, turn),
                        Err(hit) => hit.into_iter().for_each(|hit| turn.hit(hit)),
                    }
                }
            }
            BroadcastMessage::Have { counts, rows, delivered, gone } => {
                let n = self.config.processes;
                let fits = rows.len() == n && rows.iter().all(|row| row.len() == n);
                if fits && delivered.len() == n && gone.len() == n {
                    let (rows, gone) = (self.within_reach(rows), self.within_reach(vec![gone]).remove(0));
                    self.upon_have(from, counts, rows, Said { held: Vec::new(), delivered, gone }, turn);
                }
            }
            // Of the delivery log, which every process has for itself.
            BroadcastMessage::Told { .. } => {}
        }
    }

    /// Time passes.
    pub fn tick(&mut self, deliveries: &mut Deliveries, turn: &mut Turn) {
        self.patience = self.patience.saturating_sub(1);
        for q in self.config.peers() {
            let peer = &mut self.peers[q.index()];
            peer.heard = peer.heard.saturating_sub(1);
            if peer.resend > 0 {
                peer.resend -= 1;
                if peer.resend == 0 {
                    peer.next = Some(MessageId { origin: ProcessId(0), seq: 0 });
                    self.offer(q, turn);
                }
            }
        }
        self.skip_gaps(deliveries, turn);
        self.trim(turn);
        self.say = self.say.saturating_sub(1);
        if self.say == 0 || self.unsaid != Unsaid::Nothing {
            self.tell(turn);
        }
    }

    /// `upon` a majority holds a message, `such that` its order admits it: delivers it. Whether
    /// anything was delivered.
    pub fn settle(&mut self, deliveries: &mut Deliveries, turn: &mut Turn) -> bool {
        let mut any = false;
        loop {
            let delivered = deliveries.delivered();
            let may = |(id, order): (&MessageId, &Order)| {
                (self.is_held_by_majority(*id) && self.admits(*id, order, delivered)).then_some(*id)
            };
            let ready: Vec<MessageId> = self.relayed.waiting().iter().filter_map(may).collect();
            if ready.is_empty() {
                break;
            }
            for id in ready {
                self.relayed.delivered(id);
                let Some(message) = self.relayed.get(id) else {
                    unreachable!("{id} waits, and is not in the log")
                };
                deliveries.append(Record::Delivery(message.delivery()), turn);
                self.unsaid = self.unsaid.max(Unsaid::Later);
                any = true;
            }
        }
        if any && self.relayed.exceeds(&self.config.bounds) {
            self.trim(turn);
        }
        if self.unsaid == Unsaid::Now {
            self.tell(turn);
        }
        any
    }

    /// Drops what everybody holds, and what is more than is kept.
    fn trim(&mut self, turn: &mut Turn) {
        let have = &self.have;
        let all: Vec<ProcessId> = self.config.peers().collect();
        let by_all = |id: MessageId| all.iter().all(|p| have[p.index()][id.origin.index()].contains(id.seq));
        self.relayed.trim(&self.config.bounds, by_all, turn);
    }

    fn admits(&self, id: MessageId, order: &Order, delivered: &[Seen]) -> bool {
        match order {
            Order::None => true,
            Order::Fifo(previous) => {
                fifo::admits(id, *previous, delivered) || self.config.mutants.on(Mutant::FifoGaps)
            }
            Order::Causal(past) => {
                causal::admits(past, delivered) || self.config.mutants.on(Mutant::CausalContextIgnored)
            }
        }
    }

    /// Whether a majority holds a message durably: this process too, once this turn is.
    fn is_held_by_majority(&self, id: MessageId) -> bool {
        let holds = |p: &ProcessId| match *p == self.config.me {
            true => self.counts(),
            false => self.have[p.index()][id.origin.index()].contains(id.seq),
        };
        let mut holders = self.config.members().filter(holds).count();
        if self.config.mutants.on(Mutant::OwnCopyCountedTwice) {
            holders += 1;
        }
        holders >= self.config.majority() || self.config.mutants.on(Mutant::DeliveredWithoutMajority)
    }

    /// Whether a message can have been broadcast. One of its own a process that remembers has: it was
    /// stored before anybody heard of it.
    fn may_be(&self, message: &Relayed) -> bool {
        let order = match &message.order {
            Order::None => true,
            Order::Fifo(previous) => *previous <= message.id.seq,
            Order::Causal(past) => past.is_of(self.config.processes),
        };
        let forgotten = message.id.origin != self.config.me || !self.counts();
        order
            && forgotten
            && message.id.seq < MAX_COUNT
            && is_publishable(&message.topic, &message.payload, &self.config.bounds)
    }

    /// What a peer says of what is held, as far as this process can follow: of each origin so many
    /// numbers beyond those that it holds itself. What lies further is heard once it has come there.
    ///
    /// ```text
    /// liar   Have(everything below 2^64, and all of it gone) ──┐
    /// p                                                      a gap of 2^64: every message is lost
    /// ```
    fn within_reach(&self, rows: Vec<Vec<Seen>>) -> Vec<Vec<Seen>> {
        let held = self.relayed.held();
        let cut = |(mut seen, held): (Seen, &Seen)| {
            if !seen.is_sound() {
                return Seen::default();
            }
            seen.cut(held.end().saturating_add(REACH).min(MAX_COUNT));
            seen
        };
        rows.into_iter().map(|row| row.into_iter().zip(held).map(cut).collect()).collect()
    }

    /// Whether a message is to be held: if not, the bound that forbids it, where one does.
    fn has_room_for(&self, id: MessageId, deliveries: &Deliveries) -> Result<(), Option<Bound>> {
        let delivered = deliveries.delivered().get(id.origin.index()).ok_or(None)?;
        if self.relayed.is_held(id) {
            return Err(None);
        }
        let ahead = id.seq - delivered.low();
        if ahead < self.config.bounds.undelivered { Ok(()) } else { Err(Some(Bound::UndeliveredOfOthers)) }
    }

    /// Holds a message, durably before this turn says anything of it.
    fn hold(&mut self, message: &Relayed, turn: &mut Turn) {
        self.relayed.append(message, turn);
        self.unsaid = Unsaid::Now;
        for q in self.config.peers() {
            let peer = &mut self.peers[q.index()];
            if peer.resend == 0 {
                peer.resend = self.config.timing.resend;
            }
        }
    }

    fn upon_have(
        &mut self,
        from: ProcessId,
        counts: bool,
        mut rows: Vec<Vec<Seen>>,
        said: Said,
        turn: &mut Turn,
    ) {
        let held = std::mem::take(&mut rows[from.index()]);
        let trusted = counts && self.voters.contains(from);
        if trusted {
            rows[from.index()] = held.clone();
            for (p, row) in rows.iter().enumerate().filter(|(p, _)| *p != self.config.me.index()) {
                let known = self.have[p].iter_mut().zip(row);
                // Every one of them is merged, whether or not one before it was new.
                if known.fold(false, |news, (known, told)| known.merge(told) || news) {
                    self.unsaid = self.unsaid.max(Unsaid::Later);
                }
            }
        }
        let peer = &mut self.peers[from.index()];
        let moved = peer.said.as_ref().is_none_or(|s| s.held != held || s.delivered != said.delivered);
        peer.said = Some(Said { held, ..said });
        peer.counts = trusted;
        peer.heard = self.config.timing.election;
        if moved {
            // Not anew, where it runs: a peer that takes one message after the other from elsewhere
            // would never be offered the one that it can have from here alone.
            if peer.resend == 0 {
                peer.resend = self.config.timing.resend;
            }
            if peer.next.is_some() {
                self.offer(from, turn);
            }
        }
    }

    /// Offers a peer some of what it lacks and has room for.
    fn offer(&mut self, to: ProcessId, turn: &mut Turn) {
        let Some(next) = self.peers[to.index()].next.take() else { return };
        let bounds = &self.config.bounds;
        let said = self.peers[to.index()].said.as_ref();
        let mut messages = Vec::new();
        let mut size = 0;
        let mut rest = None;
        'origins: for origin in self.config.members().filter(|o| *o >= next.origin) {
            let at = origin.index();
            let lacks = said.map_or(0, |s| s.held[at].low());
            let room = said.map_or(u64::MAX, |s| s.delivered[at].saturating_add(bounds.undelivered));
            let from = if origin == next.origin { lacks.max(next.seq) } else { lacks };
            for id in self.relayed.kept(origin, from).take_while(|id| id.seq < room) {
                if said.is_some_and(|s| s.held[at].contains(id.seq)) {
                    continue;
                }
                if messages.len() >= bounds.frame_entries || size >= bounds.frame_bytes {
                    let full = messages.len() >= bounds.frame_entries;
                    turn.hit(if full { Bound::FrameEntries } else { Bound::FrameBytes });
                    rest = Some(id);
                    break 'origins;
                }
                let Some(message) = self.relayed.get(id) else { continue };
                size += message.payload.len();
                messages.push(message);
            }
        }
        if messages.is_empty() {
            return;
        }
        let peer = &mut self.peers[to.index()];
        peer.next = rest;
        peer.resend = self.config.timing.resend;
        turn.send(to, &BroadcastMessage::Relay { messages });
    }

    /// Says what is held, by everybody, as far as is known here.
    fn tell(&mut self, turn: &mut Turn) {
        self.unsaid = Unsaid::Nothing;
        self.say = self.config.timing.resend;
        let held = self.relayed.held();
        let me = self.config.me.index();
        let mut rows = self.have.clone();
        rows[me] = held.to_vec();
        if rows.iter().flatten().all(|seen| seen.end() == 0) {
            return;
        }
        let waiting = |origin: ProcessId| {
            let of = |seq| MessageId { origin, seq };
            self.relayed.waiting().range(of(0)..=of(u64::MAX)).next().map(|(id, _)| id.seq)
        };
        let delivered = |o: ProcessId| waiting(o).unwrap_or(u64::MAX).min(held[o.index()].low());
        let message = BroadcastMessage::Have {
            counts: self.counts(),
            rows,
            delivered: self.config.members().map(delivered).collect(),
            gone: self.relayed.gone().to_vec(),
        };
        turn.send_all(self.config.peers(), &message);
    }

    /// Goes on behind what is lost for ever: what nobody who is heard keeps any more, and somebody has
    /// delivered, so that a majority did hold it.
    fn skip_gaps(&mut self, deliveries: &mut Deliveries, turn: &mut Turn) {
        if self.patience > 0 {
            return;
        }
        // What this process broadcast itself it cannot have lost, as long as it remembers.
        let may_lose = |o: &ProcessId| *o != self.config.me || !self.counts();
        for origin in self.config.members().filter(may_lose).collect::<Vec<_>>() {
            for (from, to) in self.lost(origin, deliveries) {
                self.skip(origin, from, to, deliveries, turn);
            }
        }
    }

    fn skip(&mut self, origin: ProcessId, from: u64, to: u64, deliveries: &mut Deliveries, turn: &mut Turn) {
        tracing::warn!(
            process = %self.config.me, %origin, from, to,
            "was away for longer than messages are kept: these are lost to this process"
        );
        deliveries.append(Record::Gap { origin, from, to }, turn);
        self.relayed.skip(origin, from, to);
        self.unsaid = Unsaid::Now;
    }

    /// What those who are heard say of an origin: what they hold, and what of that is gone.
    fn heard(&self, origin: ProcessId) -> impl Iterator<Item = (&Seen, &Seen)> {
        let heard = self.peers.iter().filter(|p| p.counts && p.heard > 0);
        let at = origin.index();
        heard.filter_map(|p| p.said.as_ref()).map(move |s| (&s.held[at], &s.gone[at]))
    }

    /// The messages of an origin that are lost, as ranges of numbers.
    ///
    /// Whatever lies before one that is lost is delivered here, or lost as well, or held by nobody who is
    /// heard: then it may have come to nobody, and what was delivered without it does not depend on it.
    /// So who is behind a message of an origin has, or has lost, all that it depends on. What came to
    /// nobody is not taken for lost: to say that it is held would have it counted.
    fn lost(&self, origin: ProcessId, deliveries: &Deliveries) -> Vec<(u64, u64)> {
        let own = &self.relayed.held()[origin.index()];
        let missing = deliveries.delivered()[origin.index()].low();
        let end = self.heard(origin).map(|(held, _)| held.end()).max().unwrap_or(0);
        let (mut number, mut lost) = (missing, Vec::new());
        while number < end {
            if own.contains(number) {
                if self.relayed.waiting().contains_key(&MessageId { origin, seq: number }) {
                    break;
                }
                number += 1;
                continue;
            }
            if self.heard(origin).any(|(held, gone)| held.contains(number) && !gone.contains(number)) {
                break;
            }
            // One that lacks it as well is nobody to wait for: two such would wait for each other.
            let until = self.heard(origin).filter_map(|(held, gone)| match gone.contains(number) {
                true => Some(gone.past(number)),
                false => held.after(number),
            });
            let next = until.chain(own.after(number)).min().unwrap_or(end);
            if self.heard(origin).any(|(_, gone)| gone.contains(number)) {
                lost.push((number, next));
            }
            number = next;
        }
        lost
    }
}
