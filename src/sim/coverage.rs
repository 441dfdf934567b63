//! What a run injected, and what came of it. A run that injected nothing proves nothing: a suite
//! sums these over its seeds, and fails where a class that its profile has never happened.

use super::Profile;
use super::elsewhere::{ELSEWHERE, Elsewhere};
use crate::kernel::{Account, Bound, Hits, Peak, Peaks};
use std::fmt;
use std::ops::AddAssign;

/// What kind of thing a class counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Crashes, recoveries, clocks.
    Processes,
    /// Disks that are slow, or fail.
    Disks,
    /// Disks that lost what they had reported durable, and who noticed.
    Memory,
    /// What becomes of single frames.
    Messages,
    /// Links that are cut.
    Links,
    /// What faults bring about in the protocol, and in the lives of clients.
    Consequences,
    /// Work that is done, faults or none.
    Work,
    /// What says how well a run could be judged.
    Judgement,
    /// Bounds that were hit, and what happened.
    Bounds,
}

impl Group {
    /// Whether runs of a profile must show every class of the group.
    pub fn is_due(self, profile: Profile) -> bool {
        match self {
            Self::Processes => profile.has_crashes(),
            Self::Disks | Self::Memory => profile.has_disks(),
            Self::Messages | Self::Links => profile.has_partitions(),
            Self::Consequences => profile != Profile::Calm,
            Self::Work => true,
            Self::Bounds => profile == Profile::All,
            // Nothing to wish for.
            Self::Judgement => false,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes",
            Self::Disks => "disks",
            Self::Memory => "lost memory",
            Self::Messages => "messages",
            Self::Links => "links",
            Self::Consequences => "consequences",
            Self::Work => "work",
            Self::Judgement => "judgement",
            Self::Bounds => "bounds hit",
        })
    }
}

/// A class, and how often it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// The group that it belongs to.
    pub group: Group,
    /// Its name.
    pub name: &'static str,
    /// How often it happened.
    pub count: u64,
}

