//! What a store should hold: every batch applied to plain maps.

use crate::kernel::{Batch, LogId, RowKey, Store, Stored};
use bytes::Bytes;
use std::collections::BTreeMap;

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Image {
    stored: Stored,
    rows: BTreeMap<RowKey, Bytes>,
}

impl Image {
    pub fn apply(&mut self, batch: &Batch) {
        for store in batch.stores() {
            match store.clone() {
                Store::Put { var, value } => drop(self.stored.vars.insert(var, value)),
                Store::Remove { var } => drop(self.stored.vars.remove(&var)),
                Store::Append { log, first, entries } => {
                    let stored = self.stored.logs.entry(log).or_default();
                    assert_eq!(stored.first + stored.entries.len() as u64, first);
                    stored.entries.extend(entries);
                }
                Store::TruncateSuffix { log, len } => {
                    let stored = self.stored.logs.entry(log).or_default();
                    stored.entries.truncate((len - stored.first) as usize);
                }
                Store::TruncatePrefix { log, before } => {
                    let stored = self.stored.logs.entry(log).or_default();
                    stored.entries.drain(..before.saturating_sub(stored.first) as usize);
                    stored.first = stored.first.max(before);
                }
                Store::Reset { log, first } => {
                    let stored = self.stored.logs.entry(log).or_default();
                    stored.entries.clear();
                    stored.first = first;
                }
                Store::PutRow { key, value } => drop(self.rows.insert(key, value)),
                Store::DeleteRow { key } => drop(self.rows.remove(&key)),
                Store::DropOtherGenerations { keep, limit } => {
                    let gone = self.rows.keys().filter(|key| key.generation != keep).take(limit as usize);
                    for key in gone.copied().collect::<Vec<_>>() {
                        self.rows.remove(&key);
                    }
                }
            }
        }
    }

    pub fn stored(&self) -> Stored {
        let rows = self.rows.iter().map(|(key, value)| (*key, value.clone())).collect();
        normal(Stored { rows, ..self.stored.clone() })
    }

    /// The bounds of a log: the index of the first entry, and the one after the last.
    pub fn bounds(&self, log: LogId) -> (u64, u64) {
        self.stored.logs.get(&log).map_or((0, 0), |log| (log.first, log.first + log.entries.len() as u64))
    }

    pub fn rows(&self) -> &BTreeMap<RowKey, Bytes> {
        &self.rows
    }
}

/// A log without entries that starts at 0 is as good as none; commits the disk counts by itself.
pub fn normal(mut stored: Stored) -> Stored {
    stored.commits = 0;
    stored.logs.retain(|_, log| log.first > 0 || !log.entries.is_empty());
    stored
}

/// A random batch that fits what is stored.
pub fn random_batch(rng: &mut fastrand::Rng, image: &Image) -> Batch {
    let mut after = image.clone();
    let mut stores = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let store = random_store(rng, &after);
        after.apply(&Batch::of(vec![store.clone()], false));
        stores.push(store);
    }
    Batch::of(stores, rng.u8(..10) == 0)
}

fn random_store(rng: &mut fastrand::Rng, image: &Image) -> Store {
    let log = LogId(rng.u8(..2));
    let (first, next) = image.bounds(log);
    let var = format!("test/{}", rng.u8(..6)).into();
    let row = RowKey { generation: rng.u32(..3), main: rng.u64(..40), sub: rng.u32(..3) };
    match rng.u8(..20) {
        0..4 => Store::Put { var, value: random_bytes(rng) },
        4 => Store::Remove { var },
        5..11 => {
            let entries = (0..rng.usize(..20)).map(|_| random_bytes(rng)).collect();
            Store::Append { log, first: next, entries }
        }
        11 => Store::TruncateSuffix { log, len: rng.u64(first..=next) },
        12 => Store::TruncatePrefix { log, before: rng.u64(first..=next) },
        13 if rng.bool() => Store::Reset { log, first: rng.u64(..next + 30) },
        13..18 => Store::PutRow { key: row, value: random_bytes(rng) },
        18 => Store::DeleteRow { key: row },
        _ => Store::DropOtherGenerations { keep: rng.u32(..3), limit: rng.u32(..10) },
    }
}

fn random_bytes(rng: &mut fastrand::Rng) -> Bytes {
    let len = match rng.u8(..30) {
        0 => rng.usize(4000..20_000),
        1..6 => rng.usize(..2000),
        _ => rng.usize(..100),
    };
    (0..len).map(|_| rng.u8(..)).collect()
}
