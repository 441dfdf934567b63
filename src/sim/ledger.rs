//! Clients of the ledger: they propose, begin transactions, vote and acknowledge, publish, read, receive;
//! and upkeep, which says at the leader whose time ran out. What they are told goes to the monitors.

use super::clients::{Asked, Glimpse, Life};
use super::coverage::Coverage;
use super::monitors::{Commits, Decisions, Publications, Shown};
use super::property::{Failure, Property, Verdict, ensure};
use super::receivers::{Receivers, Turn};
use super::service::Up;
use super::sizes::{Sizes, padded};
use crate::atomic_commit::{Reason, Timeouts, Vote};
use crate::broadcast::{Either, PublicationError, Publisher};
use crate::kernel::{Mutants, ProcessId, ReplicatedBounds, SharedBounds, Ticks};
use crate::ledger::{Command, Error, Response, View};
use crate::stack::{Event, Indication, Refusal, RequestId, Role};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;

const TOPICS: [&str; 2] = ["news", "weather"];
const PARTICIPANTS: [&str; 3] = ["a", "b", "c"];
/// Requests of these clients are numbered from here on.
const FIRST: RequestId = 1 << 33;
/// Instances of a run, beside the probes.
const INSTANCES: usize = 40;

/// What a client waits for.
#[derive(Clone, Debug)]
struct Waiting {
    request: RequestId,
    at: ProcessId,
    life: Life,
    since: u64,
    job: Job,
}

#[derive(Clone, Debug)]
enum Job {
    Execute(Command),
    /// Receive for a subscriber; in the end, all there is.
    Receive(usize, bool),
}

#[derive(Debug, Default)]
struct Client {
    waiting: Option<Waiting>,
    publisher: Option<Publisher>,
    /// A publication that has no answer yet: it is sent until it has.
    unpublished: Option<Command>,
    /// Where it reads each topic.
    cursors: [u64; TOPICS.len()],
    /// A probe, to be made again: its process took no more, or could not say what became of it.
    again: Option<(ProcessId, Job)>,
}

/// What a process does by itself while it leads.
#[derive(Debug)]
struct Upkeep {
    /// The life in which it does.
    life: Option<Life>,
    timeouts: Timeouts,
    /// Transactions whose time ran out, and it has not come to saying so; the oldest first.
    late: BTreeSet<(u64, Arc<str>)>,
}

impl Upkeep {
    fn new(life: Option<Life>, mutants: Mutants) -> Self {
        Self { life, timeouts: Timeouts::new(mutants), late: BTreeSet::new() }
    }
}

/// All clients of the ledger; the last ones are the upkeep, one for each process.
#[derive(Debug)]
pub(super) struct LedgerClients {
    rng: Rng,
    clients: Vec<Client>,
    upkeep: Vec<Upkeep>,
    decisions: Decisions,
    commits: Commits,
    publications: Publications,
    receivers: Receivers,
    next: RequestId,
    /// Values drawn so far: no two are the same.
    drawn: u64,
    answered: BTreeSet<RequestId>,
    instances: usize,
    bounded: bool,
    /// What they were before the end.
    before: ReplicatedBounds,
    /// Clients from here on are probes.
    first_probe: usize,
    probes: Vec<String>,
    patience: Ticks,
    /// What the ledger is bounded to, once somebody has said so.
    bounds: ReplicatedBounds,
    /// Sizes of publications.
    sizes: Sizes,
    stopped: bool,
    mutants: Mutants,
}

impl LedgerClients {
    pub(super) fn new(
        mut rng: Rng,
        clients: usize,
        processes: usize,
        patience: Ticks,
        (bounds, shared): (ReplicatedBounds, SharedBounds),
        mutants: Mutants,
    ) -> Self {
        let around = [bounds.publication_bytes as usize, bounds.topic_bytes as usize];
        Self {
            before: bounds,
            first_probe: clients,
            bounds,
            sizes: Sizes::around(around, &mut rng),
            rng,
            clients: (0..clients + processes).map(|_| Client::default()).collect(),
            upkeep: (0..processes).map(|_| Upkeep::new(None, mutants)).collect(),
            decisions: Decisions::default(),
            commits: Commits::default(),
            publications: Publications::default(),
            receivers: Receivers::new(TOPICS, shared, mutants),
            next: FIRST,
            drawn: 0,
            answered: BTreeSet::new(),
            instances: 0,
            bounded: false,
            probes: Vec::new(),
            patience,
            stopped: false,
            mutants,
        }
    }

    /// How many may act: the last number stands for the upkeep of any process.
    pub(super) fn len(&self) -> usize {
        self.programs() + 1
    }

