//! The (N,N) atomic register, by name, logged and without any leader.
//!
//! Requests: Read(name), Write(name, value), at any process. Indication: Return(value).
//!
//! Properties, while a majority of processes is correct:
//! * *termination*: an operation of a process that stays up returns;
//! * *atomicity*: every operation takes effect at one instant between its invocation and its
//!   return; one that a crash cut short takes effect once, later, or never.
//!
//! Source: Cachin, Guerraoui, Rodrigues, *Introduction to Reliable and Secure Distributed
//! Programming*, Section 4.4 (read-impose write-consult-majority, (N,N) atomic) and Section 4.5
//! (logged majority voting: the fail-recovery register).
//!
//! **Durable first**: a replica's cell before it says that it has taken or holds it; the writer's
//! own cell before its value leaves. Both follow from the turn: what a turn sends waits for what it
//! stores. **On recovery** an operation under way is nobody's; a new one has an identifier of its
//! own, so that a late answer to the old one counts for nothing.
//!
//! A question is repeated for as long as its operation lasts, and no longer: a stubborn link would
//! go on resending to a process that is down long after the answer of a majority made the question
//! void. Two round trips; a read on which a majority already agrees takes one.
//!
//! The invariant: a cell's tag never decreases in stable storage, and of a tag there is one value:
//! its writer is part of it, and a writer chooses above everything in its own stable storage, where
//! its last choice is before anybody hears of it.

mod cells;
mod message;
mod operation;

#[cfg(test)]
mod tests;

pub use cells::{Cell, Tag};
pub use message::RegisterMessage;
pub use operation::{Ask, Failed, Outcome, Return, Returned, tag};

