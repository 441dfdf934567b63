//! What a run injected, and what came of it. A run that injected nothing proves nothing: a suite
//! sums these over its seeds, and fails where a class never happened.

use std::fmt;
use std::ops::AddAssign;

macro_rules! coverage {
    ($($(#[doc = $doc:literal])+ $name:ident: $label:literal,)+) => {
        /// Counters of one run, or of many.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Coverage {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Coverage {
            /// Every class, by name, with its count.
            pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$name)),+].into_iter()
            }
        }

        impl AddAssign for Coverage {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

coverage! {
    /// Processes that crashed, wherever they were.
    crashes: "crashes",
    /// Crashes inside a commit: before, in the middle of, or right after its write.
    crashes_in_write: "crashes inside a write",
    /// Crashes after a sync that nobody had been told of.
    crashes_after_sync: "crashes after an unreported sync",
    /// Crashes with something exposed and something not of the same commit.
    crashes_in_exposure: "crashes between two exposures",
    /// All processes down at once.
    blackouts: "crashes of every process at once",
    /// Crashes of a process that had just booted.
    crash_loops: "crashes right after a boot",
    /// Boots with something stored.
    recoveries: "recoveries",
    /// Boots of a process that led when it crashed.
    leader_recoveries: "recoveries of a leader",
    /// Disks that lost their memory.
    wipes: "disks wiped",
    /// Commits that failed, or found the disk full.
    disk_failures: "failed syncs and full disks",
    /// Frames delivered.
    delivered: "frames delivered",
    /// Frames lost.
    dropped: "frames dropped",
    /// Frames delivered that stay in flight.
    duplicated: "frames duplicated",
    /// Frames delivered before older ones.
    reordered: "frames reordered",
    /// Frames held back for long before they arrived.
    late: "frames delayed for long",
    /// Frames damaged on their way.
    corrupted: "frames corrupted",
    /// Frames delivered from a crashed incarnation.
    stale: "stale frames across incarnations",
    /// Links cut.
    cuts: "links cut",
    /// Links cut in one direction only.
    one_way: "one-way partitions",
    /// Chains and stars.
    partial: "partial partitions",
    /// Changes of leader: ballots in which somebody led, after the first.
    leader_changes: "leader changes",
    /// Entries decided.
    decided: "entries decided",
    /// Commands answered.
    replies: "commands answered",
    /// Linearizable reads answered.
    reads: "linearizable reads answered",
    /// Serializable reads answered.
    stale_reads: "serializable reads answered",
    /// Requests whose fate the client never learned.
    unknown: "requests of unknown fate",
    /// Requests of a session sent again to another process.
    retries: "session requests retried",
    /// Reads and writes of registers that returned.
    registers: "register operations",
    /// Messages published to topics, and confirmed.
    publications: "publications confirmed",
    /// Records of delivery logs that were told.
    deliveries: "topic deliveries",
    /// Gaps in delivery logs.
    gaps: "gaps in a delivery log",
    /// Deliveries to subscribers, the first and the others.
    redeliveries: "deliveries to a subscriber",
    /// Subscribers that were told that they fell off.
    fell_off: "subscribers that fell off",
    /// Log prefixes dropped.
    trims: "log trims",
    /// Snapshots installed in place of a log.
    snapshots: "snapshots installed",
    /// Client histories that the checker could not decide within its limits.
    undecided: "client histories undecided",
    /// Steps taken.
    steps: "steps",
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, count)) in self.classes().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{count:>12}  {name}")?;
        }
        Ok(())
    }
}
