//! The replica: one `Stack` type, in production and in the simulator.

mod hints;
mod routes;
mod upkeep;

use super::checkpoint::{CheckpointMeta, Checkpoints, ReplicaLoader};
use super::event::{Event, Indication, Refusal, RequestId, Role, Status};
use super::sweep::Sweeper;
use crate::broadcast::{
    CatchUp, CatchUpMessage, CrossCheck, Entry, Filter, Installed, Load, Reads, Source, StateMachine, Topics,
    TotalOrder,
};
use crate::consensus::{Detector, Distrust, Divergence, Facts, Gate, Members, SequencePaxos};
use crate::kernel::{
    Account, Ballot, Bound, Config, Held, Incarnation, Logged, LoggedLog, Memory, Mutant, ProcessId, Stored,
    Ticks, Turn, Undecodable,
};
use crate::register::{Registers, Return};
use bytes::Bytes;
use thiserror::Error;

type Out<'a, M> = &'a mut Held<Indication<<M as StateMachine>::Reply, <M as StateMachine>::View>>;

/// Why a process cannot start from what is stored.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StartError {
    /// A variable does not decode.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    /// Checkpoint and rows contradict each other.
    #[error("the stored checkpoint contradicts its rows: stable storage is damaged")]
    Checkpoint,
    /// The log does not continue the checkpoint.
    #[error(
        "the stored log starts at {first}, beyond the checkpoint of {applied}: stable storage is damaged"
    )]
    Log {
        /// The first entry kept.
        first: u64,
        /// The entries that the checkpoint covers.
        applied: u64,
    },
}

/// The modules of one process, from membership to the state machine.
///
/// Invariant: `checkpoint ≤ applied ≤ decided`; whatever is indicated depends only on stores of
/// this turn and of those before it.
#[derive(Debug)]
pub struct Stack<M: StateMachine> {
    config: Config,
    inc: Logged<Incarnation>,
    members: Members,
    detector: Detector,
    paxos: SequencePaxos,
    total_order: TotalOrder,
    reads: Reads,
    catch_up: CatchUp<ReplicaLoader<M::Loader>>,
    source: Source,
    registers: Registers,
    topics: Topics,
    machine: M,
    filter: Filter,
    cross_check: CrossCheck,
    checkpoints: Checkpoints,
    /// Entries applied to the machine.
    applied: u64,
    /// The entries of the view that was published last; nothing while nothing may be shown.
    published: Option<u64>,
    /// Whether somebody waits for leadership to be handed over.
    leaving: bool,
    /// Why this process does nothing any more.
    log_differs: Option<Divergence>,
    /// Since when something is worth remembering that is not stored: see [`Stack::remember`].
    unstored: Option<Ticks>,
    /// Clears away rows that nothing refers to.
    sweeper: Sweeper,
    now: Ticks,
}

impl<M: StateMachine> Stack<M> {
    /// Init when nothing is stored, Recovery otherwise: state comes from stable storage alone. The
    /// incarnation is counted in this first turn, so that nothing is sent before it is durable.
    pub fn start(
        config: Config,
        stored: Stored,
        turn: &mut Turn,
        up: Out<'_, M>,
    ) -> Result<Self, StartError> {
        let mut inc = Logged::recover("log/inc", &stored, 0)?.vote();
        if *inc == 0 || !config.mutants.on(Mutant::IncarnationKept) {
            inc.set(*inc + 1, turn);
        }
        let last = CheckpointMeta::recover(&stored)?;
        let mut loader = match &last {
            None => M::empty_loader(),
            Some(meta) => M::Loader::begin(&meta.machine).ok_or(StartError::Checkpoint)?,
        };
        let generation = last.as_ref().map_or(0, |meta| meta.generation);
        for (key, value) in stored.rows.iter().filter(|(key, _)| key.generation == generation) {
            if !loader.row(*key, value.clone()) {
                return Err(StartError::Checkpoint);
            }
        }
        let mut machine = M::load(loader).ok_or(StartError::Checkpoint)?;
        machine.configure(&config);
        let (mut filter, applied) = last.as_ref().map(|m| (m.filter.clone(), m.applied)).unwrap_or_default();
        if config.mutants.on(Mutant::FilterForgotten) {
            filter = Filter::default();
        }
        let members = Members::start(config.clone(), *inc, &stored, turn)?;
        let mut paxos = SequencePaxos::start(config.clone(), *inc, &stored, applied)?;
        paxos.boot(turn);
        if paxos.log().first() > applied {
            return Err(StartError::Log { first: paxos.log().first(), applied });
        }
        let generation = stored.rows.iter().map(|(key, _)| key.generation).max().unwrap_or(0);
        let mut sweeper = Sweeper::start(config.bounds.sweeps);
        let others = stored.rows.iter().map(|(key, _)| key.generation);
        others.filter(|other| *other != machine.generation()).for_each(|other| sweeper.add(other));
        let mut stack = Self {
            detector: Detector::start(config.clone(), *inc),
            total_order: TotalOrder::start(config.clone(), *inc),
            reads: Reads::start(config.clone(), *inc),
            catch_up: CatchUp::start(config.clone(), generation.max(machine.generation()) + 1),
            source: Source::start(config.clone()),
            registers: Registers::start(config.clone(), *inc, &stored)?,
            topics: Topics::start(config.clone(), *inc, &stored)?,
            cross_check: CrossCheck::start(config.clone()),
            checkpoints: Checkpoints::start(config.clone(), last),
            inc,
            members,
            paxos,
            machine,
            filter,
            applied,
            published: None,
            leaving: false,
            log_differs: None,
            unstored: None,
            sweeper,
            now: 0,
            config,
        };
        if stack.has_diverged() {
            up.expose(Indication::Diverged);
        }
        stack.settle(turn, up);
        Ok(stack)
    }

