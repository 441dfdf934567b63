//! The logged perfect link: what was confirmed is delivered, once, whoever crashes in between.
//!
//! Requests: Send(q, m); Hold and Ready, by which the layer above takes no deliveries, and takes
//! them again. Indications: Confirm(id), which is what Send returns: exposed in the same turn, it is
//! told once the message is in the outbox. Deliver(p, id, m): the layer above appends it to its
//! delivery log in the same turn, and tells the position of that.
//!
//! Properties:
//! * *reliable delivery*: what was confirmed at a process that is correct is delivered at a correct
//!   receiver. This is stronger than the book's, whose sender must not crash before the delivery;
//! * *no duplication*: no message is delivered twice, in any life of the receiver;
//! * *no creation*: what is delivered was sent;
//! * *FIFO delivery*: a sender's messages are delivered in the order in which they were sent.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 2.4.5 (Log Delivered), with an outbox at the sender.
//!
//! **Durable first**: a message in the outbox before it is confirmed or leaves; how far each sender
//! was delivered, together with the delivery, before the delivery is told or acknowledged. All of it
//! follows from the turn. **On recovery** the outbox is sent again, from its first entry on; and the
//! layer above tells its delivery log again.
//!
//! Messages are told apart by their [`Mark`]. A receiver filters them by the highest mark that it
//! has delivered of the sender: enough, since a sender sends in the order of its marks and leaves out
//! only what was acknowledged, in each of its lives. The mark carries the life in which the message
//! was sent: where a sender lost the end of its outbox and uses a position again, the receiver would
//! take the new message for the old one.
//!
//! A process that lost its memory sends nothing: its marks would start anew. It receives, and counts
//! as one that has never received anything.
//!
//! **Bounds**: `bounds.outbox_entries` and `bounds.outbox_bytes` in the outbox, for all peers
//! together; past them the caller is told which process holds it up. Of these,
//! `bounds.link_window` per peer are on their way. A caller whose guarantee allows it may [give
//! up](LoggedPerfect::give_up) the oldest messages to a peer that has been silent for long.

use super::fifo::{Fifo, Heard};
use super::message::{Channel, LinkMessage};
use crate::kernel::{
    Account, Bound, Bounds, Config, Incarnation, LogId, Logged, LoggedLog, Memory, Mutant, ProcessId,
    ProcessSet, SLOT, Stored, Ticks, Turn, Undecodable,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use thiserror::Error;

/// Names a message of a sender; later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The life of the sender in which it was sent.
    pub inc: Incarnation,
    /// Its position in the sender's outbox.
    pub index: u64,
}

/// A message, delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The sender.
    pub from: ProcessId,
    /// Which of its messages.
    pub mark: Mark,
    /// The message.
    pub message: Bytes,
}

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// The outbox is full.
    #[error(
        "{entries} messages wait in the outbox, the oldest for {waits_for}: send more once it has taken some"
    )]
    Full {
        /// How many messages wait.
        entries: u64,
        /// The process that is furthest behind.
        waits_for: ProcessId,
    },
    /// The message is too long.
    #[error("a message has at most {limit} bytes")]
    TooLarge {
        /// The most that is taken.
        limit: usize,
    },
    /// This process lost its memory, or nobody has recorded its boot yet.
    #[error("this process may have lost its memory: it sends nothing; send through another one")]
    Forgot,
}

/// A peer that has something on its way, and takes nothing for so many election timeouts, is silent.
const SILENT: Ticks = 10;

/// How far a peer is.
///
/// Invariant: of the entries below `next`, it has all but `window`, which are on their way, and those
/// that were given up.
#[derive(Clone, Debug)]
struct Progress {
    next: u64,
    window: VecDeque<u64>,
    /// Something is on its way, and nothing was taken for so long.
    idle: Ticks,
}

impl Progress {
    /// The first entry that the peer may lack.
    fn lacks(&self) -> u64 {
        self.window.front().copied().unwrap_or(self.next)
    }
}

/// The logged perfect links of one process.
#[derive(Clone, Debug)]
pub struct LoggedPerfect {
    config: Config,
    inc: Incarnation,
    fifo: Fifo,
    /// For each message the life in which it was sent and its receivers, and then the message.
    outbox: LoggedLog,
    /// The last message that was delivered of each sender.
    delivered: Vec<Logged<Option<Mark>>>,
    progress: Vec<Progress>,
    /// Whether this process remembers, as far as its peers know.
    remembers: bool,
}

