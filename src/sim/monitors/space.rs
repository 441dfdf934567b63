//! Space: what the log holds, what is under way, and what is let in while space is short.
//!
//! * *Bounded log*: below the last finished checkpoint the log keeps no more bytes than its tail may
//!   have, or a snapshot that somebody reads.
//! * *Bounded window*: a leader sends a follower a frame only while less than the window's bytes are
//!   under way to it, by what that has acknowledged; or else nothing is.
//! * *Space kept*: who has executed that space is short proposes nothing that grows until it has
//!   executed that it is not.

use super::{Property, Verdict, ensure};
use crate::broadcast::{Entry, StateMachine};
use crate::consensus::Accept;
use crate::kernel::{Ballot, Bounds, ProcessId};
use crate::sim::service::Machine;
use crate::stack::{Role, Stack};
use std::collections::BTreeMap;

/// What a leader has under way to one follower.
#[derive(Clone, Debug, Default)]
struct Flight {
    /// Entries below this are acknowledged.
    acknowledged: u64,
    /// The sizes of those at and above that were sent.
    sent: BTreeMap<u64, usize>,
}

/// What one process did as a leader.
#[derive(Clone, Debug, Default)]
struct Led {
    ballot: Ballot,
    /// The length of its log after its last turn.
    len: u64,
    to: Vec<Flight>,
}

/// Watches space.
#[derive(Debug)]
pub(in crate::sim) struct Space {
    bounds: Bounds,
    led: Vec<Led>,
}

impl Space {
    pub(in crate::sim) fn new(processes: usize, bounds: Bounds) -> Self {
        let led = Led { to: vec![Flight::default(); processes], ..Led::default() };
        Self { bounds, led: vec![led; processes] }
    }

    fn led(&mut self, p: ProcessId, ballot: Ballot) -> &mut Led {
        let led = &mut self.led[p.index()];
        if led.ballot != ballot {
            *led = Led { ballot, len: u64::MAX, to: vec![Flight::default(); led.to.len()] };
        }
        led
    }

    /// A process has had a turn.
    pub(in crate::sim) fn reacted(&mut self, p: ProcessId, stack: &Stack<Machine>) -> Verdict {
        let (status, log) = (stack.status(), stack.log());
        let most = self.bounds.tail_bytes.max(self.bounds.pinned_bytes);
        let below = log.bytes_between(log.first(), status.checkpoint);
        ensure(below <= most, Property::BoundedLog, || {
            format!(
                "{p} keeps {below} bytes of log below its checkpoint, {}, and {most} are allowed",
                status.checkpoint
            )
        })?;
        if status.role != Role::Leader {
            return Ok(());
        }
        let full = stack.machine().is_full();
        let led = self.led(p, status.accepted);
        let before = std::mem::replace(&mut led.len, log.len());
        for index in before..log.len() {
            let command = log.get(index).and_then(Entry::decode).map(|entry| entry.command);
            ensure(!full || !command.is_some_and(|c| Machine::grows(&c)), Property::SpaceKept, || {
                format!("{p} proposes entry {index}, which grows, though it has executed that space is short")
            })?;
        }
        Ok(())
    }

    /// A leader sends entries.
    pub(in crate::sim) fn sent(&mut self, p: ProcessId, to: ProcessId, accept: &Accept) -> Verdict {
        let window = self.bounds.window_bytes;
        let flight = &mut self.led(p, accept.n).to[to.index()];
        let acknowledged = flight.acknowledged.min(accept.from);
        let before: usize = flight.sent.range(acknowledged..accept.from).map(|(_, size)| *size).sum();
        let sizes = (accept.from..).zip(&accept.entries).map(|(index, entry)| (index, entry.len()));
        flight.sent.extend(sizes);
        ensure(before == 0 || before < window, Property::BoundedWindow, || {
            format!("{p} sends {to} more, with {before} bytes under way, and {window} are allowed")
        })
    }

    /// An acknowledgement reaches a leader.
    pub(in crate::sim) fn acknowledged(&mut self, p: ProcessId, from: ProcessId, (n, len): (Ballot, u64)) {
        let led = &mut self.led[p.index()];
        if led.ballot == n {
            let flight = &mut led.to[from.index()];
            flight.acknowledged = flight.acknowledged.max(len);
            flight.sent = flight.sent.split_off(&flight.acknowledged);
        }
    }
}
