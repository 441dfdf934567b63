//! Bounded memory: each module holds no more than its bounds allow, by an account of its own.

use super::{Property, Verdict, ensure};
use crate::kernel::{Account, Memory, Peaks, ProcessId};
use crate::sim::process::Alive;

/// Steps between two looks.
pub(in crate::sim) const EVERY: u64 = 16;
/// What a process may store and say in one turn, for what it hears.
const ANSWERS: usize = 8;

/// Looks at what a process holds, to which so many bytes may arrive at a time.
pub(in crate::sim) fn weigh(p: ProcessId, alive: &Alive, arrives: usize, peaks: &mut Peaks) -> Verdict {
    let held = alive.stack.memory();
    // At its boot a process tells all that its delivery log holds.
    let told = held.iter().filter(|memory| memory.of == Account::Deliveries).map(|memory| memory.bytes);
    let waits = alive.journal.memory(ANSWERS * arrives + told.sum::<usize>());
    for memory in held.into_iter().chain(waits) {
        peaks.see(memory);
        let Memory { of, bytes, most } = memory;
        ensure(bytes <= most, Property::BoundedMemory, || {
            format!("{p} holds {bytes} bytes of its {}, and {most} at most by its bounds", of.describe())
        })?;
    }
    Ok(())
}