macro_rules! coverage {
    ($($group:ident { $($(#[doc = $doc:literal])+ $name:ident: $label:literal,)+ })+) => {
        /// Counters of one run, or of many.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Coverage {
            $($($(#[doc = $doc])+ pub $name: u64,)+)+
            /// Bounds that processes hit.
            pub hits: Hits,
            /// The most that processes held in memory.
            pub peaks: Peaks,
        }

        impl Coverage {
            /// Every class with its count, group by group.
            pub fn classes(&self) -> impl Iterator<Item = Class> {
                let here = |b: &&Bound| ELSEWHERE.iter().all(|Elsewhere { bound, .. }| *bound != b.describe());
                let bounds = Bound::ALL.iter().filter(here).map(|bound| {
                    Class { group: Group::Bounds, name: bound.describe(), count: self.hits.of(*bound) }
                });
                [$($(Class { group: Group::$group, name: $label, count: self.$name }),+),+].into_iter().chain(bounds)
            }
        }

        impl AddAssign for Coverage {
            fn add_assign(&mut self, other: Self) {
                $($(self.$name += other.$name;)+)+
                self.hits += other.hits;
                self.peaks += other.peaks;
            }
        }
    };
}

coverage! {
    Processes {
        /// Processes that crashed, wherever they were.
        crashes: "crashes",
        /// Crashes inside a commit: before, in the middle of, or right after its write.
        crashes_in_write: "crashes inside a write",
        /// Crashes after a sync that nobody had been told of.
        crashes_after_sync: "crashes after an unreported sync",
        /// Crashes with something exposed and something not of the same commit.
        crashes_in_exposure: "crashes between two exposures",
        /// Crashes of a process that had just booted.
        crashes_at_boot: "crashes right after a boot",
        /// Third crashes in a row of a process that had just booted.
        crash_loops: "crash loops",
        /// All processes down at once.
        blackouts: "crashes of every process at once",
        /// Boots with something stored.
        recoveries: "recoveries",
        /// Boots of a process that led when it crashed.
        leader_recoveries: "recoveries of a leader",
        /// Frames delivered from a crashed incarnation.
        stale: "stale frames across incarnations",
        /// Phases in which clocks ran at different speeds.
        skewed_clocks: "phases of skewed clocks",
    }
    Disks {
        /// Commits that took longer than a silent process is trusted.
        slow_commits: "commits on a slow disk",
        /// Writes that failed.
        failed_writes: "failed writes",
        /// Syncs that failed.
        failed_syncs: "failed syncs",
        /// Commits that found the disk full.
        full_disks: "full disks",
        /// Batches of which a crash left a part.
        torn_batches: "torn batches",
        /// Rows that could not be read.
        failed_reads: "failed reads of rows",
    }
    Memory {
        /// Disks that lost everything.
        lost_disks: "disks lost",
        /// Disks that could not be read any more.
        damaged_disks: "disks with damaged bytes",
        /// Stores that were rolled back, behind their witness.
        rolled_back_stores: "stores rolled back",
        /// Directories that were rolled back, with their witness.
        rolled_back_directories: "directories rolled back",
        /// Directories that were put back as they were at an earlier moment, of the same life perhaps.
        put_back: "directories put back to an earlier moment",
        /// Those of them that knew of it in the end.
        noticed: "put back, and noticed",
        /// Processes that halted since their decided prefix was another one than a peer's.
        diverged: "halts over a hash of the decided prefix",
        /// Stores that were set aside at a boot.
        set_aside: "stores set aside at a boot",
        /// Replicas that knew in the end that they had lost their memory.
        learners: "learners in the end",
    }
    Messages {
        /// Frames delivered.
        delivered: "frames delivered",
        /// Frames lost on their way, or to a full window or a process that is down.
        dropped: "frames dropped",
        /// Frames that a process sent, and that did not leave it.
        send_omissions: "send omissions",
        /// Frames that reached a process, and that it did not receive.
        receive_omissions: "receive omissions",
        /// Frames delivered that stay in flight.
        duplicated: "frames duplicated",
        /// Frames delivered before older ones.
        reordered: "frames reordered",
        /// Frames held back for long before they arrived.
        late: "frames delayed for long",
        /// Frames damaged on their way.
        corrupted: "frames corrupted",
    }
    Links {
        /// Links cut.
        cuts: "links cut",
        /// Cuts between two sides.
        halves: "partitions in halves",
        /// Links cut in one direction only.
        one_way: "one-way partitions",
        /// Links left only between neighbours.
        chains: "chains",
        /// Links left only to a hub.
        stars: "stars",
        /// Links cut here and there.
        holes: "graphs with holes",
        /// Cuts of the same links, again and again.
        flaps: "flaps of links",
        /// Leaders whose larger frames are lost for ever.
        narrows: "leaders that only small frames leave",
    }
    Consequences {
        /// Changes of leader: ballots in which somebody led, after the first.
        leader_changes: "leader changes",
        /// Requests whose fate the client never learned.
        unknown: "requests of unknown fate",
        /// Requests of a session sent again to another process.
        retries: "session requests retried",
        /// Snapshots installed in place of a log.
        snapshots: "snapshots installed",
        /// Commands that were refused since space was short.
        refused_growth: "refusals of growth while space is short",
        /// Chunks of a promise's suffix, after the first.
        promise_chunks: "promises in chunks",
        /// Chunks of an `AcceptSync`, after the first.
        sync_chunks: "accept syncs in chunks",
        /// Gaps in delivery logs.
        gaps: "gaps in a delivery log",
        /// Subscribers that were told that they fell off.
        fell_off: "subscribers that fell off",
        /// Subscribers of total-order topics that were told that they fell off.
        receivers_fell_off: "subscribers in total order that fell off",
        /// Publications sent again by their publisher.
        republished: "publications sent again",
        /// Readers told that their cursor fell off.
        readers_fell_off: "readers that fell off",
        /// Values and messages that were refused for their size.
        too_large: "requests too large, refused",
    }
    Work {
        /// Entries decided.
        decided: "entries decided",
        /// Commands answered.
        replies: "commands answered",
        /// Transactions refused for what they would cost.
        refused_costs: "transactions over their budget",
        /// Linearizable reads answered.
        reads: "linearizable reads answered",
        /// Serializable reads answered.
        stale_reads: "serializable reads answered",
        /// Reads and writes of registers that returned.
        registers: "register operations",
        /// Messages published to topics, and confirmed.
        publications: "publications confirmed",
        /// Records of delivery logs that were told.
        deliveries: "topic deliveries",
        /// Deliveries to subscribers, the first and the others.
        redeliveries: "deliveries to a subscriber",
        /// Proposals answered by a decision.
        decisions: "proposals decided",
        /// Transactions that every participant voted for.
        commits: "transactions committed",
        /// Transactions aborted by a vote.
        vetoes: "transactions aborted by a vote",
        /// Transactions aborted since their time ran out.
        timeouts: "transactions aborted by a timeout",
        /// Publications to total-order topics.
        ordered: "publications in total order",
        /// Deliveries to subscribers of total-order topics, the first and the others.
        receipts: "deliveries to a subscriber in total order",
        /// States compared with their reload, by processes that were up in the end.
        reloads: "states compared with their reload",
        /// Log prefixes dropped.
        trims: "log trims",
        /// Steps taken.
        steps: "steps",
    }
    Judgement {
        /// Client histories that the checker could not decide within its limits.
        undecided: "client histories undecided",
    }
}

impl Coverage {
    /// The classes that runs of a profile must show, and that never happened.
    pub fn missing(&self, profile: Profile) -> Vec<&'static str> {
        let due = self.classes().filter(|class| class.group.is_due(profile));
        due.filter(|class| class.count == 0).map(|class| class.name).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for Class { group, name, count } in self.classes() {
            match last {
                None => writeln!(f, "{group}")?,
                Some(before) if before != group => writeln!(f, "\n{group}")?,
                Some(_) => writeln!(f)?,
            }
            write!(f, "{count:>14}  {name}")?;
            last = Some(group);
        }
        write!(f, "\nbounds that tests reach")?;
        for Elsewhere { bound, test: (file, test) } in ELSEWHERE {
            write!(f, "\n                {bound} ({file}: {test})")?;
        }
        write!(f, "\nmost bytes held, and how much of what may be held")?;
        for account in Account::ALL {
            let Peak { bytes, percent } = self.peaks.of(*account);
            write!(f, "\n{bytes:>14}  {} ({percent} %)", account.describe())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_never_happened_is_missing_where_its_profile_has_it() {
        let mut coverage = Coverage::default();
        let work = coverage.classes().filter(|class| class.group == Group::Work).count();
        assert_eq!(coverage.missing(Profile::Calm).len(), work);
        assert!(coverage.missing(Profile::Crashes).contains(&"crash loops"));
        assert!(!coverage.missing(Profile::Crashes).contains(&"torn batches"));
        assert!(coverage.missing(Profile::All).contains(&"torn batches"));
        coverage.torn_batches = 1;
        assert!(!coverage.missing(Profile::All).contains(&"torn batches"));
    }

    #[test]
    fn classes_are_printed_in_groups() {
        let text = Coverage { crashes: 3, ..Coverage::default() }.to_string();
        assert!(text.starts_with("processes\n             3  crashes\n"), "{text}");
        assert!(text.contains("\nlost memory\n"), "{text}");
    }
}