    /// One turn: reacts to everything that waited, and runs to quiescence.
    pub fn upon(&mut self, events: impl IntoIterator<Item = Event>, turn: &mut Turn, up: Out<'_, M>) {
        if self.log_differs.is_some() {
            return;
        }
        for event in events {
            self.handle(event, turn, up);
        }
        self.settle(turn, up);
        self.remember(turn);
    }

    /// The state of the process, for people, monitors and the layer above.
    pub fn status(&self) -> Status {
        let role = match (self.members.distrust(), self.members.is_formed()) {
            (Some(reason), _) => Role::Learner(reason),
            (None, false) => Role::Forming,
            (None, true) if self.paxos.leads() => Role::Leader,
            (None, true) if self.paxos.stands() => Role::Candidate,
            (None, true) => Role::Follower,
        };
        Status {
            role,
            incarnation: *self.inc,
            leader: self.leader().map(|b| b.process),
            promised: self.paxos.prom(),
            accepted: self.paxos.acc(),
            log_first: self.paxos.log().first(),
            log_len: self.paxos.log().len(),
            decided: self.paxos.decided(),
            applied: self.applied,
            checkpoint: self.checkpoints.applied(),
            serving: self.published.is_some(),
        }
    }

    /// The log, for monitors.
    pub fn log(&self) -> &LoggedLog {
        self.paxos.log()
    }

    /// The state machine, for monitors.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The at-most-once filter, for monitors.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The digests of the state, for monitors.
    pub fn cross_check(&self) -> &CrossCheck {
        &self.cross_check
    }

    /// What the last finished checkpoint says, for monitors.
    pub fn last_checkpoint(&self) -> Option<&CheckpointMeta> {
        self.checkpoints.last.as_ref()
    }

