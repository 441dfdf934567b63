//! Space-time diagrams: a line per process, time downwards, messages as arrows from where they were
//! sent to where they arrived.
//!
//! One row tells what one process did in one step, so that no two labels ever meet. Rows that tell
//! nothing (ticks, heartbeats) are counted and left out; of a long run the last rows are drawn that
//! led to the violation (Lamport, *Time, Clocks, and the Ordering of Events*, 1978: those that
//! happened before it).

mod canvas;
mod label;
mod layout;
mod rows;
mod select;
#[cfg(test)]
mod tests;

use self::layout::Layout;
use self::rows::Row;
use super::Property;
use super::trace::Note;
use crate::kernel::ProcessId;

/// What is to be drawn.
pub(super) struct Picture<'a> {
    /// Everything that happened, with the step of each.
    pub(super) notes: Vec<&'a (u64, Note)>,
    pub(super) processes: usize,
    pub(super) title: String,
    pub(super) captions: Vec<String>,
    pub(super) mark: Option<Mark>,
    /// The first step and the last; without them, what matters most.
    pub(super) window: Option<(u64, u64)>,
}

/// A property is violated here.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) property: Property,
    pub(super) detail: String,
    pub(super) step: u64,
    pub(super) at: Option<ProcessId>,
}

/// The picture as SVG.
pub(super) fn draw(picture: &Picture<'_>) -> String {
    let mut rows = rows::rows(&picture.notes, picture.mark.as_ref().map(|mark| mark.property));
    if let Some(mark) = &picture.mark {
        set(mark, &mut rows);
    }
    let shown = select::select(&rows, picture.mark.is_some(), picture.window);
    Layout::new(picture, &rows, &shown).draw()
}

/// Sets the mark on the row of its step, or on one of its own.
fn set(mark: &Mark, rows: &mut Vec<Row>) {
    rows.retain(|row| row.step <= mark.step);
    match rows.iter_mut().rev().find(|row| row.step == mark.step && (mark.at.is_none() || row.at == mark.at))
    {
        Some(row) => row.violated = true,
        None => rows.push(Row { violated: true, ..Row::new(mark.step, mark.at) }),
    }
}
