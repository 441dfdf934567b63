//! Clients: each asks one thing at a time, of a process that it picks, and loses patience.
//!
//! What they saw is recorded, to be judged at the end of the run. A client with a session repeats a
//! call of unknown fate at another process, and expects one execution; now and then it closes the
//! session first, and then expects none.

use super::coverage::Coverage;
use super::monitors::{Failure, Property, Verdict, ensure};
use super::process::Process;
use super::service::{self, Answer, Session};
use super::sizes::Sizes;
use crate::history::{Call, Handle, Limits, Mix, Operation, Outcome, Recorder, Reply, Workload, verify};
use crate::kernel::{ProcessId, Ticks};
use crate::stack::{Event, Indication, Refusal, RequestId};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// The most operations of one run.
const CAPACITY: usize = 1 << 20;
/// A client does not read everything more often than this to exceed a budget: commands are short.
const MOST_READS: u64 = 32;
/// The key that the probes of the last part of a run write.
const PROBE: &str = "probe";
/// The key of a large value that a process is asked to put.
const BURDEN: &str = "burden";

/// What a client waits for.
#[derive(Clone, Debug)]
enum Job {
    /// A call, its place in the history, and, but for reads, its command.
    Call { call: Call, handle: Handle, command: Bytes },
    /// A session is being opened.
    Open,
    /// The session is being closed, while the call made in it is in doubt.
    Close { session: u64, call: Call, handle: Handle, command: Bytes },
    /// Old versions are being forgotten, or the alarm is raised or lowered that space is short.
    Upkeep { command: Bytes },
}

#[derive(Clone, Debug)]
struct Waiting {
    request: RequestId,
    at: ProcessId,
    /// The life of it that was asked; none, where the next try has yet to be made.
    life: Option<Life>,
    since: u64,
    job: Job,
    /// Whether an earlier try may have been executed.
    doubtful: bool,
}

#[derive(Debug)]
struct Client {
    workload: Workload,
    sessions: bool,
    session: Option<Session>,
    waiting: Option<Waiting>,
    /// Whether it must have an answer: it asks again, at the same process, when that has too many requests.
    persists: bool,
}

/// A life of a process: how often it had booted. Its incarnation would not tell: who crashes before
/// that is durable has the same one again.
pub(super) type Life = u64;

/// What clients see of the world.
#[derive(Clone, Copy)]
pub(super) struct Glimpse<'a> {
    pub(super) processes: &'a [Process],
    pub(super) now: u64,
}

impl Glimpse<'_> {
    /// The life that a process is in.
    pub(super) fn life(self, p: ProcessId) -> Option<Life> {
        let process = &self.processes[p.index()];
        process.alive.as_ref().map(|_| process.boots)
    }

    /// What the view published last at a process shows of a key, and its revision. Before the
    /// first view nothing was ever written.
    fn read(self, p: ProcessId, key: &str) -> Option<(Option<String>, u64)> {
        let process = &self.processes[p.index()];
        let Some(view) = process.alive.as_ref()?.view.as_ref() else { return Some((None, 1)) };
        let found = service::peek(view, key, &process.disk).ok()?;
        Some((found.map(|(value, _)| value), service::revision(view)))
    }

    /// The replica that answers at a process: another one, once its disk has lost its memory.
    fn replica(self, p: ProcessId) -> u64 {
        self.processes[p.index()].replica()
    }

    /// Whether the view published last at a process shows that space is short.
    fn is_full(self, p: ProcessId) -> bool {
        let alive = self.processes[p.index()].alive.as_ref();
        alive.and_then(|a| a.view.as_ref()).is_some_and(service::is_full)
    }

    fn serves(self, p: ProcessId) -> bool {
        self.processes[p.index()].alive.as_ref().is_some_and(|a| a.view.is_some())
    }
}

