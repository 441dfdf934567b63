//! The monitors: what must hold on every execution, watched from outside at every step.
//!
//! A monitor sees what a process exposes, what reaches its disk, and what it says of itself; never
//! how it came to that. The table that `tests/mutants.rs` prints has each property, and what
//! violates it.

mod chosen;
mod commits;
mod decisions;
mod effects;
mod elected;
mod exposure;
mod incarnations;
mod learners;
pub(super) mod memory;
mod one_value;
mod prefix;
mod promises;
mod publications;
mod receipts;
mod space;
mod states;

use self::chosen::Chosen;
pub(super) use self::commits::Commits;
pub(super) use self::decisions::Decisions;
pub(super) use self::effects::Effects;
use self::elected::Elected;
use self::incarnations::Incarnations;
use self::learners::Learners;
use self::one_value::Values;
use self::prefix::Prefix;
use self::promises::Promises;
pub(super) use self::publications::Publications;
pub(super) use self::receipts::{Receipts, Shown};
pub(super) use self::space::Space;
pub(super) use self::states::States;
use super::disk::SimDisk;
use super::facts::Facts;
pub(super) use super::property::{Failure, Property, Verdict, ensure};
use super::said::Said;
use crate::consensus::Paxos;
use crate::kernel::{Ballot, Incarnation, LogId, LoggedLog, ProcessId};

/// The value of an entry, as far as monitors tell entries apart; never 0.
pub(super) fn digest(entry: &[u8]) -> u64 {
    let mut hash = entry.len() as u64 ^ 0x51_7c_c1_b7_27_22_0a_95;
    let mut mix = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = entry.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    rest.iter().for_each(|byte| mix(u64::from(*byte)));
    hash.max(1)
}

/// So many entries, in words.
pub(super) fn entries(count: u64) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}

/// All monitors of the log protocol.
#[derive(Debug)]
pub(super) struct Monitors {
    values: Values,
    chosen: Chosen,
    prefix: Prefix,
    promises: Promises,
    elected: Elected,
    incarnations: Incarnations,
    learners: Learners,
    /// Whether they watch no more.
    retired: bool,
}

impl Monitors {
    pub(super) fn new(processes: usize) -> Self {
        Self {
            values: Values::default(),
            chosen: Chosen::new(processes),
            prefix: Prefix::new(processes),
            promises: Promises::new(processes),
            elected: Elected::new(processes),
            incarnations: Incarnations::new(processes),
            learners: Learners::new(processes),
            retired: false,
        }
    }

    /// From now on processes may decide differently: see `divergence.rs`.
    pub(super) fn retire(&mut self) {
        self.retired = true;
    }

    /// A process booted.
    pub(super) fn booted(&mut self, p: ProcessId, inc: Incarnation, disk: &SimDisk) -> Verdict {
        if self.retired {
            return Ok(());
        }
        self.prefix.booted(p);
        self.incarnations.booted(p, inc, disk.facts())
    }

    /// A process crashed.
    pub(super) fn crashed(&mut self, p: ProcessId) {
        self.incarnations.crashed(p);
    }

    /// The disk of a process lost its memory, which was this.
    pub(super) fn wiped(&mut self, p: ProcessId, lost: &Facts) {
        self.incarnations.wiped(p);
        self.promises.wiped(p);
        self.elected.wiped(p);
        if lost.formed {
            self.learners.wiped(p);
        }
    }

    /// Something became durable at a process, which leads in this ballot, or in none.
    pub(super) fn stored(
        &mut self,
        p: ProcessId,
        before: &Facts,
        disk: &SimDisk,
        leads: Option<Ballot>,
    ) -> Verdict {
        if self.retired {
            return Ok(());
        }
        let after = disk.facts();
        self.promises.stored(p, before, after)?;
        if after.acc != before.acc && after.acc.process == p {
            self.values.adopted(after.acc, disk.log(LogId::REPLICATED))?;
            self.chosen.adopted(after.acc, after.len, &self.values)?;
        }
        match leads {
            // Once it leads no more, what its log holds may have been learned.
            Some(n) if n == after.acc => {
                let held = |i| disk.entry(LogId::REPLICATED, i).map(|e| (i, e));
                self.values.adopted(n, (before.len..after.len).filter_map(held))?;
                self.chosen.voted(n, p, after.len, &self.values)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A frame leaves a process.
    pub(super) fn said(&mut self, p: ProcessId, inc: Incarnation, said: &Said, seen: Seen<'_>) -> Verdict {
        if self.retired {
            return Ok(());
        }
        self.incarnations.said(p, inc)?;
        self.learners.said(p, said)?;
        self.elected.said(p, inc, said)?;
        match said {
            Said::Accept(a) => self.values.proposed(a.n, a.from, &a.entries)?,
            Said::Paxos(Paxos::AcceptSync { n, at, entries, .. }) => {
                self.values.proposed(*n, *at, entries)?;
            }
            Said::Paxos(Paxos::Accepted { n, len, .. }) => {
                exposure::accepted(p, *n, *len, seen.disk.facts())?;
                self.promises.acknowledged(p, *n, *len);
                self.values.accepted(p, *n, *len, seen.decided, seen.disk)?;
                self.chosen.voted(*n, p, *len, &self.values)?;
            }
            Said::Paxos(_)
            | Said::Heartbeat(_)
            | Said::Membership(_)
            | Said::Request(_)
            | Said::CatchUp(_)
            | Said::Register(_)
            | Said::Link(_)
            | Said::Broadcast(_)
            | Said::CrossCheck(_) => {}
        }
        exposure::said(p, inc, said, seen.disk.facts())?;
        exposure::decided(p, said, self.chosen.len())
    }

    /// A process reacted: it says that so much of its log is decided.
    pub(super) fn reacted(&mut self, p: ProcessId, decided: u64, log: &LoggedLog) -> Verdict {
        if self.retired {
            return Ok(());
        }
        self.prefix.reacted(p, decided, log, &self.chosen)
    }

    /// Something that states the first `applied` entries leaves a process.
    pub(super) fn stated(&self, p: ProcessId, applied: u64, facts: &Facts) -> Verdict {
        if self.retired {
            return Ok(());
        }
        exposure::stated(p, applied, facts, self.chosen.len())
    }

    /// How many entries are decided.
    pub(super) fn decided(&self) -> u64 {
        self.prefix.decided()
    }

    /// In how many ballots somebody led.
    pub(super) fn ballots_led(&self) -> u64 {
        self.chosen.ballots_led()
    }
}

/// What a monitor may look at beside a frame: the disk of its sender, and how much of its log the
/// sender takes for decided.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) disk: &'a SimDisk,
    pub(super) decided: u64,
}
