//! The simulated disk.
//!
//! # Fault model
//!
//! * A batch is atomic: after a crash all of its stores are there, or none, whatever instant of the
//!   commit the crash hit.
//! * A crash may come before the write, in its middle (the torn batch is found and dropped at the
//!   next boot), between the write and the end of the sync (the batch may have survived), and after
//!   the sync, before anyone was told.
//! * A write or a sync may fail, or find the disk full. The replica halts; what was being written
//!   may have survived.
//! * What was reported durable stays, but for the disks of a minority, of which each may once, while
//!   its process is down, be *lost* (the directory is empty), be *damaged*, or be *rolled back*: a
//!   copy is put back, of the store alone or of the directory with its witness. A sync that lies is a
//!   mutant.
//! * As in production, a witness knows how far the store has got: up to the last commit with a vote,
//!   at least; behind plain commits it lags by one. A store that is damaged, or behind its witness, is
//!   set aside, and what takes its place is empty and known to be a learner's. Two things are not
//!   noticed so, and nobody promises more: damage to the plain commits that the witness lags behind,
//!   which looks like a torn tail; and a directory that is rolled back as a whole, which peers notice
//!   that have recorded a later boot, or seen a later commit.
//! * Rows are read from what the operating system sees, and reads do not fail here: the world
//!   answers a fetch with an error instead.

use super::facts::Facts;
use super::image::Image;
use crate::kernel::{
    Batch, Disk, DiskError, Incarnation, LogId, ProcessId, Row, RowKey, Rows, Stored, StoredLog,
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::fmt;

/// What befalls the next commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The process crashes before anything is written.
    CrashBefore,
    /// The process crashes in the middle of the write: the batch is torn, and so it is lost.
    CrashTorn,
    /// The process crashes between the write and the end of its sync.
    CrashWritten { survives: bool },
    /// The write fails: nothing is stored.
    FailedWrite,
    /// The sync fails: nobody knows what was stored.
    FailedSync { survives: bool },
    /// The disk is full.
    Full,
    /// The sync reports success and does nothing.
    Lie,
}

/// How a disk loses what it had reported durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// All of it; whoever starts over draws a new disk id.
    Lost,
    /// Bytes of it are changed, and what they belong to cannot be read.
    Damaged,
    /// The copy that was made of it is put back.
    RolledBack(Part),
}

/// What is put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The store, beside the witness of today.
    Store,
    /// The directory, with the witness in it, as it was in an earlier life.
    Directory,
    /// The directory, as it was at an earlier moment, of the same life perhaps.
    Moment,
}

/// A copy of a data directory.
#[derive(Clone)]
struct Backup {
    image: Image,
    commits: u64,
    witness: u64,
}

/// A disk in memory: the image that the operating system shows, and, only while a lying sync keeps
/// them apart, the image that would survive a crash.
#[derive(Clone, Default)]
pub(super) struct SimDisk {
    image: Image,
    survivor: Option<Box<Image>>,
    /// The number of the last commit that would survive a crash.
    commits: u64,
    /// The number of the last commit that the witness knows.
    witness: u64,
    copy: Option<Box<Backup>>,
    damaged: bool,
    fault: Option<Fault>,
    failed: bool,
}

/// What it holds and what befalls it. How many commits that took tells no two executions apart.
impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (&self.image, &self.survivor, self.fault, self.failed).fmt(f)
    }
}

impl SimDisk {
    /// Decides what befalls the next commit.
    pub(super) fn arm(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// The process crashed: what had not reached the disk is gone.
    pub(super) fn crash(&mut self) {
        if let Some(survivor) = self.survivor.take() {
            self.image = *survivor;
        }
        self.fault = None;
        self.failed = false;
    }

    /// Makes a copy of the directory as it would survive a crash now.
    pub(super) fn make_copy(&mut self) {
        let image = self.survivor.as_deref().unwrap_or(&self.image).clone();
        self.copy = Some(Box::new(Backup { image, commits: self.commits, witness: self.witness }));
    }

    /// What the copy holds, as far as the protocol speaks of it.
    pub(super) fn copied(&self) -> Option<&Facts> {
        self.copy.as_deref().map(|copy| &copy.image.facts)
    }

    /// The last commit in the copy.
    pub(super) fn copied_commits(&self) -> Option<u64> {
        self.copy.as_deref().map(|copy| copy.commits)
    }

    /// Whether the store would be behind its witness if the copy were put back.
    pub(super) fn copy_is_behind(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.commits < self.witness)
    }

    /// The incarnation in which another process was seen last, by what would survive a crash now.
    pub(super) fn recorded(&self, of: ProcessId) -> Incarnation {
        let boots: Option<Vec<(Incarnation, u64)>> = self.decoded("members/recorded");
        boots.and_then(|boots| boots.get(of.index()).map(|(inc, _)| *inc)).unwrap_or(0)
    }

