//! Exposure: whatever leaves a process is preceded by the durable store of what it depends on.
//!
//! The bookkeeping is independent of the journal's: a claim is held against what would survive a
//! crash of its sender now.

use super::{Property, Verdict, ensure};
use crate::broadcast::CrossCheckMessage;
use crate::consensus::{Heartbeat, Membership, Paxos};
use crate::kernel::{Ballot, Incarnation, ProcessId};
use crate::sim::facts::Facts;
use crate::sim::said::Said;

fn covered(holds: bool, p: ProcessId, said: &Said, facts: &Facts) -> Verdict {
    ensure(holds, Property::Exposure, || format!("{p} says {said}, and what is durable there is {facts:?}"))
}

/// What a frame claims is covered by what is durable at its sender.
pub(super) fn said(p: ProcessId, inc: Incarnation, said: &Said, facts: &Facts) -> Verdict {
    // `(acc, len)` was claimed: it is there, or a later ballot has taken its place.
    let holds_log = |acc: Ballot, len: u64| facts.acc > acc || (facts.acc == acc && facts.len >= len);
    // Every frame speaks for an incarnation.
    covered(facts.inc == inc, p, said, facts)?;
    let holds = match said {
        Said::Accept(a) => facts.acc == a.n,
        Said::Paxos(m) => match m {
            Paxos::PrepareReq | Paxos::Behind { .. } | Paxos::HandOver { .. } | Paxos::Diverged { .. } => {
                true
            }
            // A `Prepare` leaves early nowhere: the candidate's promise to itself binds before others hear of it.
            Paxos::Prepare { n, acc, len, decided, .. } => {
                facts.prom >= *n && holds_log(*acc, *len) && facts.len >= *decided
            }
            Paxos::Promise { n, sess, acc, len, decided, .. } => {
                facts.prom >= *n && sess.inc == facts.inc && holds_log(*acc, *len) && facts.len >= *decided
            }
            Paxos::AcceptSync { n, .. } | Paxos::ReadIndex { n, .. } => facts.acc >= *n,
            Paxos::Accepted { n, len, .. } => holds_log(*n, *len),
            // One's own log holds what one announces, whether or not one's own disk has it yet.
            Paxos::Decide { n, .. } => facts.acc >= *n,
            Paxos::Nack { prom } => facts.prom >= *prom,
            Paxos::ReadAck { n, .. } => facts.prom >= *n,
            Paxos::Durable { prom, acc, len, .. } => facts.prom >= *prom && holds_log(*acc, *len),
        },
        Said::Heartbeat(Heartbeat::Request { inc, .. }) => facts.inc == *inc,
        Said::Heartbeat(Heartbeat::Reply { inc, ballot, prom, .. }) => {
            facts.inc == *inc && facts.prom >= *prom && facts.prom >= *ballot
        }
        Said::Membership(Membership::Hello { inc, boot, life, .. }) => {
            (facts.boot.0, facts.boot.1) == (*inc, *boot) && facts.inc == life.inc
        }
        Said::Membership(Membership::Amnesia { .. })
        | Said::Request(_)
        | Said::CatchUp(_)
        | Said::Register(_)
        | Said::Link(_)
        | Said::Broadcast(_)
        | Said::CrossCheck(_) => true,
    };
    covered(holds, p, said, facts)
}

/// An acknowledgement: what is acknowledged is durable, in that ballot.
pub(super) fn accepted(p: ProcessId, n: Ballot, len: u64, facts: &Facts) -> Verdict {
    ensure(facts.acc > n || (facts.acc == n && facts.len >= len), Property::Exposure, || {
        format!("{p} acknowledges length {len} in ballot {n}, and what is durable there is {facts:?}")
    })
}

/// A decided prefix that somebody announces is durable at a majority.
pub(super) fn decided(p: ProcessId, said: &Said, chosen: u64) -> Verdict {
    let decided = match said {
        Said::Accept(a) => a.decided,
        Said::Paxos(
            Paxos::Prepare { decided, .. }
            | Paxos::Promise { decided, .. }
            | Paxos::Behind { decided, .. }
            | Paxos::AcceptSync { decided, .. }
            | Paxos::Decide { decided, .. },
        ) => *decided,
        Said::CrossCheck(CrossCheckMessage::State(s) | CrossCheckMessage::Differs(s)) => s.applied,
        Said::Paxos(
            Paxos::PrepareReq
            | Paxos::Accepted { .. }
            | Paxos::Nack { .. }
            | Paxos::ReadIndex { .. }
            | Paxos::ReadAck { .. }
            | Paxos::HandOver { .. }
            | Paxos::Diverged { .. }
            | Paxos::Durable { .. },
        )
        | Said::Heartbeat(_)
        | Said::Membership(_)
        | Said::Request(_)
        | Said::CatchUp(_)
        | Said::Register(_)
        | Said::Link(_)
        | Said::Broadcast(_) => return Ok(()),
    };
    ensure(decided <= chosen, Property::Exposure, || {
        format!("{p} says {said}, and only {chosen} entries are durable at a majority")
    })
}

/// A reply or a view states the first `applied` entries: they are durable at a majority, and in
/// the log of the process that states them.
pub(super) fn stated(p: ProcessId, applied: u64, facts: &Facts, chosen: u64) -> Verdict {
    ensure(applied <= facts.len && applied <= chosen, Property::Exposure, || {
        format!(
            "{p} shows the first {applied} entries; durable are {} there, {chosen} at a majority",
            facts.len
        )
    })
}
