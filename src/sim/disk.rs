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
//! * What was reported durable stays. A disk that loses it (wiped, rolled back) is a scenario of its
//!   own, and a sync that lies is a mutant.
//! * Rows are read from what the operating system sees, and reads do not fail here: the world
//!   answers a fetch with an error instead.

use super::facts::Facts;
use crate::kernel::{Batch, Disk, DiskError, LogId, Row, RowKey, Rows, Store, Stored, StoredLog, Var};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// What befalls the next commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The process crashes before anything is written.
    CrashBefore,
    /// The process crashes in the middle of the write: the batch is torn, and so it is lost.
    CrashTorn,
    /// The process crashes between the write and the end of its sync.
    CrashWritten { survives: bool },
    /// The sync fails: nobody knows what was stored.
    FailedSync { survives: bool },
    /// The disk is full.
    Full,
    /// The sync reports success and does nothing.
    Lie,
}

#[derive(Clone, Default, Debug)]
struct Log {
    first: u64,
    entries: VecDeque<Bytes>,
}

impl Log {
    fn len(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

#[derive(Clone, Default, Debug)]
struct Image {
    vars: BTreeMap<Var, Bytes>,
    logs: BTreeMap<LogId, Log>,
    rows: BTreeMap<RowKey, Bytes>,
    facts: Facts,
}

impl Image {
    fn apply(&mut self, batch: &Batch) {
        for store in batch.stores() {
            match store {
                Store::Put { var, value } => {
                    self.vars.insert(var.clone(), value.clone());
                }
                Store::Remove { var } => {
                    self.vars.remove(var);
                }
                Store::Append { log, first, entries } => {
                    let log = self.logs.entry(*log).or_default();
                    assert_eq!(log.len(), *first, "an append must continue the log");
                    log.entries.extend(entries.iter().cloned());
                }
                Store::TruncateSuffix { log, len } => {
                    let log = self.logs.entry(*log).or_default();
                    assert!(*len >= log.first, "a log that starts at {} is cut to {len}", log.first);
                    log.entries.truncate((len - log.first) as usize);
                }
                Store::TruncatePrefix { log, before } => {
                    let log = self.logs.entry(*log).or_default();
                    assert!(*before <= log.len(), "a log of length {} is trimmed to {before}", log.len());
                    log.entries.drain(..before.saturating_sub(log.first) as usize);
                    log.first = log.first.max(*before);
                }
                Store::Reset { log, first } => {
                    self.logs.insert(*log, Log { first: *first, entries: VecDeque::new() });
                }
                Store::PutRow { key, value } => {
                    self.rows.insert(*key, value.clone());
                }
                Store::DeleteRow { key } => {
                    self.rows.remove(key);
                }
                Store::DropOtherGenerations { keep, limit } => {
                    let others = self.rows.keys().filter(|k| k.generation != *keep);
                    let others: Vec<RowKey> = others.take(*limit as usize).copied().collect();
                    others.iter().for_each(|k| {
                        self.rows.remove(k);
                    });
                }
            }
        }
        self.facts.apply(batch);
    }
}

/// A disk in memory: the image that the operating system shows, and, only while a lying sync keeps
/// them apart, the image that would survive a crash.
#[derive(Clone, Default, Debug)]
pub(super) struct SimDisk {
    image: Image,
    survivor: Option<Box<Image>>,
    fault: Option<Fault>,
    failed: bool,
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

    /// What a process finds when it recovers.
    pub(super) fn stored(&self) -> Stored {
        let logs = self.image.logs.iter().map(|(id, log)| {
            (*id, StoredLog { first: log.first, entries: log.entries.iter().cloned().collect() })
        });
        Stored {
            vars: self.image.vars.clone(),
            logs: logs.collect(),
            rows: self.image.rows.iter().map(|(k, v)| (*k, v.clone())).collect(),
        }
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
            self.survivor = None;
        }
        match error {
            None => Ok(()),
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
