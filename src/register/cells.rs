//! A process' replicas of the registers, in stable storage.

use crate::kernel::{Bounds, ProcessId, Stored, Turn, Undecodable};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// When a value was written: ordered by number, and by writer where two chose the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tag {
    /// One more than the highest that the writer found.
    pub number: u64,
    /// Who wrote.
    pub writer: ProcessId,
}

impl Tag {
    /// The lowest tag of a writer above this one.
    pub fn next(self, writer: ProcessId) -> Self {
        Self { number: self.number + 1, writer }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.number, self.writer)
    }
}

/// What a register holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// When it was written.
    pub tag: Tag,
    /// The value.
    pub value: Bytes,
}

/// What stands before a register's name in stable storage.
const PREFIX: &str = "register/";

/// The cells of one process.
///
/// Bounds: `bounds.registers` cells of `bounds.register_bytes` each, and beyond them no more than
/// the operations that were under way when the last place was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cells {
    cells: BTreeMap<String, Cell>,
    bound: usize,
}

impl Cells {
    pub(super) fn recover(bounds: &Bounds, stored: &Stored) -> Result<Self, Undecodable> {
        let mut cells = BTreeMap::new();
        for (var, bytes) in &stored.vars {
            let Some(name) = var.strip_prefix(PREFIX) else { continue };
            let cell = postcard::from_bytes(bytes).map_err(|_| Undecodable(var.to_string()))?;
            cells.insert(name.to_owned(), cell);
        }
        Ok(Self { cells, bound: bounds.registers })
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.iter().map(|(name, cell)| name.len() + cell.value.len()).sum()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Cell> {
        self.cells.get(name)
    }

    /// Whether a register of this name would be one too many.
    pub(super) fn is_full_for(&self, name: &str) -> bool {
        self.cells.len() >= self.bound && !self.cells.contains_key(name)
    }

    /// Takes a cell, unless a newer one is there.
    pub(super) fn take(&mut self, name: &str, cell: Cell, turn: &mut Turn) {
        if self.get(name).is_some_and(|held| held.tag >= cell.tag) {
            return;
        }
        let bytes = postcard::to_allocvec(&cell).expect("cells are plain data, which always encodes");
        turn.put_var(format!("{PREFIX}{name}"), bytes.into());
        self.cells.insert(name.to_owned(), cell);
    }
}
