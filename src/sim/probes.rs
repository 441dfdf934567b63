//! Requests that must be answered: what liveness asks of a process once faults have stopped.

use super::clients::Glimpse;
use super::monitors::Verdict;
use super::world::World;
use crate::kernel::ProcessId;
use crate::stack::Role;

impl World {
    /// Writes a register at a process, which must succeed.
    pub(super) fn probe_register(&mut self, at: ProcessId) -> Verdict {
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        let asked = self.registers.probe(at, glimpse);
        self.ask(asked)?;
        Ok(())
    }

    /// Publishes at a process, which must confirm it.
    pub(super) fn probe_topic(&mut self, at: ProcessId) -> Verdict {
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        let asked = self.topics.probe(at, glimpse);
        self.ask(asked)?;
        Ok(())
    }

    /// Proposes at a process, which must decide.
    pub(super) fn probe_consensus(&mut self, at: ProcessId) -> Verdict {
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        let asked = self.ledger.probe(at, glimpse);
        self.ask(asked)?;
        Ok(())
    }

    /// Receives at a process, which must deliver everything.
    pub(super) fn probe_receipts(&mut self, at: ProcessId) -> Verdict {
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        for asked in self.ledger.probe_receipts(at, glimpse) {
            self.ask(asked)?;
        }
        Ok(())
    }

    /// From now on only frames of up to `most` bytes leave a process, where they are of the log; and a
    /// put to it makes a larger one.
    pub(super) fn narrow(&mut self, at: ProcessId, most: usize) -> Verdict {
        self.befalls(at, || format!("says nothing of the log any more that is longer than {most} bytes"));
        self.coverage.narrows += 1;
        self.network.narrow(at, most);
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        let asked = self.clients.burden(at, 2 * most, glimpse);
        self.ask(asked)?;
        Ok(())
    }

    /// Whether a process leads, and has decided all of its log: it has nothing to get on with.
    pub(super) fn is_done(&self, p: ProcessId) -> bool {
        let status = self.alive(p).map(|alive| alive.stack.status());
        status.is_some_and(|s| s.role == Role::Leader && s.decided == s.log_len)
    }

    /// Nothing is lost any more for its size.
    pub(super) fn widen(&mut self) {
        self.network.widen();
    }

    /// Sends a put to a process, which must answer it.
    pub(super) fn probe(&mut self, at: ProcessId) -> Verdict {
        let glimpse = Glimpse { processes: &self.processes, now: self.step };
        let asked = self.clients.probe(at, glimpse);
        self.ask(asked)?;
        Ok(())
    }
}