    /// How many are programs.
    fn programs(&self) -> usize {
        self.clients.len() - self.upkeep.len()
    }

    /// Nothing begins any more; upkeep goes on. There is room for everything from now on: what is
    /// probed must be taken.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.bounds = ReplicatedBounds::MOST;
        self.bounded = false;
    }

    /// How many requests of processes that stayed up have no answer, but for those of upkeep.
    pub(super) fn waiting(&self) -> usize {
        let waits = |c: &&Client| c.waiting.is_some() || c.again.is_some();
        self.clients[..self.programs()].iter().filter(waits).count()
    }

    /// A client's turn.
    pub(super) fn act(
        &mut self,
        number: usize,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Result<Asked, Failure> {
        let at = ProcessId(self.rng.u8(..world.processes.len() as u8));
        if let Some((at, job)) = self.clients.get_mut(number).and_then(|c| c.again.take()) {
            return Ok(self.do_again(number, at, job, world));
        }
        // Once nothing begins any more, programs help to say whose time ran out.
        let helps = self.stopped && number < self.programs() && self.clients[number].waiting.is_none();
        let upkeep = number == self.programs() || helps;
        let number = if upkeep { self.programs() + at.index() } else { number };
        if let Some(waiting) = &self.clients[number].waiting {
            if world.life(waiting.at) != Some(waiting.life) {
                self.clients[number].waiting = None;
            }
            return Ok(None);
        }
        if upkeep && self.stopped && !self.bounded {
            return Ok(self.ask(number, at, Command::SetBounds(self.bounds.into()), world));
        }
        if upkeep {
            return Ok(self.keep_up(number, at, world));
        }
        match self.rng.u8(..8) {
            0 | 1 => {
                self.read(number, at, world, coverage)?;
                return Ok(None);
            }
            2 | 3 if self.bounded => return self.receive(number, at, world, coverage),
            _ => {}
        }
        Ok(match self.draw(number, view(world, at), coverage) {
            Some(command) => self.ask(number, at, command, world),
            None => None,
        })
    }

    /// A client does something for a subscriber.
    fn receive(
        &mut self,
        number: usize,
        at: ProcessId,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Result<Asked, Failure> {
        let Some(view) = view(world, at) else { return Ok(None) };
        Ok(match self.receivers.draw(&mut self.rng, view) {
            Some(Turn::Execute(command)) => self.ask(number, at, command, world),
            Some(Turn::Receive(subscriber)) => self.ask_to_receive(number, at, (subscriber, false), world),
            Some(Turn::ReceiveAtOnce(subscriber)) => {
                let shown = Shown { at, view, since: world.now, now: world.now };
                self.receivers.receive(subscriber, shown, &mut self.publications, false, coverage)?;
                None
            }
            None => None,
        })
    }

    /// Says at a leader whose time ran out, sooner or later, as that measures it; and at times what
    /// another leader has said before.
    fn keep_up(&mut self, number: usize, at: ProcessId, world: Glimpse<'_>) -> Asked {
        let (life, process) = (world.life(at), &world.processes[at.index()]);
        let upkeep = &mut self.upkeep[at.index()];
        let leads = process.alive.as_ref().is_some_and(|a| a.stack.status().role == Role::Leader);
        if !leads || upkeep.life != life {
            *upkeep = Upkeep::new(life, self.mutants);
            return None;
        }
        let late = upkeep.timeouts.look(process.ticks, view(world, at)?.transactions());
        upkeep.late.extend(late.into_iter().map(|(name, begun)| (begun, name)));
        let haste = if self.stopped { 0 } else { self.rng.u8(..8) };
        let (begun, name) = match haste {
            0..4 => upkeep.late.pop_first()?,
            4 => self.commits.late_before(self.rng.usize(..64)).cloned()?,
            _ => return None,
        };
        self.commits.late(&name, begun);
        self.ask(number, at, Command::TimeOut { transaction: name.to_string(), begun }, world)
    }

    /// What a client wants, from what it sees at a process.
    fn draw(&mut self, number: usize, view: Option<&View>, coverage: &mut Coverage) -> Option<Command> {
        if !self.bounded {
            return Some(Command::SetBounds(self.bounds.into()));
        }
        // Counted apart from requests: what is drawn may find nobody to ask, and be asked later.
        self.drawn += 1;
        let text = format!("v{}", self.drawn);
        Some(match self.rng.u8(..10) {
            0 | 1 => {
                self.instances = (self.instances + self.rng.usize(..2)).min(INSTANCES);
                let instance = format!("i{}", self.rng.usize(..=self.instances));
                self.propose(instance, text.into())
            }
            2 => {
                let again = self.rng.u8(..4) == 0;
                let transaction = if again { format!("r{}", self.rng.u8(..2)) } else { format!("t{text}") };
                let participants = &PARTICIPANTS[..self.rng.usize(1..=3)];
                let participants = participants.iter().map(|p| (*p).to_owned()).collect();
                Command::Begin { transaction, participants, timeout: self.rng.u64(10..300) }
            }
            3..=5 => {
                let table = view?.transactions().table();
                let transaction = table.keys().nth(self.rng.usize(..table.len().max(1)))?.to_string();
                let participant = self.participant();
                let vote = match self.rng.u8(..8) {
                    0 => Vote::No(Reason::Integrity),
                    1 if self.rng.bool() => Vote::No(Reason::Other(text)),
                    _ => Vote::Yes,
                };
                self.commits.votes(&transaction, &participant, &vote);
                Command::Vote { transaction, participant, vote }
            }
            6 | 7 => {
                let participant = self.participant();
                let (transaction, _) = view?.owed(&participant).next()?;
                self.commits.acknowledges(&transaction, &participant);
                Command::Acknowledge { transaction: transaction.to_string(), participant }
            }
            _ => {
                let size = self.sizes.draw(&mut self.rng);
                self.publish(number, padded(&text, size).into(), coverage)
            }
        })
    }

    fn participant(&mut self) -> String {
        PARTICIPANTS[self.rng.usize(..PARTICIPANTS.len())].to_owned()
    }

    fn propose(&mut self, instance: String, value: Bytes) -> Command {
        self.decisions.proposes(&instance, value.clone());
        Command::Propose { instance, value }
    }

    /// A publication of a publisher is repeated until it is answered; one without is not.
    fn publish(&mut self, number: usize, payload: Bytes, coverage: &mut Coverage) -> Command {
        let client = &mut self.clients[number];
        if let Some(unpublished) = &client.unpublished {
            coverage.republished += 1;
            return unpublished.clone();
        }
        let topic = TOPICS[self.rng.usize(..TOPICS.len())];
        if self.rng.u8(..3) == 0 {
            self.publications.publishes(topic, payload.clone());
            return Command::Publish { topic: topic.to_owned(), publisher: None, payload };
        }
        let Some(publisher) = &mut client.publisher else { return Command::OpenPublisher };
        publisher.seq += 1;
        let publisher = Some(*publisher);
        self.publications.publishes(topic, payload.clone());
        let command = Command::Publish { topic: topic.to_owned(), publisher, payload };
        client.unpublished = Some(command.clone());
        command
    }

    /// Once more, what a process did not take.
    fn do_again(&mut self, number: usize, at: ProcessId, job: Job, world: Glimpse<'_>) -> Asked {
        match job {
            Job::Execute(command) => self.ask(number, at, command, world),
            Job::Receive(subscriber, end) => self.ask_to_receive(number, at, (subscriber, end), world),
        }
    }

    fn ask(&mut self, number: usize, at: ProcessId, command: Command, world: Glimpse<'_>) -> Asked {
        let patience = self.patience;
        let event = |request| Event::Execute { request, command: command.encode(), patience };
        self.await_answer(number, at, event, Job::Execute(command.clone()), world)
    }

    /// A read barrier at a process: it delivers what it shows behind that.
    fn ask_to_receive(
        &mut self,
        number: usize,
        at: ProcessId,
        (subscriber, end): (usize, bool),
        world: Glimpse<'_>,
    ) -> Asked {
        let patience = self.patience;
        let event = |request| Event::Read { request, patience };
        self.await_answer(number, at, event, Job::Receive(subscriber, end), world)
    }

    fn await_answer(
        &mut self,
        number: usize,
        at: ProcessId,
        event: impl FnOnce(RequestId) -> Event,
        job: Job,
        world: Glimpse<'_>,
    ) -> Asked {
        let life = world.life(at)?;
        let request = self.next;
        self.next += 1;
        self.clients[number].waiting = Some(Waiting { request, at, life, since: world.now, job });
        Some((at, event(request)))
    }

    /// A client reads a topic from its cursor, at a process.
    fn read(&mut self, number: usize, at: ProcessId, world: Glimpse<'_>, coverage: &mut Coverage) -> Verdict {
        let Some(view) = view(world, at) else { return Ok(()) };
        let topic = self.rng.usize(..TOPICS.len());
        let cursor = &mut self.clients[number].cursors[topic];
        match view.read(TOPICS[topic], *cursor, usize::MAX, usize::MAX) {
            Ok(found) => {
                self.publications.reads(at, TOPICS[topic], (*cursor, view.end()), &found)?;
                *cursor = found.last().map_or(*cursor, |last| last.position + 1);
            }
            Err(PublicationError::FellOff { oldest, .. }) => {
                coverage.readers_fell_off += 1;
                *cursor = oldest;
            }
            // This process is behind the one that was read before.
            Err(PublicationError::Ahead { .. }) => {}
            Err(other) => return nonsense(at, &other.to_string()),
        }
        Ok(())
    }

    /// Whether these clients asked for what is indicated.
    pub(super) fn asked(&self, indication: &Up) -> bool {
        match indication {
            Indication::Reply { request, .. }
            | Indication::Readable { request }
            | Indication::Refused { request, .. } => *request >= FIRST,
            Indication::Returned { .. }
            | Indication::Publish { .. }
            | Indication::Fetch { .. }
            | Indication::Topics(_)
            | Indication::HandedOver
            | Indication::Diverged
            | Indication::LogsDiffer(_) => false,
        }
    }

    /// A process shows a state.
    pub(super) fn shows(&mut self, p: ProcessId, view: &View, coverage: &mut Coverage) -> Verdict {
        self.decisions.shows(p, view)?;
        self.commits.shows(p, view, coverage)
    }

    /// A process answers.
    pub(super) fn upon(
        &mut self,
        at: ProcessId,
        indication: &Up,
        world: Glimpse<'_>,
        coverage: &mut Coverage,
    ) -> Verdict {
        let (Indication::Reply { request, .. }
        | Indication::Readable { request }
        | Indication::Refused { request, .. }) = indication
        else {
            return Ok(());
        };
        ensure(self.answered.insert(*request), Property::AtMostOnce, || {
            format!("{at} answers request {request} a second time")
        })?;
        let is_mine = |c: &Client| c.waiting.as_ref().is_some_and(|w| w.request == *request && w.at == at);
        let Some(number) = self.clients.iter().position(is_mine) else { return Ok(()) };
        let Some(waiting) = self.clients[number].waiting.take() else { return Ok(()) };
        let shows = view(world, at);
        let shown = shows.map(|view| Shown { at, view, since: waiting.since, now: world.now });
        let (command, reply) = match (waiting.job, indication) {
            (_, Indication::Refused { why: Refusal::TooLarge, .. }) => {
                coverage.too_large += 1;
                self.clients[number].unpublished = None;
                return Ok(());
            }
            // What it proposed may be decided, and who proposes it again learns that.
            (job, Indication::Refused { .. }) if self.is_probe(number) => {
                self.clients[number].again = Some((at, job));
                return Ok(());
            }
            (_, Indication::Refused { .. }) => return Ok(()),
            (Job::Receive(subscriber, end), Indication::Readable { .. }) => {
                let Some(shown) = shown else { return Ok(()) };
                return self.receivers.receive(subscriber, shown, &mut self.publications, end, coverage);
            }
            (Job::Execute(command), Indication::Reply { reply: Either::Second(reply), .. }) => {
                (command, reply)
            }
            (job, _) => return nonsense(at, &format!("something else, to {job:?}")),
        };
        if let Some(verdict) = shown.and_then(|shown| self.receivers.upon(&command, reply, shown)) {
            return verdict;
        }
        let end = shows.map_or(u64::MAX, View::end);
        match (command, reply) {
            (Command::Propose { instance, .. }, Ok(Response::Decided(value))) => {
                coverage.decisions += 1;
                self.decisions.decides(at, &instance, value, end)
            }
            (command @ Command::Propose { .. }, Err(Error::Propose(_))) if self.is_probe(number) => {
                self.bounded = false;
                self.clients[number].again = Some((at, Job::Execute(command)));
                Ok(())
            }
            (Command::Propose { instance, value }, Err(error)) => {
                let room = shows.is_some_and(|view| has_room(&self.before, view, &value));
                ensure(!room, Property::ConsensusTermination, || {
                    format!("{at} refuses a proposal to {instance}, for which there is room: {error}")
                })
            }
            (
                Command::Begin { .. }
                | Command::Vote { .. }
                | Command::TimeOut { .. }
                | Command::Acknowledge { .. },
                Ok(Response::Transaction(status)),
            ) => self.commits.tells(at, status, coverage),
            (_, Err(Error::Commit(_))) => Ok(()),
            (Command::OpenPublisher, Ok(Response::PublisherOpened(id))) => {
                self.clients[number].publisher = Some(Publisher { id: *id, seq: 0 });
                Ok(())
            }
            (Command::Publish { topic, publisher, payload }, Ok(Response::Published(position))) => {
                coverage.ordered += 1;
                if publisher.is_some() {
                    self.clients[number].unpublished = None;
                }
                let topic = TOPICS.into_iter().find(|t| *t == topic).unwrap_or_default();
                self.publications.tells(at, topic, *position, &payload)
            }
            (
                Command::Publish { publisher, payload, .. },
                Err(Error::Publication(PublicationError::TooLarge { .. })),
            ) if payload.len() as u64 > self.before.publication_bytes => {
                coverage.too_large += 1;
                if publisher.is_some() {
                    self.clients[number].unpublished = None;
                }
                Ok(())
            }
            (
                Command::Publish { publisher, .. },
                Err(Error::Publication(PublicationError::TooManyTopics { .. })),
            ) => {
                if publisher.is_some() {
                    self.clients[number].unpublished = None;
                }
                Ok(())
            }
            (Command::Publish { .. }, Err(Error::Publication(PublicationError::PublisherUnknown { .. }))) => {
                self.clients[number].publisher = None;
                self.clients[number].unpublished = None;
                Ok(())
            }
            (Command::SetBounds(_), Ok(Response::Bounds(bounds))) => {
                self.bounded = *bounds == self.bounds;
                let asked = [self.bounds, self.before];
                ensure(asked.contains(bounds), Property::ClientHistory, || format!("{at} sets other bounds"))
            }
            (
                Command::Subscribe { .. } | Command::AcknowledgeDelivery { .. } | Command::Unsubscribe { .. },
                _,
            ) if shows.is_none() => Ok(()),
            (command, reply) => nonsense(at, &format!("{reply:?} to {command:?}")),
        }
    }

    /// Whether a client is a probe: those come after all others, once nothing begins any more.
    fn is_probe(&self, number: usize) -> bool {
        self.stopped && (self.first_probe..self.programs()).contains(&number)
    }

    /// Proposes to an instance of its own at one process: where faults have stopped all must learn
    /// the decision.
    pub(super) fn probe(&mut self, at: ProcessId, world: Glimpse<'_>) -> Asked {
        let (instance, number) = (format!("probe at {at}"), self.programs());
        self.probes.push(instance.clone());
        let command = self.propose(instance, "probed".into());
        self.clients.insert(number, Client::default());
        self.ask(number, at, command, world)
    }

    /// Receives at one process, for each subscriber: where faults have stopped all must be delivered.
    pub(super) fn probe_receipts(&mut self, at: ProcessId, world: Glimpse<'_>) -> Vec<Asked> {
        let mut asked = Vec::new();
        for subscriber in 0..self.receivers.len() {
            let number = self.programs();
            self.clients.insert(number, Client::default());
            asked.push(self.ask_to_receive(number, at, (subscriber, true), world));
        }
        asked
    }

    /// Whether everybody received who asked to.
    pub(super) fn receives(&self) -> bool {
        let waiting = self.clients.iter().filter_map(|client| client.waiting.as_ref());
        !waiting.into_iter().any(|waiting| matches!(waiting.job, Job::Receive(..)))
    }

    /// Whether a process shows the decision of every probe.
    pub(super) fn probes_decided(&self, view: Option<&View>) -> bool {
        view.is_some_and(|view| self.probes.iter().all(|probe| view.decision(probe).is_some()))
    }
}

/// Whether a ledger has room for the decision of one more instance.
fn has_room(bounds: &ReplicatedBounds, view: &View, value: &Bytes) -> bool {
    let decisions = view.instances().decisions();
    let bytes: usize = decisions.values().map(Bytes::len).sum();
    let size = value.len() as u64;
    size <= bounds.decision_bytes
        && (decisions.len() as u64) < bounds.instances
        && bytes as u64 + size <= bounds.decisions_bytes
}

/// What a process shows of its ledger.
fn view(world: Glimpse<'_>, p: ProcessId) -> Option<&View> {
    world.processes[p.index()].alive.as_ref()?.view.as_ref().map(|view| &view.second)
}

fn nonsense(at: ProcessId, answer: &str) -> Verdict {
    ensure(false, Property::ClientHistory, || format!("{at} answers a client of the ledger: {answer}"))
}

/// The state of a ledger, as far as it is compared.
pub(super) fn fold(view: &View, mut fold: impl FnMut(u64)) {
    let outcomes = view.transactions().table().values().filter(|t| t.outcome().is_some());
    let counts = [
        view.instances().len(),
        view.transactions().table().len(),
        outcomes.count(),
        view.publications().retained().len(),
        view.publications().publishers().len(),
    ];
    counts.into_iter().for_each(|count| fold(count as u64));
    view.subscribers().places().values().for_each(|place| fold(place.low));
    fold(view.end());
}
