//! What may happen next: the vocabulary of the adversary.

use super::disk::{Fault, Loss};
use crate::kernel::ProcessId;

/// One step of an execution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    /// Whether the process does at once all that it can do by itself.
    pub(super) haste: Haste,
}

/// How fast a process gets on after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Haste {
    /// What was released waits, what arrived waits.
    None,
    /// What arrived is handled, and what is released leaves.
    Core,
    /// The disk is as fast.
    Disk,
}

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Action {
    /// A frame arrives; of those in flight between the two the one at this position.
    Deliver { from: ProcessId, to: ProcessId, at: usize, how: Delivery },
    /// A process handles so many of the events that wait.
    Handle { at: ProcessId, events: usize },
    /// The disk of a process gets on by one stage: a commit begins, ends, or is reported.
    Disk { at: ProcessId, fault: Option<Fault> },
    /// The next thing released leaves the process: a frame, or an indication.
    Expose { at: ProcessId, frame: bool },
    /// Time passes at a process.
    Tick { at: ProcessId },
    /// A process crashes; if a commit is under way, this becomes of it.
    Crash { at: ProcessId, fault: Fault },
    /// A process recovers.
    Recover { at: ProcessId },
    /// The next frames that a process sends do not leave it.
    Mute { at: ProcessId, frames: u32 },
    /// The next frames that reach a process are not received.
    Deafen { at: ProcessId, frames: u32 },
    /// The disk of a process stands still for so many steps.
    Stall { at: ProcessId, steps: u64 },
    /// Somebody copies the data directory of a process.
    Copy { at: ProcessId },
    /// The disk of a process that is down loses its memory.
    Lose { at: ProcessId, how: Loss },
    /// The links take another shape; what is in flight on a link that is cut or heals is forgotten,
    /// or not.
    Links { shape: Shape, forget: bool },
    /// A client does something, or loses patience.
    Client { number: usize },
    /// A process is asked to give its leadership away.
    HandOver { at: ProcessId },
    /// A process is told, rightly or not, that a peer is dead.
    Refuse { at: ProcessId, peer: ProcessId },
    /// A frame that was held back arrives; of those between the two the one at this position.
    Late { from: ProcessId, to: ProcessId, at: usize },
    /// Whatever a process has in flight is lost.
    Silence { at: ProcessId },
}

impl Action {
    /// The process that it moves.
    pub(super) fn process(self) -> Option<ProcessId> {
        match self {
            Self::Deliver { to: at, .. }
            | Self::Late { to: at, .. }
            | Self::Handle { at, .. }
            | Self::Disk { at, .. }
            | Self::Expose { at, .. }
            | Self::Tick { at }
            | Self::Crash { at, .. }
            | Self::Recover { at }
            | Self::Mute { at, .. }
            | Self::Deafen { at, .. }
            | Self::Stall { at, .. }
            | Self::Copy { at }
            | Self::Lose { at, .. }
            | Self::HandOver { at }
            | Self::Refuse { at, .. }
            | Self::Silence { at } => Some(at),
            Self::Links { .. } | Self::Client { .. } => None,
        }
    }
}

/// What becomes of a frame in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    /// It arrives.
    Once,
    /// It arrives, and stays in flight.
    Again,
    /// It is held back for long.
    Held,
    /// It arrives, and a copy of it is held back for long.
    Kept,
    /// It is lost.
    Lost,
    /// A byte of it is changed on the way.
    Damaged { byte: u32, by: u8 },
}

/// Which links there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// All.
    Whole,
    /// None between these processes (a bit set) and the others.
    Halves(u64),
    /// None from these to the others; back, there are.
    OneWay(u64),
    /// Each to its neighbours, in the order that starts here.
    Chain(u8),
    /// This one to each other.
    Star(u8),
    /// Each one missing with a chance of one in four, by these bits.
    Holes(u64),
    /// All but those between these two.
    Apart(u8, u8),
    /// All but those from this process to these (a bit set).
    Unheard(u8, u64),
}

impl Shape {
    /// Whether the link from one process to another is cut.
    pub(super) fn cuts(self, from: ProcessId, to: ProcessId, processes: usize) -> bool {
        let within = |set: u64, p: ProcessId| set >> p.0 & 1 == 1;
        match self {
            Self::Whole => false,
            Self::Halves(set) => within(set, from) != within(set, to),
            Self::OneWay(set) => within(set, from) && !within(set, to),
            Self::Chain(start) => {
                let place = |p: ProcessId| (p.index() + processes - usize::from(start)) % processes;
                place(from).abs_diff(place(to)) != 1
            }
            Self::Star(hub) => from.0 != hub && to.0 != hub,
            Self::Holes(bits) => {
                let at = 2 * ((from.index() * processes + to.index()) % 32);
                bits >> at & 3 == 0
            }
            Self::Apart(a, b) => (from.0, to.0) == (a, b) || (from.0, to.0) == (b, a),
            Self::Unheard(speaker, set) => from.0 == speaker && within(set, to),
        }
    }

    /// The shape in words.
    pub(super) fn words(self, processes: usize) -> String {
        let all = || (0..processes as u8).map(ProcessId);
        let list = |set: u64, inside: bool| {
            let names = all().filter(|p| (set >> p.0 & 1 == 1) == inside).map(|p| p.to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Whole => "all are up".into(),
            Self::Halves(set) => format!("cut between {} and {}", list(set, true), list(set, false)),
            Self::OneWay(set) => format!("cut from {} to {}", list(set, true), list(set, false)),
            Self::Chain(start) => {
                let place = |i| ProcessId(((usize::from(start) + i) % processes) as u8).to_string();
                format!("a chain {}", (0..processes).map(place).collect::<Vec<_>>().join(" – "))
            }
            Self::Star(hub) => format!("a star around p{hub}"),
            Self::Holes(_) => {
                let cut = all().flat_map(|from| all().map(move |to| (from, to)));
                let cut = cut.filter(|(from, to)| from != to && self.cuts(*from, *to, processes));
                let cut: Vec<String> = cut.map(|(from, to)| format!("{from}→{to}")).collect();
                format!("cut {}", cut.join(" "))
            }
            Self::Apart(a, b) => format!("cut between p{a} and p{b}"),
            Self::Unheard(speaker, set) => format!("cut from p{speaker} to {}", list(set, true)),
        }
    }
}
