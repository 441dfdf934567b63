//! Boot: the ledger as a finished checkpoint has it.

use super::checkpoint::{Garbage, Saved};
use super::machine::Ledger;
use super::meta::Meta;
use super::record::{Key, Row, digest};
use super::view::View;
use crate::kernel::RowKey;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Builds a ledger from the rows and the metadata of a checkpoint, the replica's own or one received
/// from a peer. Give it every row of the generation, in order, then finish.
#[derive(Debug, Default)]
pub struct Loader {
    meta: Option<Meta>,
    found: BTreeMap<Key, (Saved, Bytes)>,
    garbage: VecDeque<Garbage>,
    leftover: Vec<RowKey>,
}

impl Loader {
    /// For a checkpoint with this metadata; nothing where that cannot be read.
    pub fn new(meta: &Bytes) -> Option<Self> {
        Some(Self { meta: Some(Meta::decode(meta)?), ..Self::default() })
    }

    /// Takes a row; false where it cannot be one of the checkpoint's.
    pub fn row(&mut self, at: RowKey, value: &Bytes) -> bool {
        if self.meta.is_none_or(|meta| at.main >= meta.next) {
            self.leftover.push(at);
            return true;
        }
        let Some(Row { key, content }) = Row::decode(value) else { return false };
        let saved = Saved { row: at.main, digest: digest(value) };
        let (before, gone) = match content {
            Some(content) => (self.found.insert(key, (saved, content)), None),
            None => (self.found.remove(&key), Some(at.main)),
        };
        match before {
            Some((before, _)) => self.garbage.push_back(Garbage { row: before.row, gone }),
            None => self.garbage.extend(gone.map(|row| Garbage { row, gone: None })),
        }
        true
    }

    /// The ledger; nothing where the rows are not those that the checkpoint was made of.
    pub fn finish(self) -> Option<Ledger> {
        let Self { meta, found, garbage, leftover } = self;
        let Some(meta) = meta else { return Some(Ledger { leftover, ..Ledger::default() }) };
        let sum = found.values().fold(0, |sum: u64, (saved, _)| sum.wrapping_add(saved.digest));
        if sum != meta.digest {
            return None;
        }
        let mut now = View { bounds: meta.bounds, end: meta.applied, ..View::default() };
        let mut rows = BTreeMap::new();
        for (key, (saved, content)) in found {
            rows.insert(key.clone(), saved);
            if !now.restore(key, content) {
                return None;
            }
        }
        Some(Ledger {
            saved: now.clone(),
            digested: now.clone(),
            sum: meta.digest,
            now,
            rows,
            digest: meta.digest,
            next: meta.next,
            generation: meta.generation,
            garbage,
            leftover,
            ..Ledger::default()
        })
    }
}
