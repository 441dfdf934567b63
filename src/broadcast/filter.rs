//! At most once: links and leader changes send a command again, and an etcd client's transaction
//! must not run twice (rule 10).

use crate::kernel::{Digest, Incarnation, Mutant, Mutants, ProcessId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was executed of one origin's current incarnation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Executed {
    inc: Incarnation,
    /// Everything below is executed, or given up by its origin.
    low: u64,
    above: BTreeSet<u64>,
}

/// The filter is part of the replicated state: every process decides alike, and it is part of the
/// checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    origins: BTreeMap<ProcessId, Executed>,
}

impl Filter {
    /// Whether the command `(origin, inc, seq)` is to be executed, now and never again. `low` is
    /// the lowest number that its origin still waits for. Commands of an earlier incarnation are
    /// not executed any more: nobody waits for them.
    pub fn admit(
        &mut self,
        origin: ProcessId,
        inc: Incarnation,
        seq: u64,
        low: u64,
        mutants: Mutants,
    ) -> bool {
        let executed = self.origins.entry(origin).or_default();
        if inc > executed.inc {
            *executed = Executed { inc, ..Executed::default() };
        }
        if inc < executed.inc {
            return mutants.on(Mutant::ForwardUnfiltered);
        }
        if low > executed.low {
            executed.low = low;
            executed.above = executed.above.split_off(&low);
        }
        let fresh = seq >= executed.low && executed.above.insert(seq);
        fresh || mutants.on(Mutant::ForwardUnfiltered)
    }

    /// A digest of everything that it decides by.
    pub fn digest(&self) -> u64 {
        let of = |digest: Digest, (origin, executed): (&ProcessId, &Executed)| {
            let Executed { inc, low, above } = executed;
            let digest = digest.word(u64::from(origin.0)).word(*inc).word(*low).word(above.len() as u64);
            above.iter().fold(digest, |digest, seq| digest.word(*seq))
        };
        self.origins.iter().fold(Digest::default(), of).value()
    }

    /// Whether the command was executed, or never will be.
    pub fn is_done(&self, origin: ProcessId, inc: Incarnation, seq: u64) -> bool {
        self.origins
            .get(&origin)
            .is_some_and(|e| inc < e.inc || (inc == e.inc && (seq < e.low || e.above.contains(&seq))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProcessId = ProcessId(0);

    fn admit(filter: &mut Filter, inc: u64, seq: u64, low: u64) -> bool {
        filter.admit(P, inc, seq, low, Mutants::default())
    }

    #[test]
    fn a_command_has_one_effect() {
        let mut filter = Filter::default();
        assert!(admit(&mut filter, 1, 1, 1));
        assert!(admit(&mut filter, 1, 3, 1));
        assert!(!admit(&mut filter, 1, 1, 1));
        assert!(admit(&mut filter, 1, 2, 1));
        assert!(!admit(&mut filter, 1, 3, 3), "executed out of order, and sent again");
        assert!(!admit(&mut filter, 1, 2, 1), "below the watermark");
        assert!(filter.is_done(P, 1, 3) && !filter.is_done(P, 1, 4));
    }

    #[test]
    fn filters_that_decide_otherwise_have_other_digests() {
        let mut filters = vec![Filter::default()];
        for (inc, seq, low) in [(1, 1, 1), (1, 3, 1), (1, 3, 2), (2, 3, 2)] {
            let mut next = filters.last().unwrap().clone();
            admit(&mut next, inc, seq, low);
            filters.push(next);
        }
        let digests: BTreeSet<u64> = filters.iter().map(Filter::digest).collect();
        assert_eq!(digests.len(), filters.len());
        assert!(digests.contains(&filters[4].clone().digest()));
    }

    #[test]
    fn a_command_of_an_earlier_incarnation_is_not_executed() {
        let mut filter = Filter::default();
        assert!(admit(&mut filter, 2, 1, 1));
        assert!(!admit(&mut filter, 1, 7, 1));
        assert!(admit(&mut filter, 3, 1, 1), "numbers start again with each incarnation");
    }
}
