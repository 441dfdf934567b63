//! A replica in memory that does as it is told: the state machine without log, disk and peers.

mod topics;

pub(super) use self::topics::KEPT;
use super::{Cluster, Ledger, Member, Mirror, Refused, Registers, Replica};
use crate::consensus::Distrust;
use crate::kernel::{Ballot, DiskError, ProcessId, Row, RowKey, Rows};
use crate::kv::{Command, Machine, Op, Reply, View};
use crate::ledger;
use crate::register::{self, Ask, Cell, Failed};
use crate::stack::{Refusal, Role, Status};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// What befalls one request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Refused, and not executed.
    Refuse(Refusal),
    /// No majority is reached; not executed.
    Cut,
    /// Executed, and the reply is lost.
    Lose,
    /// Executed late.
    Slow(Duration),
    /// Never answered.
    Hang,
}

#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<State>>, pub Arc<Mirror>);

pub(super) struct State {
    pub machine: Machine,
    /// Operations that went through the log.
    pub log: Vec<Op>,
    /// Reads that were confirmed.
    pub barriers: usize,
    pub registers: BTreeMap<String, Cell>,
    pub ledger: ledger::Ledger,
    /// How often somebody looked at it.
    pub looks: u64,
    ledger_changed: watch::Sender<u64>,
    /// What it shows of the ledger until there is a barrier, if it is behind.
    pub shown: Option<ledger::View>,
    pub faults: VecDeque<Option<Fault>>,
    pub leader: Option<ProcessId>,
    pub serving: bool,
    /// Its state is not that of a majority.
    pub diverged: bool,
    pub problems: Vec<String>,
    /// Requests that nobody has answered or given up.
    pub pending: usize,
    subscribers: topics::Subscribers,
}

impl Default for Fake {
    fn default() -> Self {
        let state = State {
            machine: Machine::new(),
            log: Vec::new(),
            barriers: 0,
            registers: BTreeMap::new(),
            ledger: ledger::Ledger::default(),
            looks: 0,
            ledger_changed: watch::Sender::new(0),
            shown: None,
            faults: VecDeque::new(),
            leader: Some(ProcessId(0)),
            serving: true,
            diverged: false,
            problems: Vec::new(),
            pending: 0,
            subscribers: Default::default(),
        };
        Fake(Arc::new(Mutex::new(state)), Arc::new(Mirror::new(7)))
    }
}

/// How many registers there may be.
pub(super) const REGISTERS: usize = 2;

/// A request under way.
struct Pending(Fake);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.state().pending -= 1;
    }
}

