//! What processes hold in memory, by their own account, and how near they come to the most.

use crate::kernel::{Memory, Peaks};

/// Looks at what a process holds.
pub(in crate::sim) fn weigh(held: impl IntoIterator<Item = Memory>, peaks: &mut Peaks) {
    held.into_iter().for_each(|memory| peaks.see(memory));
}
