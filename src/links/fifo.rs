//! The FIFO perfect link: a reliable, ordered stream between two processes, while both stay up.
//!
//! Requests: Send(q, m); Hold and Ready, by which the layer above takes no deliveries, and takes
//! them again. Indications: Deliver(p, m); Taken(q, n), by which it may send more.
//!
//! Properties, of two processes from when both are up until one of them crashes:
//! * *reliable delivery*: what is sent is delivered, if neither crashes and the receiver is ready;
//! * *no duplication*: nothing is delivered twice;
//! * *FIFO delivery*: messages are delivered in the order in which they were sent;
//! * *no creation*: what is delivered was sent.
//!
//! Across a crash of the receiver what was delivered in its last moments may be delivered again.
//! After a crash of the sender the stream is another one, and frames of the old one are dropped.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 2.4.4 (perfect links) and Module 3.8's FIFO order, here of one link.
//!
//! **Durable first**: nothing of its own. A message is acknowledged in the turn in which it is
//! delivered, so that whatever the layer above stores of it in that turn is durable before the
//! sender forgets it. **On recovery** nothing is remembered: a receiver begins where its earlier
//! lives had acknowledged, which the sender tells it.
//!
//! **Bounds**: what arrives before its time, or while the layer above is not ready, waits, at most
//! `bounds.link_window` messages per peer: the sender has no more on their way.

use super::message::{Channel, LinkMessage};
use super::stubborn::{Full, Packet, Stubborn, Taken};
use crate::kernel::{Config, Incarnation, Mutant, ProcessId, Turn};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a frame came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// Messages of the peer, in order.
    pub delivered: Vec<Bytes>,
    /// How many more of the messages to the peer it has taken, in the order in which they were sent.
    pub taken: usize,
}

/// A stream from one peer.
///
/// Invariant: everything below `next` has been delivered, and what is parked lies above it, or the
/// layer above is not ready.
#[derive(Clone, Debug, Default)]
struct Stream {
    inc: Incarnation,
    next: u64,
    parked: BTreeMap<u64, Bytes>,
}

/// The FIFO links of one process.
#[derive(Clone, Debug)]
pub struct Fifo {
    config: Config,
    stubborn: Stubborn,
    streams: Vec<Stream>,
    held: bool,
}

impl Fifo {
    /// Starts with no stream, ready.
    pub fn start(config: Config, inc: Incarnation, channel: Channel) -> Self {
        let streams = vec![Stream::default(); config.processes];
        Self { stubborn: Stubborn::start(config.clone(), inc, channel), config, streams, held: false }
    }

    /// How many more messages may be sent to a peer now.
    pub fn room(&self, to: ProcessId) -> usize {
        self.stubborn.room(to)
    }

    /// How many messages are on their way, or have come before their time, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        let parked = self.streams.iter().flat_map(|stream| stream.parked.values());
        let messages = self.stubborn.unacknowledged().chain(parked);
        messages.fold((0, 0), |(count, bytes), message| (count + 1, bytes + message.len()))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When too many are on their way to the peer; nothing has changed.
    pub fn send(&mut self, to: ProcessId, message: Bytes, turn: &mut Turn) -> Result<(), Full> {
        self.stubborn.send(to, message, turn)
    }

    /// The other end of a link says something.
    pub fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Heard {
        match self.stubborn.upon(from, message, turn) {
            None => Heard::default(),
            Some(Taken::Acknowledged(taken)) => Heard { delivered: Vec::new(), taken },
            // Of an earlier life of the sender: nobody waits for it, or for an acknowledgement.
            Some(Taken::Packet(packet)) if self.is_stale(from, packet.inc) => Heard::default(),
            Some(Taken::Packet(packet)) => {
                self.park(from, packet);
                Heard { delivered: self.take(from, turn), taken: 0 }
            }
        }
    }

    /// The layer above takes no more deliveries, until it is ready.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The layer above is ready: what has waited for that, by peer.
    pub fn ready(&mut self, turn: &mut Turn) -> Vec<(ProcessId, Vec<Bytes>)> {
        self.held = false;
        let parked = |p: &ProcessId| !self.streams[p.index()].parked.is_empty();
        let waiting: Vec<ProcessId> = self.config.members().filter(parked).collect();
        waiting.into_iter().map(|from| (from, self.take(from, turn))).collect()
    }

    /// Time passes.
    pub fn tick(&mut self, turn: &mut Turn) {
        self.stubborn.tick(turn);
    }

    fn is_stale(&self, from: ProcessId, inc: Incarnation) -> bool {
        inc < self.streams[from.index()].inc && !self.config.mutants.on(Mutant::StaleStream)
    }

    /// Puts a message where it belongs in its stream, unless it is there or was delivered.
    fn park(&mut self, from: ProcessId, packet: Packet) {
        let Packet { inc, low, number, message } = packet;
        let mutants = self.config.mutants;
        let stream = &mut self.streams[from.index()];
        if inc > stream.inc {
            *stream = Stream { inc, next: low, parked: BTreeMap::new() };
        }
        // An earlier life of this process has acknowledged it.
        if low > stream.next {
            stream.next = low;
            stream.parked = stream.parked.split_off(&low);
        }
        if mutants.on(Mutant::RepeatDelivered) && number < stream.next {
            stream.next = number;
        }
        let ahead = number.checked_sub(stream.next);
        if ahead.is_some_and(|ahead| ahead < self.config.bounds.link_window as u64) {
            stream.parked.insert(number, message);
        }
    }

    /// Delivers what comes next in a stream, and acknowledges it. A message that had come before is
    /// acknowledged again: the acknowledgement may be what was lost.
    fn take(&mut self, from: ProcessId, turn: &mut Turn) -> Vec<Bytes> {
        let stream = &mut self.streams[from.index()];
        let mut delivered = Vec::new();
        let gap = !stream.parked.contains_key(&stream.next);
        if gap && !self.held && self.config.mutants.on(Mutant::GapSkipped) {
            delivered.extend(std::mem::take(&mut stream.parked).into_values());
        }
        while !self.held
            && let Some(message) = stream.parked.remove(&stream.next)
        {
            stream.next += 1;
            delivered.push(message);
        }
        let below = match stream.parked.last_key_value() {
            Some((last, _)) if self.config.mutants.on(Mutant::GapAcknowledged) => last + 1,
            Some(_) | None => stream.next,
        };
        self.stubborn.acknowledge(from, stream.inc, below, turn);
        delivered
    }
}