    /// The highest commit mark of another process, by what would survive a crash now.
    pub(super) fn marked(&self, of: ProcessId) -> u64 {
        let marks: Option<Vec<u64>> = self.decoded("members/marks");
        marks.and_then(|marks| marks.get(of.index()).copied()).unwrap_or(0)
    }

    /// Loses what was durable.
    pub(super) fn lose(&mut self, loss: Loss) {
        match loss {
            Loss::Lost => *self = Self::default(),
            Loss::Damaged => self.damaged = true,
            Loss::RolledBack(part) => {
                let Some(copy) = self.copy.take() else { return };
                self.image = copy.image;
                self.commits = copy.commits;
                if part != Part::Store {
                    self.witness = copy.witness;
                }
            }
        }
    }

    /// Whether the store can be read, and is not behind its witness.
    pub(super) fn is_sound(&self) -> bool {
        !self.damaged && self.commits >= self.witness
    }

    /// What a process finds when it recovers.
    pub(super) fn stored(&self) -> Stored {
        let logs = self.image.logs.iter().map(|(id, log)| {
            (*id, StoredLog { first: log.first, entries: log.entries.iter().cloned().collect() })
        });
        Stored {
            vars: self.image.vars.clone(),
            logs: logs.collect(),
            rows: self.image.rows.iter().map(|(k, v)| (*k, v.clone())).collect(),
            commits: self.commits,
        }
    }

    /// The number of the last commit that would survive a crash now.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// What would survive a crash now, as far as the protocol speaks of it.
    pub(super) fn facts(&self) -> &Facts {
        &self.survivor.as_deref().unwrap_or(&self.image).facts
    }

    /// The first entry of a log that would survive a crash now, and one past the last.
    pub(super) fn extent(&self, id: LogId) -> (u64, u64) {
        let log = self.survivor.as_deref().unwrap_or(&self.image).logs.get(&id);
        log.map_or((0, 0), |log| (log.first, log.len()))
    }

    /// A variable that would survive a crash now.
    pub(super) fn decoded<T: DeserializeOwned>(&self, var: &str) -> Option<T> {
        let image = self.survivor.as_deref().unwrap_or(&self.image);
        image.vars.get(var).and_then(|bytes| postcard::from_bytes(bytes).ok())
    }

    /// Every entry that would survive a crash now, from the first kept one on.
    pub(super) fn log(&self, id: LogId) -> impl Iterator<Item = (u64, &Bytes)> {
        let log = self.survivor.as_deref().unwrap_or(&self.image).logs.get(&id);
        log.into_iter().flat_map(|l| (l.first..).zip(&l.entries))
    }

    /// One of those entries.
    pub(super) fn entry(&self, id: LogId, index: u64) -> Option<&Bytes> {
        let log = self.survivor.as_deref().unwrap_or(&self.image).logs.get(&id)?;
        log.entries.get(index.checked_sub(log.first)? as usize)
    }
}

