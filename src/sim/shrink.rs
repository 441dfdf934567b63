//! A failing execution without what its violation does not need.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) over the script of the run: the same seed with
//! fewer processes, then the script without whole kinds of steps, without longer and shorter
//! stretches, and with processes that dawdle less, as long as the same property is violated. The
//! work is bounded by the steps played, not by a clock, so that a seed shrinks the same way
//! everywhere.
//!
//! A run whose liveness fails keeps its end, played fairly by the adversary: an execution in which
//! steps are left out after the last fault would violate liveness without any bug.

use super::action::{Action, Delivery, Haste};
use super::disk::Fault;
use super::execution::{Execution, Tail};
use super::monitors::Property;
use super::script::Move;
use crate::kernel::ProcessId;

/// Steps played in all while an execution is shrunk.
const BUDGET: u64 = 8_000_000;

struct Shrinker<'a> {
    base: &'a Execution,
    property: Property,
    script: Vec<Move>,
    tail: Tail,
    budget: u64,
    progress: &'a mut dyn FnMut(u64),
}

/// Shrinks an execution that violates a property.
pub(super) fn shrink(from: Execution, property: Property, progress: &mut dyn FnMut(u64)) -> Execution {
    let base = fewer_processes(from, property);
    let (script, tail) = (base.script.clone(), base.tail.clone());
    let mut shrinker = Shrinker { base: &base, property, script, tail, budget: BUDGET, progress };
    shrinker.run();
    let Shrinker { script, tail, .. } = shrinker;
    base.with(script, tail)
}

/// The same seed with as few processes as still violate the property.
fn fewer_processes(from: Execution, property: Property) -> Execution {
    for processes in 2..from.size().processes {
        let fewer = from.with_processes(processes);
        if fewer.property() == Some(property) {
            return fewer;
        }
    }
    from
}

impl Shrinker<'_> {
    fn run(&mut self) {
        if matches!(self.tail, Tail::Calm(_)) {
            let judged = self.property == Property::ClientHistory;
            self.attempt(self.script.clone(), if judged { Tail::Judged } else { Tail::Nothing });
        }
        self.kinds();
        self.haste();
        let mut before = usize::MAX;
        while self.script.len() < before && self.budget > 0 {
            before = self.script.len();
            self.stretches();
            self.haste();
            self.kinds();
        }
        self.simplify();
        self.stretches();
    }

    /// Plays a candidate, and takes it if it violates the same property: as far as it applies, and
    /// up to the violation.
    fn attempt(&mut self, script: Vec<Move>, tail: Tail) -> bool {
        if self.budget == 0 {
            return false;
        }
        let played = self.base.play_script(&script, &tail, 0, None);
        self.budget = self.budget.saturating_sub(played.world.coverage.steps);
        if played.failure.map(|f| f.property) != Some(self.property) {
            return false;
        }
        let mut applied = played.applied.into_iter().peekable();
        let mut at = 0..;
        self.script =
            script.into_iter().filter(|_| applied.next_if_eq(&at.next().unwrap_or(0)).is_some()).collect();
        self.tail = tail;
        (self.progress)(self.script.len() as u64);
        true
    }

    fn without(&mut self, drop: impl Fn(&Move) -> bool) -> bool {
        let kept: Vec<Move> = self.script.iter().filter(|m| !drop(m)).cloned().collect();
        kept.len() < self.script.len() && self.attempt(kept, self.tail.clone())
    }

    /// Whole kinds of steps: faults first, then clients, then what moves one process.
    fn kinds(&mut self) {
        self.without(|m| matches!(m.action, Action::Links { .. }));
        self.without(|m| {
            matches!(m.action, Action::Crash { .. } | Action::Recover { .. } | Action::Lose { .. })
        });
        self.without(|m| matches!(m.action, Action::Late { .. } | Action::Silence { .. }));
        self.without(|m| matches!(m.action, Action::HandOver { .. } | Action::Refuse { .. }));
        self.without(|m| matches!(m.action, Action::Disk { fault: Some(_), .. }));
        self.without(|m| {
            matches!(m.action, Action::Mute { .. } | Action::Deafen { .. } | Action::Stall { .. })
        });
        self.without(|m| matches!(m.action, Action::Copy { .. }));
        let lost = |how| matches!(how, Delivery::Lost | Delivery::Held | Delivery::Damaged { .. });
        self.without(|m| matches!(m.action, Action::Deliver { how, .. } if lost(how)));
        let clients = self.script.iter().filter_map(|m| match m.action {
            Action::Client { number } => Some(number),
            _ => None,
        });
        for client in 0..=clients.max().unwrap_or(0) {
            self.without(|m| m.action == Action::Client { number: client });
        }
        for p in 0..self.base.size().processes as u8 {
            self.without(|m| m.action.process() == Some(ProcessId(p)));
            self.without(|m| m.action == Action::Tick { at: ProcessId(p) });
        }
    }

    /// Stretches of steps, the last ones first, each time half as long.
    fn stretches(&mut self) {
        let mut length = self.script.len().div_ceil(2);
        while length > 0 && self.budget > 0 {
            let mut end = self.script.len();
            while end > 0 {
                let start = end.saturating_sub(length);
                let mut kept = self.script[..start].to_vec();
                kept.extend_from_slice(&self.script[end..]);
                self.attempt(kept, self.tail.clone());
                end = start.min(self.script.len());
            }
            length /= 2;
        }
    }

    /// Processes that do at once what they can: all of them, or in stretches.
    fn haste(&mut self) {
        let mut length = self.script.len();
        while length >= 8 && self.budget > 0 {
            let mut end = self.script.len();
            while end > 0 {
                let start = end.saturating_sub(length);
                let mut script = self.script.clone();
                let dawdles = |m: &Move| m.haste != Haste::Disk;
                if script[start..end].iter().any(dawdles) {
                    script[start..end].iter_mut().for_each(|m| m.haste = Haste::Disk);
                    self.attempt(script, self.tail.clone());
                }
                end = start.min(self.script.len());
            }
            length /= 2;
        }
    }

    /// Each step in its simplest form.
    fn simplify(&mut self) {
        let mut at = 0;
        while at < self.script.len() {
            let mut script = self.script.clone();
            let simple = &mut script[at];
            simple.haste = Haste::Disk;
            match &mut simple.action {
                Action::Deliver { how, .. } => *how = Delivery::Once,
                Action::Crash { fault, .. } => *fault = Fault::CrashBefore,
                Action::Handle { events, .. } => *events = usize::MAX,
                Action::Disk { .. }
                | Action::Expose { .. }
                | Action::Tick { .. }
                | Action::Recover { .. }
                | Action::Mute { .. }
                | Action::Deafen { .. }
                | Action::Stall { .. }
                | Action::Copy { .. }
                | Action::Lose { .. }
                | Action::Links { .. }
                | Action::Client { .. }
                | Action::HandOver { .. }
                | Action::Refuse { .. }
                | Action::Late { .. }
                | Action::Silence { .. } => {}
            }
            if script[at].action != self.script[at].action || self.script[at].haste != Haste::Disk {
                self.attempt(script, self.tail.clone());
            }
            at += 1;
        }
    }
}
