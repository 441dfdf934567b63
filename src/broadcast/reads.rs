//! Linearizable reads at any process: one question to the leader serves every read that waits.

use super::total_order::TotalOrderMessage;
use crate::kernel::{Ballot, Config, Incarnation, Ticks, Turn};

/// A read of this process.
#[derive(Debug)]
struct Read {
    request: u64,
    deadline: Ticks,
}

/// The reads of one process.
///
/// One question is out at a time. A read that arrives meanwhile waits for the next one: the answer
/// under way may have been given before it arrived.
#[derive(Debug)]
pub struct Reads {
    config: Config,
    inc: Incarnation,
    number: u64,
    waiting: Vec<Read>,
    /// Belong to the question that is out.
    asked: Vec<Read>,
    /// The ballot whose leader was asked, and when.
    sent: Option<(Ballot, Ticks)>,
    /// May look once so much is applied.
    ready: Vec<(u64, Read)>,
    now: Ticks,
}

impl Reads {
    /// No read is resumed.
    pub fn start(config: Config, inc: Incarnation) -> Self {
        Self {
            config,
            inc,
            number: 0,
            waiting: Vec::new(),
            asked: Vec::new(),
            sent: None,
            ready: Vec::new(),
            now: 0,
        }
    }

    /// A read; false when too many wait already.
    pub fn ask(&mut self, request: u64, patience: Ticks) -> bool {
        if self.waiting.len() + self.asked.len() + self.ready.len() >= self.config.bounds.requests {
            return false;
        }
        self.waiting.push(Read { request, deadline: self.now + patience });
        true
    }

    /// Nobody waits for the request any more.
    pub fn cancel(&mut self, request: u64) {
        self.waiting.retain(|r| r.request != request);
        self.asked.retain(|r| r.request != request);
        self.ready.retain(|(_, r)| r.request != request);
    }

    /// Time passes: the reads whose time ran out.
    pub fn tick(&mut self, now: Ticks) -> Vec<u64> {
        self.now = now;
        let mut late = Vec::new();
        let mut keep = |r: &Read| {
            if r.deadline <= now {
                late.push(r.request);
            }
            r.deadline > now
        };
        self.waiting.retain(&mut keep);
        self.asked.retain(&mut keep);
        self.ready.retain(|(_, r)| keep(r));
        late
    }

    /// Gives up every read.
    pub fn give_up(&mut self) -> Vec<u64> {
        let ready = std::mem::take(&mut self.ready).into_iter().map(|(_, r)| r);
        let others = std::mem::take(&mut self.waiting).into_iter().chain(std::mem::take(&mut self.asked));
        others.chain(ready).map(|r| r.request).collect()
    }

    /// Asks the leader of `ballot` where somebody waits and no question is out, or the one that is
    /// was probably lost. Returns the question's number where this process leads: it is then asked
    /// of the log directly.
    pub fn dispatch(&mut self, leader: Option<Ballot>, leads: bool, turn: &mut Turn) -> Option<u64> {
        let ballot = leader?;
        if self.asked.is_empty() {
            if self.waiting.is_empty() {
                return None;
            }
            self.number += 1;
            self.asked = std::mem::take(&mut self.waiting);
            self.sent = None;
        }
        if self.sent.is_some_and(|(to, at)| to == ballot && self.now - at < self.config.timing.resend) {
            return None;
        }
        self.sent = Some((ballot, self.now));
        if leads {
            return Some(self.number);
        }
        turn.send(ballot.process, &TotalOrderMessage::ReadAsk { inc: self.inc, number: self.number });
        None
    }

    /// The leader's answer.
    pub fn upon_read_at(&mut self, inc: Incarnation, number: u64, index: u64) {
        if inc == self.inc && number == self.number {
            let asked = std::mem::take(&mut self.asked);
            self.ready.extend(asked.into_iter().map(|r| (index, r)));
        }
    }

    /// The reads that may look now, with so much applied.
    pub fn take_ready(&mut self, applied: u64) -> Vec<u64> {
        let mut now = Vec::new();
        self.ready.retain(|(index, read)| {
            if *index <= applied {
                now.push(read.request);
            }
            *index > applied
        });
        now
    }
}