impl Fake {
    pub fn with(faults: impl IntoIterator<Item = Fault>) -> Self {
        let fake = Fake::default();
        fake.state().faults = faults.into_iter().map(Some).collect();
        fake
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn begin(&self) -> (Pending, Option<Fault>) {
        let mut state = self.state();
        state.pending += 1;
        let fault = match state.faults.pop_front().flatten() {
            None if state.diverged => Some(Fault::Refuse(Refusal::Corrupt)),
            None if state.leader.is_none() => Some(Fault::Refuse(Refusal::NoLeader)),
            fault => fault,
        };
        (Pending(self.clone()), fault)
    }

    fn apply(&self, command: Command) -> Reply {
        let mut state = self.state();
        let command = Command::decode(command.encode()).unwrap();
        let index = state.machine.applied();
        state.log.push(command.op.clone());
        state.machine.apply(index, &command)
    }
}

impl Fake {
    fn ask(&self, name: &str, ask: Ask) -> register::Outcome {
        let mut state = self.state();
        let found = state.registers.get(name).cloned();
        let Ask::Write(value) = ask else { return Ok(found) };
        if found.is_none() && state.registers.len() == REGISTERS {
            return Err(Failed::Full);
        }
        let Some(tag) = found.map(|c| c.tag).unwrap_or_default().next(ProcessId(0)) else {
            return Err(Failed::Exhausted);
        };
        let cell = Cell { tag, value };
        state.registers.insert(name.to_owned(), cell.clone());
        Ok(Some(cell))
    }
}

impl Registers for Fake {
    async fn register(&self, name: &str, ask: Ask, _: Duration) -> Result<register::Outcome, Refused> {
        // No leader is asked for.
        let fault = self.state().faults.pop_front().flatten();
        match fault {
            None => Ok(self.ask(name, ask)),
            Some(Fault::Refuse(why)) => Err(why.into()),
            Some(Fault::Lose) => Ok(self.ask(name, ask).and(Err(Failed::Unknown))),
            Some(Fault::Cut) => Ok(Err(Failed::NoMajority)),
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(self.ask(name, ask))
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

impl Fake {
    /// Executes a command of the ledger.
    pub fn execute_ledger(&self, command: ledger::Command) -> ledger::Reply {
        let mut state = self.state();
        let index = state.ledger.view().end();
        let reply = state.ledger.execute(index, command);
        state.ledger_changed.send_replace(index + 1);
        reply
    }
}

impl Ledger for Fake {
    async fn ledger_execute(&self, command: ledger::Command, _: Duration) -> Result<ledger::Reply, Refused> {
        let (_pending, fault) = self.begin();
        match fault {
            None => Ok(self.execute_ledger(command)),
            Some(Fault::Refuse(why)) => Err(why.into()),
            Some(Fault::Cut) => Err(Refusal::NoLeader.into()),
            Some(Fault::Lose) => {
                let _ = self.execute_ledger(command);
                Err(Refusal::TimedOut.into())
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(self.execute_ledger(command))
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    async fn ledger_barrier(&self, patience: Duration) -> Result<ledger::View, Refused> {
        self.read_barrier(patience).await?;
        let mut state = self.state();
        state.shown = None;
        Ok(state.ledger.view())
    }

    fn ledger(&self) -> Option<ledger::View> {
        let mut state = self.state();
        state.looks += 1;
        state.serving.then(|| state.shown.clone().unwrap_or_else(|| state.ledger.view()))
    }

    fn ledger_changed(&self) -> watch::Receiver<u64> {
        self.state().ledger_changed.subscribe()
    }
}

struct NoRows;

impl Rows for NoRows {
    fn row(&self, _: RowKey) -> Result<Option<Bytes>, DiskError> {
        Ok(None)
    }
    fn scan(&self, _: RowKey, _: u64, _: usize) -> Result<Vec<Row>, DiskError> {
        Ok(Vec::new())
    }
}

impl Replica for Fake {
    async fn execute(&self, command: Command, _: Duration) -> Result<Reply, Refused> {
        let (_pending, fault) = self.begin();
        match fault {
            None => Ok(self.apply(command)),
            Some(Fault::Refuse(why)) => Err(why.into()),
            Some(Fault::Cut) => Err(Refusal::NoLeader.into()),
            Some(Fault::Lose) => {
                let _ = self.apply(command);
                Err(Refusal::TimedOut.into())
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(self.apply(command))
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    async fn read_barrier(&self, _: Duration) -> Result<View, Refused> {
        let (_pending, fault) = self.begin();
        match fault {
            None => {
                let mut state = self.state();
                state.barriers += 1;
                Ok(state.machine.view())
            }
            Some(Fault::Refuse(why)) => Err(why.into()),
            Some(Fault::Cut | Fault::Lose | Fault::Slow(_)) => Err(Refusal::TimedOut.into()),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    fn view(&self) -> Option<View> {
        let state = self.state();
        (state.serving && !state.diverged).then(|| state.machine.view())
    }

    fn rows(&self) -> Arc<dyn Rows> {
        Arc::new(NoRows)
    }

    fn status(&self) -> Status {
        let state = self.state();
        Status {
            role: match state.leader {
                _ if state.diverged => Role::Learner(Distrust::Diverged),
                Some(ProcessId(0)) => Role::Leader,
                Some(_) | None => Role::Follower,
            },
            incarnation: 1,
            leader: state.leader,
            promised: Ballot { counter: 3, ..Ballot::ZERO },
            accepted: Ballot { counter: 3, ..Ballot::ZERO },
            log_first: 0,
            log_len: state.machine.applied() + 1,
            decided: state.machine.applied(),
            applied: state.machine.applied(),
            checkpoint: 0,
            serving: state.serving,
        }
    }

    fn problems(&self) -> Vec<String> {
        self.state().problems.clone()
    }

    fn cluster(&self) -> Cluster {
        let member = |n: u8| Member {
            id: 100 + u64::from(n),
            name: format!("n{n}"),
            peer_urls: vec![format!("http://10.0.0.{n}:2380")],
            client_urls: vec![format!("http://10.0.0.{n}:2379")],
            learner: false,
        };
        Cluster { id: 7, me: ProcessId(0), members: (0..3).map(member).collect() }
    }
}
