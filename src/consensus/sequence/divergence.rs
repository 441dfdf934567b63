//! What a process does when its decided prefix and a peer's differ.
//!
//! No rule of the protocol lets that happen. A disk that was rolled back, and that neither itself nor any
//! peer could tell, does: with those who never heard of what it forgot it decides something else.
//!
//! ```text
//! b      (is down) ──────────────────────────────────┐ with c': decides y at 5
//! c      copied ─ acknowledges x at 5 ─ put back: c' ┘
//! a      decides x at 5 ─ is down ─────────────────────── comes back: Prepare(decided 6, hash of .., y)
//! ```
//!
//! Nobody can know which of the two is right, and nothing may be overwritten until a person has looked. Who
//! would follow halts: it neither promises, nor takes the leader's log, nor learns. Who leads or stands
//! goes on, if a majority agrees with it: it tells whose promise it leaves out, and that process halts, if it
//! knows itself that it differs.

use super::{Notice, Role, SequencePaxos};
use crate::consensus::acceptor::Difference;
use crate::consensus::candidate::Promise;
use crate::consensus::messages::Paxos;
use crate::kernel::{Ballot, ProcessId, Turn};
use bytes::Bytes;
use thiserror::Error;

/// Two decided prefixes differ: this process's and a peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the first {index} decided entries of the log are not those of {peer}: {}, {}", here(*ours), there(*theirs))]
pub struct Divergence {
    /// The peer.
    pub peer: ProcessId,
    /// A length at which the prefixes differ.
    pub index: u64,
    /// The hash here; none where fewer entries are known to be decided.
    pub ours: Option<u64>,
    /// The hash there, likewise.
    pub theirs: Option<u64>,
}

fn here(hash: Option<u64>) -> String {
    hash.map_or("this process has fewer".into(), |hash| format!("their hash is {hash:016x} here"))
}

fn there(hash: Option<u64>) -> String {
    hash.map_or("that log has fewer".into(), |hash| format!("their hash is {hash:016x} there"))
}

impl Divergence {
    fn from(peer: ProcessId, Difference { index, ours, theirs }: Difference) -> Self {
        Self { peer, index, ours, theirs }
    }
}

impl SequencePaxos {
    /// Whether this log, as it is or would become, differs from a peer's. Then this process halts, and tells
    /// the peer so.
    pub(super) fn must_halt(
        &mut self,
        peer: ProcessId,
        n: Ballot,
        difference: Option<Difference>,
        turn: &mut Turn,
    ) -> bool {
        let Some(difference) = difference else { return false };
        turn.send(peer, &Paxos::Diverged { n, index: difference.index, hash: difference.ours });
        self.role = Role::Follower;
        // After a restart it is compared again.
        self.acceptor.store_decided(turn);
        self.notices.push(Notice::Diverged(Divergence::from(peer, difference)));
        true
    }

    /// Whether the log that `entries` at `from` would make of this one contradicts the decided prefix of
    /// a promiser, whose promise then counts for nothing: it is told.
    pub(super) fn refuses(
        &mut self,
        peer: ProcessId,
        n: Ballot,
        (from, entries): (u64, &[Bytes]),
        promise: &Promise,
        turn: &mut Turn,
    ) -> bool {
        let prefix = (promise.decided, promise.hash);
        let Some(difference) = self.acceptor.differs(from, entries, prefix) else { return false };
        turn.send(peer, &Paxos::Diverged { n, index: difference.index, hash: difference.ours });
        self.say_strange(Divergence::from(peer, difference));
        true
    }

    /// Leaves out every promise whose decided prefix is none of the log that would be adopted. Says
    /// whether there was one.
    pub(super) fn leaves_out(&mut self, (from, suffix): (u64, &[Bytes]), turn: &mut Turn) -> bool {
        let Role::Candidate(candidate) = &self.role else { return false };
        let (n, mut promises) = (candidate.n, candidate.promises().collect::<Vec<_>>());
        promises.retain(|(p, promise)| self.refuses(*p, n, (from, suffix), promise, turn));
        if let Role::Candidate(candidate) = &mut self.role {
            promises.iter().for_each(|(p, _)| candidate.leave_out(*p));
        }
        !promises.is_empty()
    }

    /// A peer says that it differs. Who would follow it looks, and halts; who does not says so.
    pub(super) fn upon_diverged(&mut self, peer: ProcessId, n: Ballot, (index, theirs): (u64, Option<u64>)) {
        let promised = n > Ballot::ZERO && n == self.acceptor.prom() && n.process == peer;
        let follows = promised && matches!(self.role, Role::Follower);
        let ours = self.acceptor.hash_at(index);
        let trimmed = ours.is_none() && index <= self.decided();
        if trimmed || ours == theirs {
            return;
        }
        let divergence = Divergence { peer, index, ours, theirs };
        if follows && ours.is_some() {
            self.notices.push(Notice::Diverged(divergence));
        } else {
            self.say_strange(divergence);
        }
    }

    fn say_strange(&mut self, divergence: Divergence) {
        if !self.strange.contains(divergence.peer) {
            self.strange.insert(divergence.peer);
            tracing::error!(
                process = %self.config.me, %divergence,
                "a peer has another log: one of the two disks was put back to an earlier state, or is damaged"
            );
        }
    }
}