impl Disk for SimDisk {
    fn commit(&mut self, batch: &Batch) -> Result<(), DiskError> {
        assert!(!self.failed, "nothing may be committed after a failure");
        let (survives, error) = match self.fault.take() {
            None => (true, None),
            Some(Fault::CrashBefore | Fault::CrashTorn) => (false, Some(DiskError::Crashed)),
            Some(Fault::CrashWritten { survives }) => (survives, Some(DiskError::Crashed)),
            Some(Fault::FailedWrite) => {
                (false, Some(DiskError::Failed("the write failed, as the adversary chose".into())))
            }
            Some(Fault::FailedSync { survives }) => {
                (survives, Some(DiskError::Failed("the sync failed, as the adversary chose".into())))
            }
            Some(Fault::Full) => (false, Some(DiskError::Full("as the adversary chose".into()))),
            Some(Fault::Lie) => {
                self.survivor.get_or_insert_with(|| Box::new(self.image.clone()));
                self.image.apply(batch);
                return Ok(());
            }
        };
        if survives {
            self.image.apply(batch);
            self.commits += 1;
            self.survivor = None;
        }
        match error {
            None => {
                self.witness = self.commits - u64::from(!batch.is_vote());
                Ok(())
            }
            Some(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }
}

impl Rows for SimDisk {
    fn row(&self, key: RowKey) -> Result<Option<Bytes>, DiskError> {
        Ok(self.image.rows.get(&key).cloned())
    }

    fn scan(&self, from: RowKey, end: u64, max_bytes: usize) -> Result<Vec<Row>, DiskError> {
        let end = RowKey { generation: from.generation, main: end, sub: 0 };
        let (mut rows, mut size) = (Vec::new(), 0);
        if from >= end {
            return Ok(rows);
        }
        for (key, value) in self.image.rows.range(from..end) {
            size += value.len();
            if size > max_bytes && !rows.is_empty() {
                break;
            }
            rows.push((*key, value.clone()));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Store;

    fn append(first: u64, entries: &[&'static str]) -> Batch {
        let entries = entries.iter().map(|e| Bytes::from_static(e.as_bytes())).collect();
        Batch::of(vec![Store::Append { log: LogId::REPLICATED, first, entries }], false)
    }

    fn log(disk: &SimDisk) -> Vec<&str> {
        disk.log(LogId::REPLICATED).map(|(_, e)| std::str::from_utf8(e).unwrap()).collect()
    }

    #[test]
    fn what_was_reported_durable_survives_a_crash() {
        let mut disk = SimDisk::default();
        disk.commit(&append(0, &["a", "b"])).unwrap();
        disk.crash();
        assert_eq!(log(&disk), ["a", "b"]);
        assert_eq!(disk.stored().logs[&LogId::REPLICATED].entries.len(), 2);
    }

    #[test]
    fn a_batch_survives_a_crash_whole_or_not_at_all() {
        let faults = [
            (Fault::CrashBefore, 0),
            (Fault::CrashTorn, 0),
            (Fault::CrashWritten { survives: false }, 0),
            (Fault::CrashWritten { survives: true }, 2),
            (Fault::FailedWrite, 0),
            (Fault::FailedSync { survives: false }, 0),
            (Fault::FailedSync { survives: true }, 2),
            (Fault::Full, 0),
        ];
        for (fault, kept) in faults {
            let mut disk = SimDisk::default();
            disk.arm(fault);
            assert!(disk.commit(&append(0, &["a", "b"])).is_err(), "{fault:?}");
            disk.crash();
            assert_eq!(log(&disk).len(), kept, "{fault:?}");
        }
    }

    #[test]
    fn a_lie_lasts_until_the_next_honest_sync() {
        let mut disk = SimDisk::default();
        disk.commit(&append(0, &["a"])).unwrap();
        disk.arm(Fault::Lie);
        disk.commit(&append(1, &["b"])).unwrap();
        assert_eq!((log(&disk), disk.facts().len), (vec!["a"], 1));
        disk.commit(&append(2, &["c"])).unwrap();
        assert_eq!((log(&disk), disk.facts().len), (vec!["a", "b", "c"], 3));
        disk.arm(Fault::Lie);
        disk.commit(&append(3, &["d"])).unwrap();
        disk.crash();
        assert_eq!(log(&disk), ["a", "b", "c"]);
    }

    fn vote(inc: u64) -> Batch {
        let value = Bytes::from(vec![inc as u8]);
        Batch::of(vec![Store::Put { var: "log/inc".into(), value }], true)
    }

    #[test]
    fn a_store_behind_its_witness_is_not_sound() {
        let rolled_back = |part| {
            let mut disk = SimDisk::default();
            disk.commit(&vote(1)).unwrap();
            disk.make_copy();
            disk.commit(&append(0, &["a"])).unwrap();
            disk.commit(&vote(2)).unwrap();
            assert!(disk.is_sound());
            disk.lose(Loss::RolledBack(part));
            assert_eq!((log(&disk).len(), disk.facts().inc), (0, 1));
            disk
        };
        assert!(!rolled_back(Part::Store).is_sound());
        assert!(rolled_back(Part::Directory).is_sound(), "nothing in the directory tells");
    }

    #[test]
    fn the_witness_lags_behind_a_plain_commit_and_never_behind_a_vote() {
        let mut disk = SimDisk::default();
        for (batch, witness) in [(vote(1), 1), (append(0, &["a"]), 1), (append(1, &["b"]), 2), (vote(2), 4)] {
            disk.commit(&batch).unwrap();
            assert_eq!(disk.witness, witness);
        }
        disk.arm(Fault::FailedSync { survives: true });
        disk.commit(&vote(3)).unwrap_err();
        disk.crash();
        assert_eq!((disk.witness, disk.commits, disk.is_sound()), (4, 5, true));
    }

    #[test]
    fn rows_are_scanned_within_a_generation_and_a_bound() {
        let key = |generation, main| RowKey { generation, main, sub: 0 };
        let rows = [key(1, 1), key(1, 2), key(1, 3), key(2, 1)];
        let puts = rows.map(|key| Store::PutRow { key, value: Bytes::from_static(b"xx") });
        let mut disk = SimDisk::default();
        disk.commit(&Batch::of(puts.into(), false)).unwrap();
        let keys = |end, max| disk.scan(key(1, 1), end, max).unwrap().into_iter().map(|r| r.0);
        assert!(keys(9, 100).eq(rows[..3].iter().copied()));
        assert!(keys(3, 100).eq(rows[..2].iter().copied()));
        assert!(keys(9, 1).eq(rows[..1].iter().copied()));
        assert_eq!(disk.row(key(2, 1)).unwrap().as_deref(), Some(&b"xx"[..]));
        disk.commit(&Batch::of(vec![Store::DropOtherGenerations { keep: 2, limit: 2 }], false)).unwrap();
        assert_eq!(disk.stored().rows.len(), 2);
    }
}
