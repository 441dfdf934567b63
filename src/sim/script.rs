//! Scripts: the steps of an execution, written down as they happen, to be played again with some of
//! them left out.
//!
//! A step names the frame that it moves by what it says, not by its place in a queue, and brings
//! along the state of every generator: what was left out before it does not shift what it does. A
//! step that no longer applies (its process is down, its frame was never sent) does nothing.

use super::action::{Action, Haste, Step};
use super::monitors::Verdict;
use super::network::InFlight;
use super::world::World;
use crate::kernel::HEADER;

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) struct Move {
    /// Its number in the run of which it was written down; it keeps it.
    pub(super) step: u64,
    pub(super) action: Action,
    pub(super) haste: Haste,
    /// The frame that it moves.
    frame: Option<FrameName>,
    draws: [u64; 4],
}

/// A frame, by its message, whatever its sender had stored by then, and by its kind where no frame has
/// that message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FrameName {
    crc: u32,
    tag: (u8, u8),
}

impl FrameName {
    fn of(frame: &InFlight) -> Self {
        Self { crc: crc32fast::hash(&frame.bytes[HEADER..]), tag: (frame.bytes[1], frame.bytes[2]) }
    }

    /// Its place among frames.
    fn find<'a>(self, frames: impl Iterator<Item = &'a InFlight> + Clone) -> Option<usize> {
        let names = || frames.clone().map(Self::of);
        names().position(|f| f == self).or_else(|| names().position(|f| f.tag == self.tag))
    }
}

impl World {
    /// Begins to write down its steps.
    pub(super) fn write_down(&mut self) {
        self.script = Some(Vec::new());
    }

    /// Writes down a step that is about to be taken.
    pub(super) fn note_down(&mut self, step: Step) {
        if self.script.is_none() {
            return;
        }
        let Step { action, haste } = step;
        let frame = match action {
            Action::Deliver { from, to, at, .. } => self.network.flight(from, to).get(at),
            Action::Late { from, to, at } => self.network.shelf(from, to).get(at),
            Action::Handle { .. }
            | Action::Disk { .. }
            | Action::Expose { .. }
            | Action::Tick { .. }
            | Action::Crash { .. }
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
            | Action::Silence { .. } => None,
        };
        let frame = frame.map(FrameName::of);
        let draws = self.generators().map(|rng| rng.get_seed());
        let step = self.step + 1;
        self.script.iter_mut().for_each(|script| script.push(Move { step, action, haste, frame, draws }));
    }

    /// Takes a step of a script, if it still applies. Returns whether it did, and what came of it.
    pub(super) fn play(&mut self, play: &Move) -> (bool, Verdict) {
        self.pass_to(play.step);
        let Some(action) = self.applicable(play) else {
            self.trace.fold(play.step);
            return (false, Ok(()));
        };
        self.coverage.steps += 1;
        for (rng, seed) in self.generators().into_iter().zip(play.draws) {
            rng.seed(seed);
        }
        (true, self.go(Step { action, haste: play.haste }))
    }

    /// Takes a step.
    pub(super) fn go(&mut self, step: Step) -> Verdict {
        self.moved = step.action.process().or(self.moved);
        match self.perform(step.action)? {
            Some(p) => self.hasten(p, step.haste),
            None => Ok(()),
        }
    }

    /// What a step of a script does now, if anything.
    fn applicable(&self, play: &Move) -> Option<Action> {
        let action = play.action;
        let applies = match action {
            Action::Deliver { from, to, how, .. } => {
                let at = play.frame?.find(self.network.flight(from, to).iter())?;
                return (!self.network.is_cut(from, to)).then_some(Action::Deliver { from, to, at, how });
            }
            Action::Late { from, to, .. } => {
                let at = play.frame?.find(self.network.shelf(from, to).iter())?;
                return self.is_up(to).then_some(Action::Late { from, to, at });
            }
            Action::Handle { at, .. } => self.alive(at).is_some_and(|a| !a.inbox.is_empty()),
            Action::Disk { at, .. } => self.disk_may_move(at),
            Action::Expose { at, frame: true } => self.alive(at).is_some_and(|a| !a.frames.is_empty()),
            Action::Expose { at, frame: false } => self.alive(at).is_some_and(|a| !a.indications.is_empty()),
            Action::Tick { at }
            | Action::Crash { at, .. }
            | Action::Mute { at, .. }
            | Action::Deafen { at, .. }
            | Action::HandOver { at }
            | Action::Refuse { at, .. } => self.is_up(at),
            Action::Recover { at } | Action::Lose { at, .. } => !self.is_up(at),
            Action::Stall { .. } | Action::Copy { .. } => true,
            Action::Links { shape, .. } => {
                let n = self.processes.len();
                self.pairs().any(|(from, to)| self.network.is_cut(from, to) != shape.cuts(from, to, n))
            }
            Action::Silence { at } => self.members().any(|to| self.network.in_flight(at, to) > 0),
            Action::Client { .. } => true,
        };
        applies.then_some(action)
    }
}
