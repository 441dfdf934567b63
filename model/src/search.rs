//! Breadth first, so that a violation comes with a shortest way to it.

use crate::bounds::Bounds;
use crate::state::{PROCESSES, State};
use crate::steps::{hello, steps};
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};

/// Searches, and says what came of it.
pub fn search(bounds: &Bounds) -> String {
    // States are told apart by 64 bits: of 10^8 states two are taken for one with a chance of 1 in 4000.
    let hasher = RandomState::new();
    let initial = initial(bounds);
    let mut seen = HashSet::from([hasher.hash_one(&initial)]);
    // From which state, by which of its steps: to tell the way to a violation.
    let mut origins: Vec<(u32, u16)> = vec![(0, 0)];
    let mut frontier = vec![(0u32, initial)];
    let (mut known, mut unknown, mut halts) = (0u64, 0u64, 0u64);
    let mut depth = 0;
    while !frontier.is_empty() {
        let mut later = Vec::new();
        for (at, state) in frontier {
            let next = match steps(&state, bounds) {
                Ok(next) => next,
                Err(violation) => return found(bounds, &origins, at, None, &violation, seen.len()),
            };
            for (i, (_, state)) in next.into_iter().enumerate() {
                if !seen.insert(hasher.hash_one(&state)) {
                    continue;
                }
                if let Some(violation) = state.violation() {
                    return found(bounds, &origins, at, Some(i as u16), &violation, seen.len());
                }
                known += u64::from(state.known == Some(true));
                unknown += u64::from(state.known == Some(false));
                halts += u64::from(state.processes.iter().any(|p| p.halted));
                origins.push((at, i as u16));
                later.push((origins.len() as u32 - 1, state));
            }
        }
        depth += 1;
        eprintln!("depth {depth}: {} states, {} of them new", seen.len(), later.len());
        if seen.len() > bounds.states {
            return format!("{bounds:?}\n{} states to depth {depth}, NOT COMPLETE; no violation", seen.len());
        }
        frontier = later;
    }
    format!(
        "{bounds:?}\n{} states, complete at depth {depth}; put back where all knew: {known}, where somebody did \
         not: {unknown}, with a process that halted: {halts}; no violation",
        seen.len()
    )
}

/// All have booted; with `settled`, everybody has recorded that.
fn initial(bounds: &Bounds) -> State {
    let mut state = State::initial();
    for p in 0..PROCESSES {
        for q in (0..PROCESSES).filter(|q| bounds.settled && *q != p) {
            state = hello(&state, p, q, bounds);
        }
    }
    state
}

fn found(
    bounds: &Bounds,
    origins: &[(u32, u16)],
    mut at: u32,
    last: Option<u16>,
    violation: &str,
    states: usize,
) -> String {
    let mut way: Vec<u16> = last.into_iter().collect();
    while at != 0 {
        let (from, step) = origins[at as usize];
        way.push(step);
        at = from;
    }
    let mut text = format!("{bounds:?}\n{states} states; VIOLATION {violation}\n");
    let mut state = initial(bounds);
    for (number, step) in way.iter().rev().enumerate() {
        let (words, next) =
            steps(&state, bounds).expect("the way was gone before").swap_remove(usize::from(*step));
        let _ = writeln!(text, "{:>4}. {words}", number + 1);
        state = next;
    }
    text
}