impl LoggedPerfect {
    /// The outbox as it was last durable, all of it to be sent again.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn start(config: Config, inc: Incarnation, stored: &Stored) -> Result<Self, Undecodable> {
        let outbox = LoggedLog::recover(LogId::OUTBOX, stored);
        let nothing = Stored::default();
        let remembered = if config.mutants.on(Mutant::DeliveredForgotten) { &nothing } else { stored };
        let variable = |p: ProcessId| Logged::recover(format!("link/delivered/{}", p.0), remembered, None);
        let delivered = config.members().map(variable).collect::<Result<_, _>>()?;
        let next = match config.mutants.on(Mutant::OutboxForgotten) {
            true => outbox.len(),
            false => outbox.first(),
        };
        Ok(Self {
            fifo: Fifo::start(config.clone(), inc, Channel::LOGGED),
            progress: vec![Progress { next, window: VecDeque::new(), idle: 0 }; config.processes],
            remembers: false,
            config,
            inc,
            outbox,
            delivered,
        })
    }

    /// Whose votes count from now on. A process that is not among them itself sends nothing.
    pub fn set_voters(&mut self, voters: ProcessSet) {
        self.remembers = voters.contains(self.config.me);
    }

    /// The outbox: `outbox_entries` of `outbox_bytes`, or a single larger message. Links: of each peer
    /// `link_window` messages on their way, and as many that have arrived before their time.
    pub fn memory(&self) -> [Memory; 2] {
        let Bounds { outbox_entries, outbox_bytes, frame_bytes, link_window, .. } = self.config.bounds;
        let most = outbox_entries * SLOT + outbox_bytes + frame_bytes + Bounds::MESSAGE_HEADER;
        let outbox = Memory::new(Account::Outbox, (self.len() as usize, self.outbox.bytes()), most);
        let one = SLOT + frame_bytes + Bounds::MESSAGE_HEADER;
        let links =
            Memory::new(Account::Links, self.fifo.held(), 2 * self.config.processes * link_window * one);
        [outbox, links]
    }

    /// How many messages wait in the outbox.
    pub fn len(&self) -> u64 {
        self.outbox.len() - self.outbox.first()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message to each of several processes. What is returned is the confirmation: it may
    /// be exposed in this turn.
    ///
    /// # Errors
    /// At once, and nothing has changed.
    pub fn send(&mut self, to: ProcessSet, message: &Bytes, turn: &mut Turn) -> Result<Mark, Refused> {
        let bounds = &self.config.bounds;
        if !self.remembers {
            return Err(Refused::Forgot);
        }
        if message.len() > bounds.frame_bytes {
            return Err(Refused::TooLarge { limit: bounds.frame_bytes });
        }
        if self.is_full_for(message) {
            turn.hit(self.hit());
            return Err(Refused::Full { entries: self.len(), waits_for: self.furthest_behind() });
        }
        let mark = Mark { inc: self.inc, index: self.outbox.len() };
        self.outbox.append(vec![headed(&(self.inc, to), message)], turn);
        self.dispatch(turn);
        Ok(mark)
    }

    /// The bound that a full outbox has come to.
    fn hit(&self) -> Bound {
        let many = self.len() >= self.config.bounds.outbox_entries as u64;
        if many { Bound::OutboxEntries } else { Bound::OutboxBytes }
    }

    fn is_full_for(&self, message: &Bytes) -> bool {
        self.would_be_full(self.outbox.first(), self.outbox.bytes(), message)
    }

    /// Whether there is no room for a message in an outbox of so many bytes that begins with `first`.
    fn would_be_full(&self, first: u64, bytes: usize, message: &Bytes) -> bool {
        let bounds = &self.config.bounds;
        let entries = self.outbox.len() - first;
        entries >= bounds.outbox_entries as u64 || bytes + message.len() > bounds.outbox_bytes && entries > 0
    }

    /// Makes room for a message, where that can be, by giving up the oldest ones that only silent
    /// peers lack: they are lost to those, unless they are on their way. Whoever takes something is
    /// waited for.
    pub fn give_up(&mut self, message: &Bytes, turn: &mut Turn) {
        let limit = self.config.bounds.frame_bytes;
        if !self.remembers || message.len() > limit || !self.is_full_for(message) {
            return;
        }
        let heard = self.config.members().filter(|p| !self.is_silent(*p));
        let wanted = heard.map(|p| self.progress[p.index()].lacks()).min().unwrap_or(0);
        let (mut first, mut bytes) = (self.outbox.first(), self.outbox.bytes());
        while self.would_be_full(first, bytes, message) {
            let Some(oldest) = self.outbox.get(first).filter(|_| first < wanted) else { return };
            bytes -= oldest.len();
            first += 1;
        }
        turn.hit(self.hit());
        self.outbox.trim(first, turn);
    }

    /// Whether a peer has taken nothing for long. This process itself waits for its own disk, if at all.
    fn is_silent(&self, p: ProcessId) -> bool {
        p != self.config.me && self.progress[p.index()].idle >= SILENT * self.config.timing.election
    }

    /// The other end of a link says something: what it delivers, to be stored in this turn.
    pub fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Vec<Delivered> {
        let Heard { delivered, taken } = self.fifo.upon(from, message, turn);
        if taken > 0 {
            let progress = &mut self.progress[from.index()];
            progress.window.drain(..taken);
            progress.idle = 0;
            self.dispatch(turn);
        }
        self.deliver(from, delivered, turn)
    }

    /// The layer above takes no more deliveries, until it is ready.
    pub fn hold(&mut self) {
        self.fifo.hold();
    }

    /// The layer above is ready: what has waited for that.
    pub fn ready(&mut self, turn: &mut Turn) -> Vec<Delivered> {
        let waiting = self.fifo.ready(turn);
        waiting.into_iter().flat_map(|(from, messages)| self.deliver(from, messages, turn)).collect()
    }

    /// Time passes: what lies in the outbox is sent, and dropped once all its receivers have it.
    pub fn tick(&mut self, turn: &mut Turn) {
        if !self.remembers {
            return;
        }
        self.dispatch(turn);
        // While its own disk is stuck nothing leaves this process: nobody is silent for that.
        let stuck = self.progress[self.config.me.index()].idle > self.config.timing.resend;
        for (p, progress) in self.progress.iter_mut().enumerate() {
            match progress.window.is_empty() {
                true => progress.idle = 0,
                false if stuck && p != self.config.me.index() => {}
                false => progress.idle = progress.idle.saturating_add(1),
            }
        }
        self.fifo.tick(turn);
        let lacks = self.progress.iter().map(Progress::lacks);
        let before = match self.config.mutants.on(Mutant::OneReceiverSuffices) {
            true => lacks.max(),
            false => lacks.min(),
        };
        self.outbox.trim(before.unwrap_or(0), turn);
    }

    /// Hands entries of the outbox to the links of their receivers, as far as their windows go.
    fn dispatch(&mut self, turn: &mut Turn) {
        for to in self.config.members() {
            let Progress { next, window, .. } = &mut self.progress[to.index()];
            *next = (*next).max(self.outbox.first());
            while self.fifo.room(to) > 0
                && let Some(entry) = self.outbox.get(*next)
            {
                let index = *next;
                *next += 1;
                let Some(((inc, receivers), message)) = beheaded::<(Incarnation, ProcessSet)>(entry) else {
                    tracing::error!(process = %self.config.me, index, "an entry of the outbox does not decode");
                    continue;
                };
                let packed = headed(&Mark { inc, index }, &message);
                if receivers.contains(to) && self.fifo.send(to, packed, turn).is_ok() {
                    window.push_back(index);
                }
            }
            if *next < self.outbox.len() {
                turn.hit(Bound::LinkWindow);
            }
        }
    }

    /// Delivers what was not delivered before.
    fn deliver(&mut self, from: ProcessId, messages: Vec<Bytes>, turn: &mut Turn) -> Vec<Delivered> {
        let last = &mut self.delivered[from.index()];
        let mut highest = **last;
        let mut fresh = Vec::new();
        for bytes in &messages {
            let Some((mark, message)) = beheaded::<Mark>(bytes) else { continue };
            if highest.is_none_or(|highest| highest < mark) {
                highest = Some(mark);
                fresh.push(Delivered { from, mark, message });
            }
        }
        if highest != **last {
            last.set(highest, turn);
        }
        fresh
    }

    fn furthest_behind(&self) -> ProcessId {
        let lacks = |p: &ProcessId| self.progress[p.index()].lacks().max(self.outbox.first());
        self.config.members().min_by_key(|p| (lacks(p), self.is_silent(*p))).unwrap_or(self.config.me)
    }
}

/// A message behind a header.
fn headed<H: Serialize>(header: &H, message: &Bytes) -> Bytes {
    let header = postcard::to_allocvec(header).expect("headers are plain data, which always encodes");
    [&header[..], message].concat().into()
}

/// The header and the message behind it.
fn beheaded<H: DeserializeOwned>(bytes: &Bytes) -> Option<(H, Bytes)> {
    let (header, rest) = postcard::take_from_bytes(bytes).ok()?;
    Some((header, bytes.slice_ref(rest)))
}
