//! Names of processes, incarnations and ballots.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A member of the configuration: its position in the list of members, sorted by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct ProcessId(pub u8);

impl ProcessId {
    /// The position as an index into per-process tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which life of a process this is: counted durably at every boot, the first one is 1.
pub type Incarnation = u64;

/// A duration or a point in time, counted in ticks of a process.
pub type Ticks = u64;

/// A round of leadership. Ordered by configuration, then counter, then process, then boot, so that two
/// processes never share a ballot, nor do two lives of a process whose disk was put back in between.
/// [`Ballot::ZERO`] is below every ballot that anyone holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Ballot {
    /// Number of the configuration that the ballot belongs to.
    pub config: u32,
    /// Grows with every candidacy.
    pub counter: u64,
    /// The process that leads in this ballot.
    pub process: ProcessId,
    /// The number that this process drew at the boot in which it stood.
    pub boot: u64,
}

impl Ballot {
    /// Nobody's ballot.
    pub const ZERO: Ballot = Ballot { config: 0, counter: 0, process: ProcessId(0), boot: 0 };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ZERO {
            return write!(f, "0");
        }
        write!(f, "{}.{}.{}", self.config, self.counter, self.process.0)
    }
}

/// With the boot, which tells two ballots apart that are written alike.
impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{:x}", self.boot)
    }
}

/// A set of processes. Quorums are sets, never counters: links redeliver, and a process that is
/// heard twice is still one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessSet(u64);

impl ProcessSet {
    /// The largest number of processes in a configuration.
    pub const CAPACITY: usize = 64;

    /// Adds a process.
    pub fn insert(&mut self, p: ProcessId) {
        assert!(p.index() < Self::CAPACITY, "{p} is beyond the largest configuration");
        self.0 |= 1 << p.0;
    }

    /// Whether the process is in the set.
    pub fn contains(self, p: ProcessId) -> bool {
        p.index() < Self::CAPACITY && self.0 & (1 << p.0) != 0
    }

    /// How many processes there are in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set has no member.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<ProcessId> for ProcessSet {
    fn from_iter<I: IntoIterator<Item = ProcessId>>(iter: I) -> Self {
        let mut set = Self::default();
        iter.into_iter().for_each(|p| set.insert(p));
        set
    }
}

impl fmt::Debug for ProcessSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..64).map(ProcessId).filter(|p| self.contains(*p))).finish()
    }
}
