//! Which rows are drawn.

use super::rows::{Fate, Row};
use crate::kernel::ProcessId;
use std::collections::BTreeSet;

/// Rows of a picture that shows what matters.
const ROWS: usize = 64;
/// Rows of a picture whose steps were asked for.
const ASKED: usize = 400;

/// The rows to draw, by their place: within a window all that tell something; else the last that
/// do, of those that happened before a violation.
pub(super) fn select(rows: &[Row], violated: bool, window: Option<(u64, u64)>) -> Vec<usize> {
    // That all boot is told by the picture's head.
    let telling =
        |i: &usize| (rows[*i].telling && (rows[*i].step > 0 || window.is_some())) || rows[*i].violated;
    let (mut shown, most): (Vec<usize>, usize) = match window {
        Some((from, to)) => {
            let inside = |i: &usize| (from..=to).contains(&rows[*i].step);
            ((0..rows.len()).filter(inside).filter(telling).collect(), ASKED)
        }
        None if violated => (before(rows).into_iter().filter(telling).collect(), ROWS),
        None => ((0..rows.len()).filter(telling).collect(), ROWS),
    };
    shown.drain(..shown.len().saturating_sub(most));
    shown
}

/// The rows that happened before the violation: earlier at the same process, or earlier at one from
/// which a message came. Links belong to everyone.
fn before(rows: &[Row]) -> Vec<usize> {
    let Some(last) = rows.iter().rposition(|row| row.violated) else { return (0..rows.len()).collect() };
    // Whoever is marked at no process may be anyone.
    let mut processes: BTreeSet<ProcessId> = match rows[last].at {
        Some(at) => [at].into(),
        None => rows.iter().filter_map(|row| row.at).collect(),
    };
    let mut messages: BTreeSet<u64> = BTreeSet::new();
    let mut cone = Vec::new();
    for i in (0..=last).rev() {
        let row = &rows[i];
        let Some(at) = row.at else {
            cone.push(i);
            continue;
        };
        if row.sends.iter().any(|sending| messages.contains(&sending.id)) {
            processes.insert(at);
        }
        // A crash is not told to anyone, and explains what does not happen.
        if processes.contains(&at) || row.change.is_some() {
            let arrived = row.arrivals.iter().filter(|arrival| arrival.fate == Fate::Arrived);
            messages.extend(arrived.map(|arrival| arrival.id));
            cone.push(i);
        }
    }
    cone.reverse();
    cone
}