    /// What of the topics and registers would not be recovered as it is, for monitors: nothing, where
    /// all of it is stored.
    pub fn differs(&self, stored: &Stored) -> Option<&'static str> {
        let (config, inc) = (self.config.clone(), *self.inc);
        let topics =
            Topics::start(config.clone(), inc, stored).ok().map(|topics| self.topics.differs(&topics));
        let registers = Registers::start(config, inc, stored).ok().map(|r| self.registers.differs(&r));
        match (topics, registers) {
            (Some(None), Some(false)) => None,
            (Some(Some(what)), _) => Some(what),
            (None, _) => Some("topics, which do not decode,"),
            (_, Some(true)) => Some("registers"),
            (_, None) => Some("registers, which do not decode,"),
        }
    }

    /// The topics, for monitors.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// What its modules hold in memory, but for what waits for the disk.
    pub fn memory(&self) -> Vec<Memory> {
        let mut memory = self.topics.memory();
        memory.extend(self.machine.memory());
        memory.extend([self.registers.memory(), self.total_order.memory(), self.log_memory()]);
        memory
    }

    /// The log: below the checkpoint what is kept for others; above what comes until the next one begins,
    /// and while that is written, of which a piece takes twice what came meanwhile; and what is not decided.
    fn log_memory(&self) -> Memory {
        Memory { of: Account::Log, bytes: self.paxos.log().bytes(), most: self.log_bytes(3) }
    }

    /// What the log keeps for others, and so many times what a checkpoint covers.
    fn log_bytes(&self, checkpoints: usize) -> usize {
        let bounds = &self.config.bounds;
        let kept = bounds.tail_bytes.max(bounds.pinned_bytes);
        kept + checkpoints * (bounds.checkpoint_bytes + bounds.run_bytes())
    }

    /// The ballot of the leader, as far as is known here.
    fn leader(&self) -> Option<Ballot> {
        if self.paxos.leads() {
            return Some(self.paxos.ballot());
        }
        self.detector.trusted().filter(|b| b.process != self.config.me)
    }

    fn facts(&self) -> Facts {
        let voters = self.members.voters();
        Facts {
            booted: self.paxos.is_booted(),
            ballot: self.paxos.ballot(),
            engaged: self.paxos.leads() || self.paxos.stands(),
            prom: self.paxos.durable_prom(),
            overdue: self.paxos.sync_is_overdue(),
            votes: voters.contains(self.config.me),
            voters,
            yields: self.paxos.yields(),
        }
    }

    /// Gives a process that fell behind what it lacks.
    fn give(
        &mut self,
        to: ProcessId,
        asked: u64,
        snapshot: Option<(crate::broadcast::SnapshotId, (u64, u32))>,
        turn: &mut Turn,
        up: Out<'_, M>,
    ) {
        let (decided, log) = (self.paxos.decided(), self.paxos.log());
        if asked >= log.first() {
            let bounds = &self.config.bounds;
            if asked < self.tail().0 {
                self.source.keep(to, asked);
            }
            let count = bounds.frame_entries.min(decided.saturating_sub(asked) as usize);
            let entries = log.read(asked, count, bounds.frame_bytes);
            if asked + (entries.len() as u64) < decided {
                let full = entries.len() >= bounds.frame_entries;
                turn.hit(if full { Bound::FrameEntries } else { Bound::FrameBytes });
            }
            let end = decided.min(asked + entries.len() as u64);
            if let Some(hash) = self.paxos.hash_at(end) {
                let (prefix, prom) = ((end, hash), self.paxos.prom());
                turn.send(to, &CatchUpMessage::Entries { from: asked, entries, decided, prefix, prom });
            }
            return;
        }
        if self.has_diverged() {
            return; // its entries are those of all, its state is not
        }
        if !self.source.pins() {
            // While a checkpoint is being written its rows still change. Under load one follows the
            // other: this one is pinned when it is finished, before the next begins.
            if self.checkpoints.is_writing() {
                return self.source.want();
            }
            self.pin();
        }
        if let Some((ticket, from, end, max_bytes)) = self.source.upon_ask(to, snapshot) {
            up.expose(Indication::Fetch { ticket, from, end, max_bytes });
        }
    }

    /// Moves to a snapshot, all in this turn.
    fn install(&mut self, snapshot: Installed<ReplicaLoader<M::Loader>>, turn: &mut Turn, up: Out<'_, M>) {
        let Installed { applied, prom, loader } = snapshot;
        let ReplicaLoader { meta, machine } = loader;
        if meta.applied != applied || !self.paxos.may_install(applied, prom) {
            return self.sweeper.add(meta.generation);
        }
        let Some(mut machine) = M::load(machine) else {
            tracing::error!(process = %self.config.me, applied, "a snapshot contradicts itself: dropped");
            return self.sweeper.add(meta.generation);
        };
        tracing::info!(process = %self.config.me, applied, "installs a snapshot");
        machine.configure(&self.config);
        self.sweeper.add(self.machine.generation());
        self.machine = machine;
        self.filter = meta.filter.clone();
        self.cross_check.upon_installed();
        self.applied = applied;
        let prefix = (applied, meta.hash);
        self.checkpoints.install(meta, turn);
        self.source.unpin();
        self.paxos.learn_snapshot(prefix, prom, turn);
        self.catch_up.upon_installed(self.paxos.decided(), turn);
        let (filter, me) = (&self.filter, self.config.me);
        for request in self.total_order.take_done(|inc, seq| filter.is_done(me, inc, seq)) {
            up.expose(Indication::Refused { request, why: Refusal::LeaderChanged });
        }
    }

    fn tick(&mut self, turn: &mut Turn, up: Out<'_, M>) {
        self.now += 1;
        let facts = self.facts();
        self.paxos.set_voters(facts.voters);
        self.paxos.set_boots(self.members.boots());
        self.members.tick(self.now, turn);
        // While the disk hangs a candidacy would wait for it like the one before.
        if self.detector.tick(self.now, &facts, turn) && !turn.is_full() {
            self.paxos.stand(turn);
        }
        self.paxos.tick(self.now, self.detector.trusted(), self.detector.alive(), turn);
        for (request, given_up) in self.total_order.tick(self.now) {
            up.expose(Indication::Refused { request, why: given_up.into() });
        }
        for request in self.reads.tick(self.now) {
            let why = if self.leader().is_none() { Refusal::NoLeader } else { Refusal::TimedOut };
            up.expose(Indication::Refused { request, why });
        }
        returned(self.registers.tick(turn), up);
        self.topics.tick(turn);
        self.catch_up.tick(self.now, self.paxos.decided(), turn);
        if self.members.distrust().is_some()
            && self.now.is_multiple_of(self.config.timing.heartbeat)
            && let Some(leader) = self.leader()
        {
            self.catch_up.begin(leader.process, self.paxos.decided(), turn);
        }
        self.source.tick(self.now);
        self.catch_up.take_abandoned().into_iter().for_each(|generation| self.sweeper.add(generation));
        self.machine.maintain();
        self.keep_up(turn, up);
    }

    /// `upon condition`: what follows from what happened, until nothing does.
    fn settle(&mut self, turn: &mut Turn, up: Out<'_, M>) {
        self.paxos.set_voters(self.members.voters());
        self.paxos.set_boots(self.members.boots());
        if self.members.distrust().is_some() {
            self.refuse(up);
        }
        // First what is decided: an alarm among it keeps what grows from being proposed.
        let replies = self.apply(turn, up);
        let refused: Option<fn(&Bytes) -> bool> = self.refuses_growth().then_some(M::grows);
        if refused.is_some() {
            for (request, given_up) in self.total_order.shrink(M::grows) {
                up.expose(Indication::Refused { request, why: given_up.into() });
            }
        }
        for _ in 0..SETTLE_ROUNDS {
            let leader = self.leader();
            let leads = self.paxos.leads();
            self.total_order.dispatch(leader, leads, refused, turn);
            if let Some(number) = self.reads.dispatch(leader, leads, turn) {
                self.paxos.ask_read((self.config.me, *self.inc, number), turn);
            }
            while self.total_order.has_proposals() && self.paxos.accepts_proposals() {
                let entries = self.total_order.take_proposals(self.config.bounds.frame_bytes);
                self.paxos.propose(entries, turn);
            }
            if let Some(hit) = self.paxos.is_full().filter(|_| self.total_order.has_proposals()) {
                turn.hit(hit);
            }
            let notices = self.paxos.take_notices();
            let quiet = notices.is_empty();
            notices.into_iter().for_each(|notice| self.upon_notice(notice, turn));
            if let Some(divergence) = self.log_differs {
                return up.expose(Indication::LogsDiffer(divergence));
            }
            if quiet {
                break;
            }
        }
        // The view leaves before the replies: who was told of a write finds it, also in a
        // serializable read of the same process.
        self.publish(up);
        replies.into_iter().for_each(|(request, reply)| up.expose(Indication::Reply { request, reply }));
        if let Some(published) = self.published {
            for request in self.reads.take_ready(published) {
                up.expose(Indication::Readable { request });
            }
        }
        if self.leaving && !self.paxos.is_leaving() {
            self.leaving = false;
            up.expose(Indication::HandedOver);
        }
        self.topics.set_voters(self.members.voters());
        self.topics.settle(turn).into_iter().for_each(|told| up.expose(Indication::Topics(told)));
        if self.log_is_over() {
            self.keep_up(turn, up);
        }
    }

    /// Whether what grows is refused, here and at the head of the log: space is short, as of the
    /// commands executed here. (Executed, it is refused as well; but by then it is stored.)
    fn refuses_growth(&self) -> bool {
        self.machine.is_full() && !self.config.mutants.on(Mutant::NospaceAtApplyOnly)
    }

    /// A process that lost its memory names its commands and questions like those of the life that
    /// it forgot: it asks for nothing, lest it takes another answer for its own.
    fn refuse(&mut self, up: Out<'_, M>) {
        let diverged = self.has_diverged();
        for (request, given_up) in self.total_order.give_up() {
            let why = if diverged { Refusal::diverged(given_up) } else { given_up.into() };
            up.expose(Indication::Refused { request, why });
        }
        for request in self.reads.give_up() {
            let why = if diverged { Refusal::Corrupt } else { Refusal::NoLeader };
            up.expose(Indication::Refused { request, why });
        }
        returned(self.registers.give_up(), up);
        self.topics.give_up();
    }

    /// Executes what is decided. Returns the replies to requests of this process.
    fn apply(&mut self, turn: &mut Turn, up: Out<'_, M>) -> Vec<(RequestId, M::Reply)> {
        let mut replies = Vec::new();
        while self.applied < self.paxos.decided() {
            let index = self.applied;
            let Some(bytes) = self.paxos.log().get(index).cloned() else {
                unreachable!("entry {index} is decided, not applied, and not in the log")
            };
            self.applied += 1;
            self.checkpoints.count(bytes.len());
            replies.extend(self.execute(index, &bytes));
            if !self.has_diverged() {
                let at = (self.applied, bytes.len());
                let diverged = self.cross_check.upon_applied(at, &mut self.machine, &self.filter, turn);
                self.upon_compared(diverged, turn, up);
            }
        }
        if self.has_diverged() {
            // Executed they are, but what they are answered here is nobody's answer.
            for (request, _) in replies.drain(..) {
                up.expose(Indication::Refused { request, why: Refusal::LeaderChanged });
            }
        }
        replies
    }

    /// Executes an entry, unless it was executed before. Returns the reply to a request of this process.
    fn execute(&mut self, index: u64, bytes: &Bytes) -> Option<(RequestId, M::Reply)> {
        let Some(entry) = Entry::decode(bytes) else {
            tracing::error!(index, "a decided entry does not decode: skipped, by every process alike");
            return None;
        };
        let &Entry { origin, inc, seq, low, .. } = &entry;
        if !self.filter.admit(origin, inc, seq, low, self.config.mutants) {
            return None;
        }
        let request = self.total_order.executed(&entry);
        let unwanted = (origin, inc) == (self.config.me, *self.inc) && request.is_none();
        if unwanted && self.config.mutants.on(Mutant::UnwantedSkipped) {
            return None;
        }
        match request {
            Some(request) => Some((request, self.machine.apply(index, entry.command))),
            None => {
                self.machine.follow(index, entry.command);
                None
            }
        }
    }

    /// Whether this process knows that its state is not that of a majority.
    fn has_diverged(&self) -> bool {
        self.members.distrust() == Some(Distrust::Diverged)
    }

    /// States were compared, and this one is not that of a majority: it is shown to nobody any more.
    fn upon_compared(&mut self, diverged: bool, turn: &mut Turn, up: Out<'_, M>) {
        if diverged && !self.config.mutants.on(Mutant::DivergenceIgnored) && !self.has_diverged() {
            self.members.upon_diverged(turn);
            self.published = None;
            up.expose(Indication::Diverged);
        }
    }

    /// Shows the state, once everything that was shown before the last crash is in it (rule 9).
    fn publish(&mut self, up: Out<'_, M>) {
        if self.has_diverged() {
            return;
        }
        let open = match self.paxos.gate() {
            _ if self.published.is_some() || self.config.mutants.on(Mutant::ServeAtOnce) => true,
            Gate::Unknown => false,
            Gate::Until(length) => self.applied >= length,
        };
        if open && self.published != Some(self.applied) {
            self.published = Some(self.applied);
            up.expose(Indication::Publish { applied: self.applied, view: self.machine.view() });
        }
    }
}

/// Hands on what operations on registers returned.
fn returned<R, V>(returns: impl IntoIterator<Item = Return>, up: &mut Held<Indication<R, V>>) {
    for Return { request, outcome } in returns {
        up.expose(Indication::Returned { request, outcome });
    }
}

/// Rounds of settling in one turn: a notice can lead to another, but no chain of them is longer.
const SETTLE_ROUNDS: usize = 8;
