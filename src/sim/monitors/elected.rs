//! Elected ballots: each belongs to one process and one incarnation of it, and those of a process
//! only increase.

use super::{Property, Verdict, ensure};
use crate::consensus::Paxos;
use crate::kernel::{Ballot, Incarnation, ProcessId};
use crate::sim::said::Said;

/// The last ballot in which each process stood, and in which incarnation.
#[derive(Debug)]
pub(super) struct Elected {
    last: Vec<(Ballot, Incarnation)>,
}

impl Elected {
    pub(super) fn new(processes: usize) -> Self {
        Self { last: vec![(Ballot::ZERO, 0); processes] }
    }

    /// A process that lost its memory starts over, where it may stand at all.
    pub(super) fn wiped(&mut self, p: ProcessId) {
        self.last[p.index()] = (Ballot::ZERO, 0);
    }

    /// A process says something; some of it only the owner of a ballot says.
    pub(super) fn said(&mut self, p: ProcessId, inc: Incarnation, said: &Said) -> Verdict {
        let n = match said {
            Said::Accept(a) => a.n,
            Said::Paxos(
                Paxos::Prepare { n, .. }
                | Paxos::AcceptSync { n, .. }
                | Paxos::Decide { n, .. }
                | Paxos::ReadIndex { n, .. }
                | Paxos::HandOver { n },
            ) => *n,
            Said::Paxos(
                Paxos::PrepareReq
                | Paxos::Promise { .. }
                | Paxos::Behind { .. }
                | Paxos::Accepted { .. }
                | Paxos::Nack { .. }
                | Paxos::ReadAck { .. }
                | Paxos::Diverged { .. }
                | Paxos::Durable { .. },
            )
            | Said::Heartbeat(_)
            | Said::Membership(_)
            | Said::Request(_)
            | Said::CatchUp(_)
            | Said::CrossCheck(_)
            | Said::Register(_)
            | Said::Link(_)
            | Said::Broadcast(_) => return Ok(()),
        };
        let (last, by) = self.last[p.index()];
        ensure(n.process == p, Property::ElectedBallots, || {
            format!("{p} acts in ballot {n}, which is not its own")
        })?;
        ensure(n >= last, Property::ElectedBallots, || format!("{p} acts in ballot {n} after {last}"))?;
        ensure(n > last || inc == by, Property::ElectedBallots, || {
            format!("{p} acts in ballot {n} in incarnation {inc}, and did so in incarnation {by} already")
        })?;
        self.last[p.index()] = (n, inc);
        Ok(())
    }
}
