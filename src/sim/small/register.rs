//! The atomic register in the small world: one register, operations one at a time at each process.

use super::links::Links;
use super::scenario::{At, Monitor, Scenario, Size, Trial};
use crate::kernel::{
    Config, Held, Incarnation, Mutant, ProcessId, Protocol, Stored, Turn, Undecodable, Upon,
};
use crate::register::{Ask, Registers, Return};
use crate::sim::atomicity::{Atomicity, Begun};
use crate::sim::property::{Property, Verdict, ensure};
use bytes::Bytes;

const NAME: &str = "x";
/// More ticks than any run has: whoever gives up early proves no termination.
const PATIENCE: u64 = 1 << 32;

/// Processes that hold replicas of a register, and are asked to read and write it.
#[derive(Clone, Debug)]
pub(super) struct Register;

impl Scenario for Register {
    const NAME: &'static str = "register";
    const PROPERTIES: &'static [Property] = &[Property::RegisterAtomicity, Property::RegisterTermination];
    const TRIALS: &'static [Trial] = &[
        Trial {
            mutant: Mutant::QuestionOnce,
            by: Property::RegisterTermination,
            seeds: 20,
            within: Some(Size { requests: 1, crashes: 0, ticks: 0, ..Size::TWO }),
        },
        Trial {
            mutant: Mutant::ReadUnimposed,
            by: Property::RegisterAtomicity,
            seeds: 100,
            within: Some(Size { requests: 3, crashes: 0, ticks: 0, ..Size::THREE }),
        },
        Trial {
            mutant: Mutant::WriteUnconsulted,
            by: Property::RegisterAtomicity,
            seeds: 60,
            within: Some(Size { crashes: 0, ticks: 0, ..Size::THREE }),
        },
    ];
    const CLOSED: Option<Size> = Some(Size::TWO);
    const WIDE: Option<Size> = Some(Size::THREE);
    type Process = Replica;
    type Monitor = Callers;
}

/// The registers of one process, all of whose peers count.
#[derive(Clone, Debug)]
pub(super) struct Replica(Registers);

/// A numbered operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    number: u64,
    ask: Ask,
}

impl Protocol for Replica {
    type Request = Operation;
    type Indication = Return;

    fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        _turn: &mut Turn,
        _up: &mut Held<Return>,
    ) -> Result<Self, Undecodable> {
        let everybody = config.members().collect();
        let mut registers = Registers::start(config, inc, stored)?;
        registers.set_voters(everybody);
        Ok(Self(registers))
    }

    fn upon(&mut self, event: Upon<Operation>, turn: &mut Turn, up: &mut Held<Return>) {
        match event {
            Upon::Request(Operation { number, ask }) => {
                if let Err(failed) = self.0.ask(number, NAME, ask, PATIENCE, turn) {
                    up.expose(Return { request: number, outcome: Err(failed) });
                }
            }
            Upon::Frame { from, frame } => {
                if let Ok(message) = frame.message() {
                    self.0.upon(from, message, turn).into_iter().for_each(|r| up.expose(r));
                }
            }
            Upon::Tick => self.0.tick(turn).into_iter().for_each(|r| up.expose(r)),
        }
    }
}

/// Those who read and write, and what they are told.
#[derive(Clone, Debug)]
pub(super) struct Callers {
    atomicity: Atomicity,
    /// Operations asked so far; each has the number of those before it.
    asked: u64,
    /// What each process is at.
    waiting: Vec<Option<(u64, Begun)>>,
}

impl Monitor<Replica> for Callers {
    fn new(processes: usize) -> Self {
        Self { atomicity: Atomicity::new(NAME), asked: 0, waiting: vec![None; processes] }
    }

    fn asks(&self, at: At<'_>, allowed: usize) -> Vec<Operation> {
        if self.asked >= allowed as u64 || self.waiting[at.process.index()].is_some() {
            return Vec::new();
        }
        let number = self.asked;
        let value = Bytes::from(format!("v{number}"));
        vec![Operation { number, ask: Ask::Write(value) }, Operation { number, ask: Ask::Read }]
    }

    fn asked(&mut self, at: At<'_>, request: &Operation) {
        self.asked += 1;
        let begun = self.atomicity.begin(at.process, request.ask.value());
        self.waiting[at.process.index()] = Some((request.number, begun));
    }

    fn indicated(&mut self, at: At<'_>, Return { request, outcome }: &Return) -> Verdict {
        let waiting = self.waiting[at.process.index()].take_if(|(number, _)| number == request);
        let Some((number, begun)) = waiting else { return Ok(()) };
        match outcome {
            Ok(returned) => self.atomicity.end(begun, returned),
            Err(failed) => ensure(false, Property::RegisterTermination, || {
                format!("{} refuses operation {number}: {failed}", at.process)
            }),
        }
    }

    fn crashed(&mut self, process: ProcessId) {
        self.waiting[process.index()] = None;
    }

    fn finally(&self, links: &Links, up: &[At<'_>]) -> Verdict {
        for p in up.iter().map(|at| at.process).filter(|p| links.hears_majority(*p)) {
            let waiting = self.waiting[p.index()];
            ensure(waiting.is_none(), Property::RegisterTermination, || {
                format!("{p} hears a majority, and its operation has not returned: {waiting:?}")
            })?;
        }
        Ok(())
    }
}