/// An event for a process, if there is one.
pub(super) type Asked = Option<(ProcessId, Event)>;

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) rng: Rng,
    clients: Vec<Client>,
    recorder: Recorder,
    next: RequestId,
    /// Who waits for a request.
    owners: BTreeMap<RequestId, usize>,
    answered: BTreeSet<RequestId>,
    /// The greatest revision that anyone was told.
    revision: u64,
    /// Steps that a client waits before it asks elsewhere.
    patience: u64,
    /// Ticks that a process may take.
    ticks: Ticks,
    /// Whether space is short for the last time.
    calm: bool,
    /// Sizes of values.
    sizes: Sizes,
    /// Keys that a transaction may look at.
    visits: u64,
    /// Whether clients begin no more operations.
    stopped: bool,
    /// The step at which the last of those operations ended that no order explains.
    pub(super) accused: Option<u64>,
}

impl Clients {
    pub(super) fn new(
        mut rng: Rng,
        clients: usize,
        keys: &[String],
        ticks: Ticks,
        sizes: Sizes,
        visits: u64,
    ) -> Self {
        let mix = Mix { put: 45, get: 25, serializable: 15, delete: 3, cas: 12, txn: 0 };
        let patience = 300 << rng.u32(..4);
        let clients = (0..clients).map(|number| Client {
            workload: Workload::new(format!("c{number}"), keys.into(), mix, rng.fork()),
            sessions: number % 3 == 0,
            session: None,
            waiting: None,
            persists: false,
        });
        Self {
            clients: clients.collect(),
            rng,
            recorder: Recorder::new(CAPACITY),
            next: 1,
            owners: BTreeMap::new(),
            answered: BTreeSet::new(),
            revision: 1,
            patience,
            ticks,
            calm: false,
            sizes,
            visits,
            stopped: false,
            accused: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Nobody says any more that space is short: whoever sees that it is says that it is not.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
    }

    /// No operation begins any more, and what is still asked for may take so long.
    pub(super) fn stop(&mut self, ticks: Ticks) {
        (self.stopped, self.ticks) = (true, ticks);
    }

    /// How many clients wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.clients.iter().filter(|c| c.waiting.is_some()).count()
    }

    /// A client's turn: it begins an operation, or loses patience with the one that it began.
    pub(super) fn act(&mut self, number: usize, world: Glimpse<'_>, coverage: &mut Coverage) -> Asked {
        match self.clients[number].waiting.clone() {
            None if self.stopped => None,
            None => self.begin(number, world, coverage),
            Some(waiting) => self.lose_patience(number, waiting, world, coverage),
        }
    }

    fn pick(&mut self, world: Glimpse<'_>) -> Option<ProcessId> {
        let at = ProcessId(self.rng.u8(..world.processes.len() as u8));
        world.life(at).map(|_| at)
    }

    fn begin(&mut self, number: usize, world: Glimpse<'_>, coverage: &mut Coverage) -> Asked {
        let at = self.pick(world)?;
        if self.rng.u8(..64) == 0 {
            let command = service::compact(self.revision.saturating_sub(self.rng.u64(..16)));
            return self.ask(number, at, world, Job::Upkeep { command }, false);
        }
        let short = world.is_full(at);
        let change = if short { self.rng.u8(..16) == 0 } else { !self.calm && self.rng.u8(..=255) == 0 };
        if change {
            // Members say so each for itself, and somebody that there is room again everywhere.
            let raised = !short || self.rng.u8(..4) == 0;
            let command = service::space_is_short(raised.then_some(number as u64 % 3));
            return self.ask(number, at, world, Job::Upkeep { command }, false);
        }
        let client = &mut self.clients[number];
        if client.sessions && client.session.is_none() {
            return self.ask(number, at, world, Job::Open, false);
        }
        client.workload.pad(self.sizes.draw(&mut self.rng));
        let call = client.workload.draw();
        if let Call::Get { key, serializable: true } = &call {
            if !world.serves(at) {
                return None;
            }
            let (value, revision) = world.read(at, key)?;
            let handle = self.invoke(number, call.clone(), world.now);
            coverage.stale_reads += 1;
            self.settle(number, (&call, handle), (Reply::Get(value), revision), world.replica(at), world.now);
            return None;
        }
        let session = match (&call, &mut client.session) {
            (Call::Get { .. }, _) | (_, None) => None,
            (_, Some(session)) => {
                session.seq += 1;
                // At times it does not say which replies it has received.
                if self.rng.u8(..3) != 0 {
                    session.low = session.seq;
                }
                Some(*session)
            }
        };
        let reads = match self.rng.u8(..8) {
            0 => self.rng.usize(..8),
            1 if self.visits < MOST_READS => self.visits as usize,
            _ => 0,
        };
        let command = match &call {
            Call::Get { .. } => Bytes::new(),
            call => service::encode(call, session, reads),
        };
        let handle = self.invoke(number, call.clone(), world.now);
        self.ask(number, at, world, Job::Call { call, handle, command }, false)
    }

