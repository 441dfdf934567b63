//! The stubborn link: what is sent is sent again, until the other end says that it has it.
//!
//! Requests: Send(q, m), and Acknowledge(p, n) of the layer above the receiver. Indications:
//! Deliver(p, m), as often as a frame arrives; Taken(q, n), n messages need not be sent again.
//!
//! Properties:
//! * *stubborn delivery*: what a process sends that stays up, to a correct one, is delivered again
//!   and again until it is acknowledged;
//! * *no creation*: what is delivered was sent.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 2.4.3 (Retransmit Forever). There a link resends for ever; here the layer
//! above the receiver ends that, in the turn in which it takes the message, so that the
//! acknowledgement leaves once what was taken is durable.
//!
//! **Durable first**: nothing. **On recovery** nothing is remembered: numbers start anew, and belong
//! to the sender's incarnation. Where the *receiver* recovered, what was on its way to it may be
//! lost, so the whole window is sent at once when its incarnation is seen to change; the messages
//! say how far it had acknowledged in its earlier lives.
//!
//! **Bounds**: `bounds.link_window` messages per peer that are not acknowledged; past it the caller
//! is told. Acknowledgements are cumulative, and have a slot outside the windows: two full windows
//! do not block each other.

use super::fair_loss::FairLoss;
use super::message::{Channel, LinkMessage};
use crate::kernel::{Config, Incarnation, Mutant, ProcessId, Ticks, Turn};
use bytes::Bytes;
use std::collections::VecDeque;
use thiserror::Error;

/// The window towards a peer is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{to} has not acknowledged the last {window} messages; send more once it has taken some")]
pub struct Full {
    /// The peer.
    pub to: ProcessId,
    /// How many messages may wait for it.
    pub window: usize,
}

/// A message as it arrives: maybe again, maybe before an earlier one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The incarnation of the sender.
    pub inc: Incarnation,
    /// Everything below was acknowledged, by this life of the receiver or an earlier one.
    pub low: u64,
    /// The message's number.
    pub number: u64,
    /// The message.
    pub message: Bytes,
}

/// What a frame came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// A message was delivered.
    Packet(Packet),
    /// The peer has taken so many more messages.
    Acknowledged(usize),
}

/// What is on its way to one peer.
///
/// Invariant: `window` holds the messages `low..low + window.len()`, those which the peer has not
/// acknowledged.
#[derive(Clone, Debug, Default)]
struct Window {
    low: u64,
    window: VecDeque<Bytes>,
    /// The highest incarnation of the peer that was heard.
    life: Option<Incarnation>,
    /// Ticks since it made progress, or was sent again.
    quiet: Ticks,
}

/// The stubborn links of one process.
#[derive(Clone, Debug)]
pub struct Stubborn {
    config: Config,
    inc: Incarnation,
    channel: Channel,
    link: FairLoss<LinkMessage>,
    windows: Vec<Window>,
}

impl Stubborn {
    /// Starts with empty windows.
    pub fn start(config: Config, inc: Incarnation, channel: Channel) -> Self {
        let windows = vec![Window::default(); config.processes];
        Self { config, inc, channel, link: FairLoss::default(), windows }
    }

    /// How many more messages fit into the window towards a peer.
    pub fn room(&self, to: ProcessId) -> usize {
        self.config.bounds.link_window.saturating_sub(self.windows[to.index()].window.len())
    }

    /// What is on its way, to whomever.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Bytes> {
        self.windows.iter().flat_map(|window| &window.window)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the window is full; nothing has changed.
    pub fn send(&mut self, to: ProcessId, message: Bytes, turn: &mut Turn) -> Result<(), Full> {
        if self.room(to) == 0 {
            return Err(Full { to, window: self.config.bounds.link_window });
        }
        let window = &mut self.windows[to.index()].window;
        window.push_back(message);
        let last = window.len() - 1;
        self.transmit(to, last, turn);
        Ok(())
    }

    /// The other end of a link says something.
    pub fn upon(&mut self, from: ProcessId, message: LinkMessage, turn: &mut Turn) -> Option<Taken> {
        if message.channel() != self.channel
            || from.index() >= self.config.processes
            || !message.is_countable()
        {
            return None;
        }
        match message {
            LinkMessage::Data { inc, low, number, message, .. } => {
                self.heard(from, inc, turn);
                Some(Taken::Packet(Packet { inc, low, number, message }))
            }
            LinkMessage::Ack { inc, of, below, .. } => {
                let taken = self.acknowledged(from, of, below);
                self.heard(from, inc, turn);
                taken
            }
        }
    }

    /// Tells a peer that every message of its incarnation `of` below a number has been taken.
    pub fn acknowledge(&self, to: ProcessId, of: Incarnation, below: u64, turn: &mut Turn) {
        let ack = LinkMessage::Ack { channel: self.channel, inc: self.inc, of, below };
        self.link.send([to], &ack, turn);
    }

    /// Time passes: what was not acknowledged for long is sent again.
    pub fn tick(&mut self, turn: &mut Turn) {
        for to in self.config.members() {
            let Window { window, quiet, .. } = &mut self.windows[to.index()];
            if window.is_empty() || self.config.mutants.on(Mutant::StubbornGivesUp) {
                continue;
            }
            *quiet += 1;
            // What was sent before waits for the disk as well.
            if *quiet >= self.config.timing.resend && !turn.is_full() {
                self.transmit(to, 0, turn);
            }
        }
    }

    /// Sends the messages of a window from a position on.
    fn transmit(&mut self, to: ProcessId, from: usize, turn: &mut Turn) {
        let Window { low, window, quiet, .. } = &mut self.windows[to.index()];
        if from == 0 {
            *quiet = 0;
        }
        for (at, message) in window.iter().enumerate().skip(from) {
            let data = LinkMessage::Data {
                channel: self.channel,
                inc: self.inc,
                low: *low,
                number: *low + at as u64,
                message: message.clone(),
            };
            self.link.send([to], &data, turn);
        }
    }

    /// An acknowledgement may come late, twice, or from an earlier life of the peer: it tells of
    /// something that was durable there, and stays true.
    fn acknowledged(&mut self, by: ProcessId, of: Incarnation, below: u64) -> Option<Taken> {
        let window = &mut self.windows[by.index()];
        let sent = window.low + window.window.len() as u64;
        if of != self.inc || below <= window.low || below > sent {
            return None;
        }
        let count = (below - window.low) as usize;
        window.window.drain(..count);
        window.low = below;
        window.quiet = 0;
        Some(Taken::Acknowledged(count))
    }

    /// A life of the peer was heard: one that is new to this process lacks what the one before had
    /// received and not taken.
    fn heard(&mut self, from: ProcessId, inc: Incarnation, turn: &mut Turn) {
        let life = &mut self.windows[from.index()].life;
        let known = *life;
        *life = known.max(Some(inc));
        if known.is_some_and(|known| known < inc) {
            self.transmit(from, 0, turn);
        }
    }
}
