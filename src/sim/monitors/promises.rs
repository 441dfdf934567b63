//! Promises: `prom` never decreases, nor does `accRnd`, which never exceeds it; after Accepted(n, i)
//! the durable length stays at least i while accRnd = n; a stored decided prefix never runs beyond
//! the log that is durable with it.

use super::{Property, Verdict, ensure};
use crate::kernel::{Ballot, ProcessId};
use crate::sim::facts::Facts;

/// The last acknowledgement of each process.
#[derive(Debug)]
pub(super) struct Promises {
    acknowledged: Vec<(Ballot, u64)>,
}

impl Promises {
    pub(super) fn new(processes: usize) -> Self {
        Self { acknowledged: vec![(Ballot::ZERO, 0); processes] }
    }

    /// What a process had acknowledged is gone with its disk.
    pub(super) fn wiped(&mut self, p: ProcessId) {
        self.acknowledged[p.index()] = (Ballot::ZERO, 0);
    }

    /// A process acknowledges a length in a ballot.
    pub(super) fn acknowledged(&mut self, p: ProcessId, n: Ballot, len: u64) {
        let last = &mut self.acknowledged[p.index()];
        *last = (*last).max((n, len));
    }

    /// The durable state of a process changed.
    pub(super) fn stored(&mut self, p: ProcessId, before: &Facts, after: &Facts) -> Verdict {
        let holds = |holds, what: &str| {
            ensure(holds, Property::Promises, || format!("{p}: {what}: {before:?}, then {after:?}"))
        };
        holds(after.prom >= before.prom, "prom decreases")?;
        holds(after.acc >= before.acc, "accRnd decreases")?;
        holds(after.acc <= after.prom, "accRnd exceeds prom")?;
        holds(after.decided >= before.decided, "the stored decided prefix shrinks")?;
        holds(after.decided <= after.len, "the stored decided prefix exceeds the log")?;
        let (n, len) = self.acknowledged[p.index()];
        ensure(after.acc != n || after.len >= len, Property::Promises, || {
            format!("{p} acknowledged length {len} in ballot {n}, and now holds {} there", after.len)
        })
    }
}