    fn invoke(&mut self, number: usize, call: Call, now: u64) -> Handle {
        self.recorder.invoke(number as u64, call, now).expect("runs are shorter than the recorder's capacity")
    }

    fn ask(&mut self, number: usize, at: ProcessId, world: Glimpse<'_>, job: Job, doubtful: bool) -> Asked {
        let (life, since) = (Some(world.life(at)?), world.now);
        let request = self.next;
        self.next += 1;
        self.owners.insert(request, number);
        let patience = self.ticks;
        let command = match &job {
            Job::Call { call: Call::Get { .. }, .. } => None,
            Job::Call { command, .. } | Job::Upkeep { command } => Some(command.clone()),
            Job::Open => Some(service::open_session()),
            Job::Close { session, .. } => Some(service::close_session(*session)),
        };
        self.clients[number].waiting = Some(Waiting { request, at, life, since, job, doubtful });
        let event = match command {
            None => Event::Read { request, patience },
            Some(command) => Event::Execute { request, command, patience },
        };
        Some((at, event))
    }

    fn lose_patience(
        &mut self,
        number: usize,
        waiting: Waiting,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Asked {
        let gone = waiting.life.is_none() || world.life(waiting.at) != waiting.life;
        // In the end everyone waits for as long as it takes.
        if !gone && (self.stopped || world.now - waiting.since < self.patience) {
            return None;
        }
        let (at, request) = (waiting.at, waiting.request);
        let next = self.give_up(number, waiting, true, world, coverage);
        if next.is_none() && !gone && self.rng.bool() {
            return Some((at, Event::Cancel { request }));
        }
        next
    }

    /// A try got no answer. `doubtful` says whether it may have been executed.
    fn give_up(
        &mut self,
        number: usize,
        waiting: Waiting,
        doubtful: bool,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Asked {
        self.owners.remove(&waiting.request);
        let doubtful = doubtful || waiting.doubtful;
        let (call, handle, command) = match waiting.job {
            Job::Open | Job::Upkeep { .. } => {
                self.clients[number].waiting = None;
                return None;
            }
            Job::Call { call, handle, command } | Job::Close { call, handle, command, .. } => {
                (call, handle, command)
            }
        };
        if let Some(session) = self.clients[number].session
            && !command.is_empty()
            && !self.stopped
            && self.rng.u8(..8) != 0
        {
            // Again, at another process; where that one is down, later.
            let (call, command) = (call.clone(), command.clone());
            let job = match self.rng.u8(..6) {
                0 => Job::Close { session: session.id, call, handle, command },
                _ => Job::Call { call, handle, command },
            };
            if let Some(at) = self.pick(world) {
                coverage.retries += 1;
                return self.ask(number, at, world, job, doubtful);
            }
            let since = world.now;
            self.clients[number].waiting = Some(Waiting { job, doubtful, since, life: None, ..waiting });
            return None;
        }
        self.clients[number].waiting = None;
        // A session goes on with its next call: the watermark says that nobody waits for this one.
        let outcome = match call {
            Call::Get { .. } => Outcome::Fail,
            _ if !doubtful => Outcome::Fail,
            _ => {
                coverage.unknown += 1;
                Outcome::Unknown
            }
        };
        self.recorder.complete(handle, outcome, world.now);
        None
    }

    /// A call has its answer.
    fn settle(
        &mut self,
        number: usize,
        (call, handle): (&Call, Handle),
        (reply, revision): (Reply, u64),
        replica: u64,
        now: u64,
    ) {
        self.revision = self.revision.max(revision);
        self.clients[number].workload.observe(call, &reply);
        let outcome = Outcome::Ok { reply, revision: Some(revision), replica: Some(replica) };
        self.recorder.complete(handle, outcome, now);
    }

    /// A process answers somebody. Returns what the client asks next, if it does so at once.
    pub(super) fn upon(
        &mut self,
        at: ProcessId,
        indication: &service::Up,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Result<Asked, Failure> {
        let (Indication::Reply { request, .. }
        | Indication::Readable { request }
        | Indication::Refused { request, .. }) = indication
        else {
            return Ok(None);
        };
        ensure(self.answered.insert(*request), Property::AtMostOnce, || {
            format!("{at} answers request {request} a second time")
        })?;
        let Some(number) = self.owners.get(request).copied() else { return Ok(None) };
        let Some(waiting) = self.clients[number].waiting.clone() else { return Ok(None) };
        if let Indication::Refused { why, .. } = indication {
            coverage.refused_growth += u64::from(*why == Refusal::NoSpace);
            if *why == Refusal::TooMany && self.clients[number].persists {
                self.owners.remove(request);
                return Ok(self.ask(number, at, world, waiting.job, waiting.doubtful));
            }
            if *why == Refusal::LeaderChanged && self.clients[number].persists {
                // A snapshot covered the command, so that nobody knows its reply.
                self.clients[number].persists = false;
                self.give_up(number, waiting, true, world, coverage);
                return Ok(self.probe(at, world));
            }
            let doubtful = match why {
                Refusal::NoLeader | Refusal::TooMany | Refusal::NoSpace | Refusal::Corrupt => false,
                Refusal::TooLarge => {
                    coverage.too_large += 1;
                    false
                }
                Refusal::TimedOut | Refusal::LeaderChanged => true,
            };
            return Ok(self.give_up(number, waiting, doubtful, world, coverage));
        }
        self.owners.remove(request);
        self.clients[number].waiting = None;
        match indication {
            Indication::Reply { reply, .. } => {
                coverage.replies += 1;
                self.upon_reply(number, waiting, reply, world, coverage)
            }
            _ => {
                let Job::Call { call: call @ Call::Get { key, .. }, handle, .. } = &waiting.job else {
                    return Err(nonsense(at, &waiting.job, "go on and read"));
                };
                coverage.reads += 1;
                match world.read(at, key) {
                    Some((value, revision)) => {
                        let answer = (Reply::Get(value), revision);
                        self.settle(number, (call, *handle), answer, world.replica(at), world.now);
                    }
                    None => self.recorder.complete(*handle, Outcome::Fail, world.now),
                }
                Ok(None)
            }
        }
    }

    fn upon_reply(
        &mut self,
        number: usize,
        waiting: Waiting,
        reply: &service::Reply,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Result<Asked, Failure> {
        let (at, doubtful) = (waiting.at, waiting.doubtful);
        match waiting.job {
            Job::Upkeep { .. } => {}
            Job::Open => match service::answer(None, reply) {
                Answer::SessionOpened(id) => {
                    self.clients[number].session = Some(Session { id, seq: 0, low: 0 })
                }
                other => return Err(nonsense(at, &Job::Open, &format!("{other:?}"))),
            },
            Job::Close { call, handle, command, .. } => {
                // Whatever became of the call, nothing becomes of it from now on.
                let job = Job::Call { call, handle, command };
                return Ok(self.ask(number, at, world, job, doubtful));
            }
            Job::Call { call, handle, command } => match service::answer(Some(&call), reply) {
                Answer::Done { reply, revision } => {
                    let costs = if reply == Reply::Cas(true) { service::least_cost(&command) } else { 0 };
                    ensure(costs <= self.visits, Property::BoundedCost, || {
                        let may = self.visits;
                        format!(
                            "{at} executed a transaction that looks at {costs} keys at least, and may at {may}"
                        )
                    })?;
                    self.settle(number, (&call, handle), (reply, revision), world.replica(at), world.now);
                }
                Answer::SessionLost => {
                    self.clients[number].session = None;
                    let outcome = if doubtful { Outcome::Unknown } else { Outcome::Fail };
                    self.recorder.complete(handle, outcome, world.now);
                }
                Answer::NoSpace => self.recorder.complete(handle, Outcome::Fail, world.now),
                Answer::TooCostly => {
                    coverage.refused_costs += 1;
                    self.recorder.complete(handle, Outcome::Fail, world.now);
                }
                Answer::TooManyCalls => {
                    if let Some(session) = &mut self.clients[number].session {
                        session.low = session.seq;
                    }
                    let outcome = if doubtful { Outcome::Unknown } else { Outcome::Fail };
                    self.recorder.complete(handle, outcome, world.now);
                }
                Answer::ReplyLost => self.recorder.complete(handle, Outcome::Unknown, world.now),
                other => {
                    let job = Job::Call { call, handle, command };
                    return Err(nonsense(at, &job, &format!("{other:?}")));
                }
            },
        }
        Ok(None)
    }

    /// A put at one process, by a client of its own: where faults have stopped it must be answered.
    pub(super) fn probe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        self.put(PROBE, at, 0, world)
    }

    /// A put of so many bytes at one process, by a client of its own.
    pub(super) fn burden(&mut self, at: ProcessId, size: usize, world: Glimpse<'_>) -> Asked {
        self.put(BURDEN, at, size, world)
    }

    fn put(&mut self, key: &str, at: ProcessId, size: usize, world: Glimpse<'_>) -> Asked {
        let number = self.clients.len();
        let mut workload = Workload::new(format!("p{number}"), vec![key.into()], Mix::PUTS, self.rng.fork());
        workload.pad(size);
        let persists = key == PROBE;
        self.clients.push(Client { workload, sessions: false, session: None, waiting: None, persists });
        let call = self.clients[number].workload.draw();
        let command = service::encode(&call, None, 0);
        let handle = self.invoke(number, call.clone(), world.now);
        self.ask(number, at, world, Job::Call { call, handle, command }, false)
    }

    /// Whether every probe got its answer.
    pub(super) fn probes_answered(&self) -> bool {
        let failed = |o: &Operation| o.reply().is_none() && self.clients[o.client as usize].persists;
        !self.recorder.operations().iter().any(failed)
    }

    /// Judges what all clients saw.
    pub(super) fn judge(&mut self, coverage: &mut Coverage) -> Verdict {
        let report = verify(self.recorder.operations(), &Limits::default());
        coverage.undecided += u64::from(!report.undecided.is_empty());
        let Some(violation) = report.violations.first() else { return Ok(()) };
        self.accused = violation.operations.iter().filter_map(|o| o.end_ns).max();
        let operations = violation.operations.iter().map(|o| {
            let end = o.end_ns.map_or("∞".into(), |e| e.to_string());
            format!("\n      client {} [{}, {end}]  {o}", o.client, o.start_ns)
        });
        let operations: String = operations.collect();
        let detail = format!("{}: {}{operations}", violation.property, violation.statement);
        Err(Failure { property: Property::ClientHistory, detail })
    }
}

fn nonsense(at: ProcessId, job: &Job, answer: &str) -> Failure {
    let asked = match job {
        Job::Call { call, .. } => format!("{call:?}"),
        Job::Open => "a session to be opened".into(),
        Job::Close { .. } => "a session to be closed".into(),
        Job::Upkeep { .. } => "a compaction, or the space alarm".into(),
    };
    Failure {
        property: Property::ClientHistory,
        detail: format!("asked for {asked}, {at} answers: {answer}"),
    }
}