use self::cells::Cells;
use self::message::OperationId;
use self::operation::{Operation, Phase, Step};
use crate::broadcast::BestEffort;
use crate::kernel::{
    Account, Bound, Config, Incarnation, Memory, Mutant, ProcessId, ProcessSet, SLOT, Stored, Turn,
    Undecodable,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The longest name of a register, in bytes.
pub const MAX_NAME: usize = 100;

/// The registers of one process: its replicas of all of them, and the operations asked of it.
///
/// Bounds: `operations` holds at most `bounds.requests`; there are at most `bounds.registers`
/// cells, and beyond them no more than the operations that were under way when the last place was
/// taken.
#[derive(Clone, Debug)]
pub struct Registers {
    config: Config,
    inc: Incarnation,
    /// Questions go to all replicas, and may be lost.
    everybody: BestEffort<RegisterMessage>,
    cells: Cells,
    next: u64,
    operations: BTreeMap<u64, Operation>,
    /// Whose answers count, this process included; empty while its own would not.
    voters: ProcessSet,
}

impl Registers {
    /// The cells as they were last durable; no operation is resumed.
    ///
    /// # Errors
    /// When a stored cell does not decode.
    pub fn start(config: Config, inc: Incarnation, stored: &Stored) -> Result<Self, Undecodable> {
        let cells = Cells::recover(&config, stored)?;
        let everybody = BestEffort::start(&config);
        Ok(Self {
            config,
            inc,
            everybody,
            cells,
            next: 1,
            operations: BTreeMap::new(),
            voters: ProcessSet::default(),
        })
    }

    /// Whose answers count from now on. A process that is not among them itself asks and answers
    /// nothing: it lost its memory, or nobody has recorded its boot yet.
    pub fn set_voters(&mut self, voters: ProcessSet) {
        self.voters = voters;
    }

    /// Cells: `registers`, and for each process the operations that were under way when the last place
    /// was taken. Operations: `requests`, each with what it writes and what it was told.
    pub fn memory(&self) -> Memory {
        let bounds = &self.config.bounds;
        let one = SLOT + MAX_NAME + bounds.register_bytes;
        let cells = bounds.registers + self.config.processes * bounds.requests;
        let most = cells * one + bounds.requests * 2 * one;
        let held = |o: &Operation| {
            let value = o.ask.value().map_or(0, Bytes::len);
            o.name.len() + value + o.highest.as_ref().map_or(0, |cell| cell.value.len())
        };
        let operations: usize = self.operations.values().map(held).sum();
        let count = self.cells.len() + self.operations.len();
        Memory::new(Account::Registers, (count, self.cells.bytes() + operations), most)
    }

    /// How many registers this process has a replica of.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cells.len() == 0
    }

    /// Whether the cells are not those of another process, for monitors.
    pub fn differs(&self, other: &Self) -> bool {
        self.cells != other.cells
    }

    /// Reads or writes a register: answered by one [`Return`] with this `request`, from any later
    /// call.
    ///
    /// # Errors
    /// At once, and nothing has changed.
    pub fn ask(
        &mut self,
        request: u64,
        name: &str,
        ask: Ask,
        patience: u64,
        turn: &mut Turn,
    ) -> Result<(), Failed> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(Failed::Name);
        }
        let limit = self.config.bounds.register_bytes;
        if ask.value().is_some_and(|value| value.len() > limit) {
            turn.hit(Bound::RegisterBytes);
            return Err(Failed::TooLarge { limit });
        }
        if self.operations.len() >= self.config.bounds.requests {
            turn.hit(Bound::RegisterOperations);
            return Err(Failed::TooMany);
        }
        let operation = Operation::new(request, name, ask, patience, self.config.timing.resend);
        let id = self.id(self.next);
        self.everybody.broadcast(&operation.question(id), turn);
        self.operations.insert(self.next, operation);
        self.next += 1;
        Ok(())
    }

    /// Nobody waits for the request any more. A write may take effect all the same.
    pub fn cancel(&mut self, request: u64) {
        self.operations.retain(|_, o| o.request != request);
    }

    /// Another process, or this one, says something.
    pub fn upon(&mut self, from: ProcessId, message: RegisterMessage, turn: &mut Turn) -> Option<Return> {
        if !(self.voters.contains(self.config.me) && self.voters.contains(from)) {
            return None;
        }
        match message {
            RegisterMessage::Query { id, name, create } => {
                let refused = create && self.cells.is_full_for(&name);
                if refused {
                    turn.hit(Bound::Registers);
                }
                let cell = self.cells.get(&name).cloned();
                turn.send(from, &RegisterMessage::State { id, cell, refused });
                None
            }
            RegisterMessage::Impose { id, name, cell } => {
                // Nothing that an operation could come to.
                if !(self.cells.believes(&name, &cell) && self.cells.has_room_for(&name)) {
                    return None;
                }
                self.cells.take(&name, cell, turn);
                turn.send(from, &RegisterMessage::Imposed { id });
                None
            }
            RegisterMessage::State { id, cell, refused } => {
                let name = &self.operations.get(&id.number)?.name;
                if cell.as_ref().is_some_and(|cell| !self.cells.believes(name, cell)) {
                    return None;
                }
                let operation = self.mine(id)?;
                if operation.phase != Phase::Consult || operation.answered.contains(from) {
                    return None;
                }
                operation.upon_state(from, cell, refused);
                self.advance(id.number, turn)
            }
            RegisterMessage::Imposed { id } => {
                let operation = self.mine(id)?;
                if operation.phase != Phase::Impose {
                    return None;
                }
                operation.answered.insert(from);
                self.advance(id.number, turn)
            }
        }
    }

    /// Time passes: questions are repeated to those who have not answered. Returns the operations
    /// whose time ran out.
    pub fn tick(&mut self, turn: &mut Turn) -> Vec<Return> {
        let mut late = Vec::new();
        for (number, operation) in &mut self.operations {
            if operation.patience == 0 {
                late.push(*number);
                continue;
            }
            operation.patience -= 1;
            operation.resend = operation.resend.saturating_sub(1);
            if operation.resend == 0 && !turn.is_full() && !self.config.mutants.on(Mutant::QuestionOnce) {
                operation.resend = self.config.timing.resend;
                let id = OperationId { inc: self.inc, number: *number };
                let silent = self.config.members().filter(|p| !operation.answered.contains(*p));
                turn.send_all(silent, &operation.question(id));
            }
        }
        let give_up = |number| self.operations.remove(&number).map(Operation::give_up);
        late.into_iter().filter_map(give_up).collect()
    }

    /// Gives up every operation: this process lost its memory.
    pub fn give_up(&mut self) -> Vec<Return> {
        std::mem::take(&mut self.operations).into_values().map(Operation::give_up).collect()
    }

    fn id(&self, number: u64) -> OperationId {
        OperationId { inc: self.inc, number }
    }

    /// The operation that an answer belongs to, if it is one of this incarnation and under way.
    fn mine(&mut self, id: OperationId) -> Option<&mut Operation> {
        if id.inc == self.inc { self.operations.get_mut(&id.number) } else { None }
    }

    /// Goes on with an operation, once a majority has answered.
    fn advance(&mut self, number: u64, turn: &mut Turn) -> Option<Return> {
        let majority = self.config.majority();
        let operation = self.operations.get_mut(&number)?;
        let step = operation.step(majority, self.config.processes, self.config.mutants)?;
        match step {
            Step::Return(outcome) => {
                let request = operation.request;
                self.operations.remove(&number);
                Some(Return { request, outcome })
            }
            Step::Impose(cell) => {
                let cell = match cell {
                    Some(read) => read,
                    None => {
                        let seen = operation.highest.as_ref().map(|c| c.tag).unwrap_or_default();
                        let own = self.cells.get(&operation.name).map(|c| c.tag).unwrap_or_default();
                        let above = match self.config.mutants.on(Mutant::WriteUnconsulted) {
                            true => own,
                            false => seen.max(own),
                        };
                        let Some(tag) = above.next(self.config.me) else {
                            return self.operations.remove(&number).map(Operation::exhausted);
                        };
                        let value = operation.ask.value().cloned().unwrap_or_default();
                        Cell { tag, value }
                    }
                };
                // The own cell is stored in this turn: its frames wait for that.
                self.cells.take(&operation.name, cell.clone(), turn);
                operation.impose(cell, self.config.timing.resend);
                let question = operation.question(OperationId { inc: self.inc, number });
                self.everybody.broadcast(&question, turn);
                None
            }
        }
    }
}
