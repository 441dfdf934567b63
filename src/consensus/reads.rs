//! Read indices: a leader answers a read once a majority has confirmed that it still leads.
//!
//! Rounds are numbered. A read that arrives while a round is out waits for the next one, since
//! only a round *sent after the read arrived* proves anything about it:
//!
//! ```text
//! old leader   round 1 sent ──── acknowledged by a majority ──── read arrives: round 1 says nothing
//! new leader                         └ elected, decides x, exposes x
//! ```

use crate::kernel::{Incarnation, ProcessId, ProcessSet};

/// A read waits here: who asked, in which incarnation, and its own number for it.
pub type Asked = (ProcessId, Incarnation, u64);

/// The rounds of one leadership.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    round: u64,
    out: bool,
    acks: ProcessSet,
    /// Wait for the round that is out, with the index captured when they arrived.
    current: Vec<(Asked, u64)>,
    /// Wait for the next round.
    next: Vec<(Asked, u64)>,
}

impl Reads {
    /// A read arrived while the announced decided prefix was `index`.
    pub fn ask(&mut self, asked: Asked, index: u64) {
        self.next.retain(|(a, _)| a.0 != asked.0);
        self.next.push((asked, index));
    }

    /// The next round to send, if there is none out and somebody waits.
    pub fn next_round(&mut self) -> Option<u64> {
        if self.out || self.next.is_empty() {
            return None;
        }
        self.round += 1;
        self.out = true;
        self.acks = ProcessSet::default();
        self.current = std::mem::take(&mut self.next);
        Some(self.round)
    }

    /// The round that is out, to be sent again.
    pub fn outstanding(&self) -> Option<u64> {
        self.out.then_some(self.round)
    }

    /// An acknowledgement confirms all rounds up to its own.
    pub fn upon_ack(&mut self, from: ProcessId, round: u64) {
        if self.out && round == self.round {
            self.acks.insert(from);
        }
    }

    /// The reads of the round that is out, once so many processes beside the leader confirmed it.
    pub fn confirmed(&mut self, others: usize) -> Vec<(Asked, u64)> {
        if !self.out || self.acks.len() < others {
            return Vec::new();
        }
        self.out = false;
        std::mem::take(&mut self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProcessId = ProcessId(1);
    const Q: ProcessId = ProcessId(2);

    #[test]
    fn a_read_waits_for_a_round_that_was_sent_after_it() {
        let mut reads = Reads::default();
        reads.ask((P, 1, 1), 10);
        assert_eq!(reads.next_round(), Some(1));
        reads.ask((Q, 1, 1), 11);
        assert_eq!(reads.next_round(), None);
        reads.upon_ack(P, 1);
        assert_eq!(reads.confirmed(1), [((P, 1, 1), 10)]);
        assert!(reads.confirmed(1).is_empty());
        assert_eq!(reads.next_round(), Some(2));
        reads.upon_ack(P, 1);
        assert!(reads.confirmed(1).is_empty(), "an acknowledgement of an older round confirms nothing newer");
        reads.upon_ack(P, 2);
        assert_eq!(reads.confirmed(1), [((Q, 1, 1), 11)]);
    }

    #[test]
    fn a_quorum_is_a_set() {
        let mut reads = Reads::default();
        reads.ask((P, 1, 1), 10);
        reads.next_round();
        reads.upon_ack(P, 1);
        reads.upon_ack(P, 1);
        assert!(reads.confirmed(2).is_empty());
        reads.upon_ack(Q, 1);
        assert_eq!(reads.confirmed(2).len(), 1);
    }
}
