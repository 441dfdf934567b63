//! A process' replicas of the registers, in stable storage.

use super::MAX_NAME;
use crate::kernel::{Config, MAX_COUNT, ProcessId, Stored, Turn, Undecodable};
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
    /// The lowest tag of a writer above this one; none at the end of all numbers.
    pub fn next(self, writer: ProcessId) -> Option<Self> {
        let number = self.number.checked_add(1).filter(|number| *number <= MAX_COUNT)?;
        Some(Self { number, writer })
    }
}

/// How far the number of a tag may lie above that of the cell held here: more writes than any register
/// sees while a replica is away. One that leaps further would leave no numbers to write with.
const LEAP: u64 = 1 << 48;

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
    /// The most operations that are under way anywhere.
    under_way: usize,
    /// Bytes of a value.
    bytes: usize,
    processes: usize,
}

impl Cells {
    pub(super) fn recover(config: &Config, stored: &Stored) -> Result<Self, Undecodable> {
        let (bounds, processes) = (&config.bounds, config.processes);
        let mut cells = BTreeMap::new();
        for (var, bytes) in &stored.vars {
            let Some(name) = var.strip_prefix(PREFIX) else { continue };
            let cell = postcard::from_bytes(bytes).map_err(|_| Undecodable(var.to_string()))?;
            cells.insert(name.to_owned(), cell);
        }
        let under_way = bounds.requests.saturating_mul(processes);
        Ok(Self { cells, bound: bounds.registers, under_way, bytes: bounds.register_bytes, processes })
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

    /// Whether a peer may hold such a cell.
    pub(super) fn believes(&self, name: &str, cell: &Cell) -> bool {
        let held = self.get(name).map_or(0, |held| held.tag.number);
        cell.tag.number <= held.saturating_add(LEAP).min(MAX_COUNT)
            && cell.tag.writer.index() < self.processes
            && cell.value.len() <= self.bytes
    }

    /// Whether a cell of this name may be taken. Beside those that are asked for first there may be those
    /// of operations that were under way when the last place was taken.
    pub(super) fn has_room_for(&self, name: &str) -> bool {
        (1..=MAX_NAME).contains(&name.len())
            && (self.cells.contains_key(name) || self.cells.len() < self.bound + self.under_way)
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
