//! What a process is told at boot.

use super::bounds::Bounds;
use super::mutant::Mutants;
use super::process::{ProcessId, Ticks};
use std::fmt;

/// What a process is told at boot. Everything else it finds in stable storage.
#[derive(Clone)]
pub struct Config {
    /// Which member this process is.
    pub me: ProcessId,
    /// The number of members.
    pub processes: usize,
    /// Hash of the initial configuration: names, peer URLs, token. Members that disagree on it do
    /// not talk.
    pub configuration: u64,
    /// The id of this data directory, drawn at random when it was made; never 0.
    pub disk: u64,
    /// A number drawn at random at each boot, which tells two boots of one incarnation apart (a
    /// data directory that was copied back).
    pub boot: u64,
    /// Whether storage came up damaged: the process then counts in no majority.
    pub damaged: bool,
    /// Whether the data directory is the one that was made for this process.
    pub origin: Origin,
    /// Durations, in ticks.
    pub timing: Timing,
    /// Bounds.
    pub bounds: Bounds,
    /// The bug put in on purpose, if any.
    pub mutants: Mutants,
}

/// Where the data directory of a process comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// It is the one that was made for this process.
    #[default]
    Own,
    /// It is a copy of that one: the process may have promised and acknowledged more than it knows.
    Copied,
    /// It is a copy, and a person vouches that the original was stopped before, and is gone.
    Adopted,
}

/// Short, since every module shows its own: it never changes, and tells no state from another.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.me, self.processes)
    }
}

impl Config {
    /// Every member.
    pub fn members(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes as u8).map(ProcessId)
    }

    /// Every member but this one.
    pub fn peers(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let me = self.me;
        self.members().filter(move |p| *p != me)
    }

    /// The smallest number of processes that any two such sets share a member.
    pub fn majority(&self) -> usize {
        self.processes / 2 + 1
    }
}

#[cfg(test)]
impl Config {
    /// What a test tells one of so many processes, where it does not care for more.
    pub(crate) fn of(me: u8, processes: usize) -> Self {
        Self {
            me: ProcessId(me),
            processes,
            configuration: 1,
            disk: 1,
            boot: 1,
            damaged: false,
            origin: Origin::Own,
            timing: Timing::default(),
            bounds: Bounds::default(),
            mutants: Mutants::default(),
        }
    }
}

/// Durations, in ticks of this process.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two rounds of heartbeats.
    pub heartbeat: Ticks,
    /// Without an answer for so long, a process is suspected.
    pub election: Ticks,
    /// Without progress for so long, messages are sent again.
    pub resend: Ticks,
}

impl Default for Timing {
    /// For ticks of 10 ms: heartbeats every 100 ms, suspicion after a second.
    fn default() -> Self {
        Self { heartbeat: 10, election: 100, resend: 30 }
    }
}
