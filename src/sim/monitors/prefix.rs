//! Prefix agreement: the decided logs of any two processes, in any incarnations, are prefixes of
//! one another, and only grow. And durable majority: what is decided was chosen.

use super::chosen::Chosen;
use super::{Property, Verdict, digest, ensure, entries};
use crate::kernel::{LoggedLog, ProcessId};

/// The decided log, and how far each process has it.
#[derive(Debug)]
pub(super) struct Prefix {
    decided: u64,
    /// Per process, since its last boot.
    seen: Vec<Option<u64>>,
}

impl Prefix {
    pub(super) fn new(processes: usize) -> Self {
        Self { decided: 0, seen: vec![None; processes] }
    }

    /// How many entries are decided anywhere.
    pub(super) fn decided(&self) -> u64 {
        self.decided
    }

    /// A process booted: everything that it holds is looked at again.
    pub(super) fn booted(&mut self, p: ProcessId) {
        self.seen[p.index()] = None;
    }

    /// A process takes the first `decided` entries of its log for decided.
    pub(super) fn reacted(
        &mut self,
        p: ProcessId,
        decided: u64,
        log: &LoggedLog,
        chosen: &Chosen,
    ) -> Verdict {
        let seen = self.seen[p.index()];
        if seen == Some(decided) {
            return Ok(());
        }
        let from = seen.unwrap_or(0);
        ensure(decided >= from, Property::PrefixAgreement, || {
            format!("{p} took {} for decided, and now only {decided}", entries(from))
        })?;
        ensure(decided <= chosen.len(), Property::DurableMajority, || {
            format!(
                "{p} takes {} for decided, and a majority holds only {} durably in one ballot",
                entries(decided),
                chosen.len()
            )
        })?;
        for index in from.max(log.first())..decided {
            let held = log.get(index).map(|e| digest(e));
            ensure(held == chosen.get(index), Property::PrefixAgreement, || {
                format!("{p} takes index {index} for decided with another value than the one that was chosen")
            })?;
        }
        self.seen[p.index()] = Some(decided);
        self.decided = self.decided.max(decided);
        Ok(())
    }
}
