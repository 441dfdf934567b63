//! What a peer may say. Processes count: indices, ballots, incarnations, messages. Each grows by one
//! for something that takes time, so that no process that tells the truth comes near these bounds; a
//! number beyond them is damage, or a lie, and whoever took it could not count on.
//!
//! ```text
//! stranger   Prepare(ballot 2^64-1) ──┐
//! p                                 promises ─ stands: 2^64-1 + 1 ─ a panic, at each restart again
//! ```

use super::process::{Ballot, Incarnation, ProcessId};

/// Every index, length and number that a peer names is below this, so that what is counted on from
/// it fits.
pub const MAX_COUNT: u64 = 1 << 62;

/// How far a ballot or an incarnation may lie above what was heard before.
pub const MAX_LEAP: u64 = 1 << 32;

/// Whether entries from an index on can be a part of a log.
pub fn is_range(from: u64, entries: usize) -> bool {
    from.checked_add(entries as u64).is_some_and(|end| end <= MAX_COUNT)
}

/// Whether an incarnation may follow the last one that was heard of.
pub fn may_follow(known: Incarnation, inc: Incarnation) -> bool {
    inc <= known.saturating_add(MAX_LEAP).min(MAX_COUNT)
}

impl Ballot {
    /// Whether a member could ever hold it.
    pub fn is_of(self, processes: usize) -> bool {
        self == Self::ZERO
            || self.config == Self::ZERO.config
                && self.counter <= MAX_COUNT
                && self.process.index() < processes
    }

    /// The ballot of a process that stands above this one, in this boot of it; none at the end of all
    /// ballots.
    pub fn next(self, process: ProcessId, boot: u64) -> Option<Self> {
        let counter = self.counter.checked_add(1).filter(|counter| *counter <= MAX_COUNT)?;
        Some(Self { counter, process, boot, ..self })
    }
}

/// The greatest ballot seen anywhere, by which another one is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Highest {
    seen: Ballot,
    /// Counters up to this one can be believed, however far they lie above. It grows with each that cannot,
    /// so that a process which was away for long gets there; nobody stands in a ballot for that.
    reach: u64,
    processes: usize,
}

impl Highest {
    /// So far this one, of so many processes.
    pub fn new(seen: Ballot, processes: usize) -> Self {
        Self { seen, reach: 0, processes }
    }

    /// The ballot.
    pub fn seen(self) -> Ballot {
        self.seen
    }

    /// Whether a ballot can be believed; it is seen then.
    #[must_use]
    pub fn believes(&mut self, ballot: Ballot) -> bool {
        if !ballot.is_of(self.processes) {
            return false;
        }
        let reach = self.reach.max(self.seen.counter.saturating_add(MAX_LEAP));
        if ballot.counter <= reach {
            self.seen = self.seen.max(ballot);
            return true;
        }
        tracing::warn!(%ballot, seen = %self.seen, "a ballot lies too far above those that were seen: not believed");
        self.reach = reach.saturating_add(MAX_LEAP);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(counter: u64) -> Ballot {
        Ballot { counter, process: ProcessId(1), ..Ballot::ZERO }
    }

    #[test]
    fn a_ballot_that_leaps_is_not_believed_and_can_be_reached() {
        let mut highest = Highest::new(ballot(7), 3);
        assert!(highest.believes(ballot(7 + MAX_LEAP)));
        let far = ballot(7 + 3 * MAX_LEAP);
        assert!(!highest.believes(far));
        assert_eq!(highest.seen(), ballot(7 + MAX_LEAP));
        assert!(highest.believes(far));
    }

    #[test]
    fn no_ballot_is_the_last_that_a_process_can_follow() {
        let mut highest = Highest::new(ballot(MAX_COUNT - 1), 3);
        assert!(!highest.believes(ballot(u64::MAX)));
        assert!(!highest.believes(Ballot { config: 1, ..ballot(1) }));
        assert!(!highest.believes(Ballot { process: ProcessId(3), ..ballot(1) }));
        assert_eq!(
            highest.seen().next(ProcessId(2), 5),
            Some(Ballot { process: ProcessId(2), boot: 5, ..ballot(MAX_COUNT) })
        );
        assert_eq!(ballot(MAX_COUNT).next(ProcessId(2), 5), None);
        assert_eq!(ballot(u64::MAX).next(ProcessId(2), 5), None, "as an earlier version may have stored it");
    }

    #[test]
    fn ranges_and_incarnations_end() {
        assert!(
            is_range(0, 0) && is_range(MAX_COUNT, 0) && !is_range(MAX_COUNT, 1) && !is_range(u64::MAX, 2)
        );
        assert!(
            may_follow(5, 6) && may_follow(5, 1) && !may_follow(5, 6 + MAX_LEAP) && !may_follow(0, u64::MAX)
        );
    }
}
