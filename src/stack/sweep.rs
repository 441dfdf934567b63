//! Clearing away rows that nothing refers to: those of a state that a snapshot has replaced, and those
//! of a snapshot that was given up.
//!
//! A sweep deletes so many rows at most, and does not say how many there were. So every few sweeps
//! the sweeper looks whether a generation still has any, and goes on until it finds none:
//!
//! ```text
//! replaced: generation 3, a million rows ─ 8 sweeps ─ look: there are rows ─ 8 sweeps ─ … ─ none
//! ```
//!
//! Were it to end after a number of sweeps, what is left would stay until the next boot, and each
//! snapshot would leave more.

use crate::kernel::{RowKey, Ticks};
use std::collections::BTreeSet;

/// The ticket of a look; those of snapshots count from 1.
pub const TICKET: u64 = 0;
/// Ticks until an answer is given up, and the next look.
const PATIENCE: Ticks = 100;

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing is left.
    Nothing,
    /// The answer to a look is on its way.
    Wait,
    /// Delete rows of other generations, up to a bound.
    Sweep,
    /// Look whether there is a row from here on, of its generation; the answer goes to
    /// [`Sweeper::upon_rows`].
    Look(RowKey),
}

/// Clears rows away, some at a time.
#[derive(Debug)]
pub struct Sweeper {
    /// Between two looks.
    sweeps: u32,
    /// The generations that may have rows and should have none.
    gone: BTreeSet<u32>,
    /// Sweeps until the next look.
    left: u32,
    /// The generation that is looked at, and ticks that this may still take.
    look: Option<(u32, Ticks)>,
}

impl Sweeper {
    /// Has nothing to do yet.
    pub fn start(sweeps: u32) -> Self {
        Self { sweeps, gone: BTreeSet::new(), left: 0, look: None }
    }

    /// Nothing refers to the rows of a generation any more.
    pub fn add(&mut self, generation: u32) {
        self.gone.insert(generation);
        self.left = self.sweeps;
    }

    /// What to do at this tick.
    pub fn next(&mut self) -> Next {
        let Some(generation) = self.gone.first() else { return Next::Nothing };
        if self.left > 0 {
            self.left -= 1;
            return Next::Sweep;
        }
        if let Some((_, patience)) = self.look.as_mut().filter(|(_, patience)| *patience > 0) {
            *patience -= 1;
            return Next::Wait;
        }
        self.look = Some((*generation, PATIENCE));
        Next::Look(RowKey { generation: *generation, main: 0, sub: 0 })
    }

    /// What the look has found; nothing where the disk could not be read: then the next look comes
    /// later. Whether there is more to sweep.
    pub fn upon_rows(&mut self, found: Option<&[(RowKey, bytes::Bytes)]>) -> bool {
        let Some(found) = found else { return false };
        let Some((generation, _)) = self.look.take() else { return false };
        if found.is_empty() {
            self.gone.remove(&generation);
        } else {
            self.left = self.sweeps;
        }
        !found.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Sweeps a disk with so many rows of each generation, beside those of generation 9, until there
    /// is nothing left to do: how many looks that takes.
    fn sweep(mut rows: Vec<(u32, u64)>, sweeper: &mut Sweeper) -> (Vec<(u32, u64)>, u32) {
        let mut looks = 0;
        for _ in 0..10_000 {
            match sweeper.next() {
                Next::Nothing => break,
                Next::Wait => {}
                Next::Sweep => {
                    let mut left = 1024;
                    for (_, n) in rows.iter_mut().filter(|(generation, _)| *generation != 9) {
                        let some = left.min(*n);
                        (*n, left) = (*n - some, left - some);
                    }
                }
                Next::Look(from) => {
                    looks += 1;
                    let has = rows.iter().any(|(generation, n)| *generation == from.generation && *n > 0);
                    let found = has.then(|| (from, Bytes::new()));
                    sweeper.upon_rows(Some(found.as_slice()));
                }
            }
        }
        (rows, looks)
    }

    #[test]
    fn a_large_generation_goes_to_its_last_row() {
        let mut sweeper = Sweeper::start(8);
        sweeper.add(3);
        sweeper.add(4);
        let rows = vec![(3, 300_000), (4, 70_000), (9, 5)];
        let (left, looks) = sweep(rows, &mut sweeper);
        assert_eq!(left, [(3, 0), (4, 0), (9, 5)]);
        assert!((2..=60).contains(&looks), "{looks} looks");
        assert_eq!(sweeper.next(), Next::Nothing);
    }

    #[test]
    fn an_answer_that_does_not_come_or_says_nothing_is_asked_for_again() {
        let mut sweeper = Sweeper::start(8);
        sweeper.add(3);
        let until_look = |sweeper: &mut Sweeper| {
            (0..1000).find(|_| matches!(sweeper.next(), Next::Look(_))).expect("it looks")
        };
        until_look(&mut sweeper);
        assert_eq!(sweeper.next(), Next::Wait);
        sweeper.upon_rows(None);
        until_look(&mut sweeper);
        until_look(&mut sweeper);
        sweeper.upon_rows(Some(&[]));
        assert_eq!(sweeper.next(), Next::Nothing);
    }
}
