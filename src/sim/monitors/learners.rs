//! Learners: a process that lost its memory after it had a vote makes no promise, accepts nothing,
//! confirms no read, leads nobody, and is never happy.

use super::{Property, Verdict, ensure};
use crate::broadcast::BroadcastMessage;
use crate::consensus::{Heartbeat, Paxos};
use crate::kernel::ProcessId;
use crate::register::RegisterMessage;
use crate::sim::said::Said;

/// Which processes lost their memory.
#[derive(Debug)]
pub(super) struct Learners {
    forgot: Vec<bool>,
}

impl Learners {
    pub(super) fn new(processes: usize) -> Self {
        Self { forgot: vec![false; processes] }
    }

    /// From now on the process counts in no majority.
    pub(super) fn wiped(&mut self, p: ProcessId) {
        self.forgot[p.index()] = true;
    }

    /// A process says something.
    pub(super) fn said(&self, p: ProcessId, said: &Said) -> Verdict {
        if !self.forgot[p.index()] {
            return Ok(());
        }
        let votes = match said {
            Said::Accept(_) => true,
            Said::Paxos(
                Paxos::Prepare { .. }
                | Paxos::Promise { .. }
                | Paxos::AcceptSync { .. }
                | Paxos::Accepted { .. }
                | Paxos::Decide { .. }
                | Paxos::ReadIndex { .. }
                | Paxos::ReadAck { .. }
                | Paxos::HandOver { .. },
            ) => true,
            Said::Heartbeat(Heartbeat::Reply { happy, .. }) => *happy,
            Said::Broadcast(BroadcastMessage::Have { counts, .. }) => *counts,
            Said::Register(RegisterMessage::State { .. } | RegisterMessage::Imposed { .. }) => true,
            Said::Paxos(
                Paxos::PrepareReq
                | Paxos::Behind { .. }
                | Paxos::Nack { .. }
                | Paxos::Diverged { .. }
                | Paxos::Durable { .. },
            )
            | Said::Heartbeat(Heartbeat::Request { .. })
            | Said::Membership(_)
            | Said::Request(_)
            | Said::CatchUp(_)
            | Said::CrossCheck(_)
            | Said::Link(_)
            | Said::Broadcast(BroadcastMessage::Relay { .. } | BroadcastMessage::Told { .. })
            | Said::Register(RegisterMessage::Query { .. } | RegisterMessage::Impose { .. }) => false,
        };
        ensure(!votes, Property::Learners, || format!("{p} lost its memory, and says {said}"))
    }
}
