//! The world: processes, network, disks and clients, and what one step of the adversary does to
//! them. Every step is watched by the monitors.

use super::action::{Action, Delivery, Haste};
use super::adversary::Adversary;
use super::bounds;
use super::clients::{Clients, Glimpse};
use super::configuration;
use super::coverage::Coverage;
use super::ledger::LedgerClients;
use super::monitors::{Effects, Failure, Monitors, Property, Seen, Space, States, Verdict, ensure, memory};
use super::network::{InFlight, Network};
use super::process::{Alive, Process};
use super::registers::RegisterClients;
use super::said::Said;
use super::script::Move;
use super::service;
use super::sizes::Sizes;
use super::topics::TopicClients;
use super::trace::{Note, Part, Trace};
use super::words;
use super::{Options, Profile};
use crate::consensus::Paxos;
use crate::kernel::{Bounds, Component, Config, Opened, Origin, ProcessId, Release, SLOT, Timing};
use crate::stack::{Event, Indication, Role};
use bytes::Bytes;
use fastrand::Rng;

/// One execution, under way.
pub(super) struct World {
    pub(super) processes: Vec<Process>,
    pub(super) network: Network,
    pub(super) clients: Clients,
    pub(super) registers: RegisterClients,
    pub(super) topics: TopicClients,
    pub(super) ledger: LedgerClients,
    bounds: Bounds,
    pub(super) monitors: Monitors,
    pub(super) effects: Effects,
    pub(super) space: Space,
    pub(super) states: States,
    pub(super) coverage: Coverage,
    pub(super) trace: Trace,
    /// Draws what is not the adversary's choice: boot numbers, who hears of a crash.
    pub(super) rng: Rng,
    pub(super) step: u64,
    /// Processes whose disk lost its memory.
    pub(super) wiped: Vec<ProcessId>,
    /// Those of them whose disk is as it was at an earlier moment.
    pub(super) put_back: Vec<ProcessId>,
    /// Who has halted since what no record can show was done to a disk: from then on processes may decide
    /// differently, and only that they do not do so silently is watched.
    pub(super) apart: Option<Vec<ProcessId>>,
    /// The process that answered a client last, and the step at which it did.
    pub(super) told: Option<(ProcessId, u64)>,
    /// Whether a disk may fail to read rows.
    pub(super) failing_reads: bool,
    /// Keys that clients write, to be looked at in every view.
    pub(super) keys: Vec<String>,
    /// The process that was moved last.
    pub(super) moved: Option<ProcessId>,
    /// The steps so far, where they are written down.
    pub(super) script: Option<Vec<Move>>,
    /// The step after which somebody wants to know what every process holds.
    pub(super) asked_for: Option<u64>,
    /// That, once the step is over.
    pub(super) configuration: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, options: &Options, rng: &mut Rng, keep: usize) -> Self {
        let n = match options.processes {
            // A minority must be there that may lose its memory.
            0 if options.profile == Profile::Disk => [3, 3, 5][rng.usize(..3)],
            0 => [3, 3, 3, 3, 5, 5, 4, 1][rng.usize(..8)],
            n => n,
        };
        let states = States::new(n, options.mutants);
        let timing = Timing { heartbeat: 5, election: 20, resend: 8 };
        let mut bounds = bounds::draw(rng);
        if !states.are_compared() {
            bounds.digest_entries = u64::MAX;
        }
        let config = |me: u8| Config {
            me: ProcessId(me),
            processes: n,
            configuration: seed | 1,
            disk: 1000 + u64::from(me),
            boot: 0,
            damaged: false,
            origin: Origin::Own,
            timing,
            bounds,
            mutants: options.mutants,
        };
        let clients = rng.usize(4..12);
        let keys: Vec<String> =
            ["a", "b", "c", "d"][..rng.usize(1..=4)].iter().map(|k| (*k).into()).collect();
        let patience = 4 * timing.election;
        let Bounds { undecided_bytes, entry_bytes, frame_bytes, sync_bytes, checkpoint_step, .. } = bounds;
        let around = [undecided_bytes, entry_bytes, frame_bytes, sync_bytes, checkpoint_step];
        let sizes = Sizes::around(around, rng);
        let replicated = bounds::draw_replicated(rng);
        Self {
            processes: (0..n as u8).map(|me| Process::new(config(me))).collect(),
            network: Network::new(n, rng.bool(), bounds),
            clients: Clients::new(rng.fork(), clients, &keys, patience, sizes, bounds.shared.txn_visits),
            registers: RegisterClients::new(rng.fork(), clients / 2, patience, bounds),
            topics: TopicClients::new(rng.fork(), clients / 3, n, timing, bounds),
            ledger: LedgerClients::new(
                rng.fork(),
                clients / 2,
                n,
                patience,
                (replicated, bounds.shared),
                options.mutants,
            ),
            bounds,
            monitors: Monitors::new(n),
            effects: Effects::new(n),
            space: Space::new(n, bounds),
            states,
            coverage: Coverage::default(),
            trace: Trace::new(keep),
            rng: rng.fork(),
            step: 0,
            wiped: Vec::new(),
            put_back: Vec::new(),
            apart: None,
            told: None,
            failing_reads: options.profile.has_disks(),
            keys,
            moved: None,
            script: None,
            asked_for: None,
            configuration: None,
        }
    }

    /// Every generator that steps draw from.
    pub(super) fn generators(&mut self) -> [&mut Rng; 4] {
        [&mut self.rng, &mut self.clients.rng, &mut self.registers.rng, &mut self.topics.rng]
    }

    /// The next step is this one.
    pub(super) fn pass_to(&mut self, step: u64) {
        if self.configuration.is_none() && self.asked_for.is_some_and(|asked| step > asked) {
            self.configuration = Some(configuration::of(self));
        }
        self.step = step;
    }

    /// Steps taken so far.
    pub(super) fn steps(&self) -> u64 {
        self.step
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.len() + self.registers.len() + self.topics.len() + self.ledger.len()
    }

    pub(super) fn alive(&self, p: ProcessId) -> Option<&Alive> {
        self.processes[p.index()].alive.as_deref()
    }

    pub(super) fn alive_mut(&mut self, p: ProcessId) -> Option<&mut Alive> {
        self.processes[p.index()].alive.as_deref_mut()
    }

    pub(super) fn is_up(&self, p: ProcessId) -> bool {
        self.alive(p).is_some()
    }

    pub(super) fn role(&self, p: ProcessId) -> Option<Role> {
        self.alive(p).map(|a| a.stack.status().role)
    }

    /// Whether the disk of a process has something to do.
    pub(super) fn disk_may_move(&self, p: ProcessId) -> bool {
        let moves = |a: &Alive| a.commit.is_some() || a.synced.is_some() || !a.journal.is_settled();
        self.processes[p.index()].stalled <= self.step && self.alive(p).is_some_and(moves)
    }

    /// Whether some link is cut.
    pub(super) fn has_cuts(&self) -> bool {
        self.pairs().any(|(from, to)| self.network.is_cut(from, to))
    }

    pub(super) fn members(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes.len() as u8).map(ProcessId)
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (ProcessId, ProcessId)> + use<> {
        let n = self.processes.len() as u8;
        let pairs = (0..n).flat_map(move |from| (0..n).map(move |to| (ProcessId(from), ProcessId(to))));
        pairs.filter(|(from, to)| from != to)
    }

    /// Takes one step.
    pub(super) fn take(&mut self, adversary: &mut Adversary) -> Verdict {
        let step = adversary.next(self);
        self.note_down(step);
        self.pass_to(self.step + 1);
        self.coverage.steps += 1;
        self.go(step)
    }

    /// Does what a step says. Returns the process that it moved.
    pub(super) fn perform(&mut self, action: Action) -> Result<Option<ProcessId>, Failure> {
        self.trace.fold(self.step);
        match action {
            Action::Deliver { from, to, at, how } => self.deliver(from, to, at, how),
            Action::Handle { at, events } => {
                self.handle(at, events)?;
                Ok(Some(at))
            }
            Action::Disk { at, fault } => {
                self.disk(at, fault)?;
                Ok(Some(at))
            }
            Action::Expose { at, frame } => {
                if frame {
                    self.send_next(at)?;
                } else {
                    self.show_next(at)?;
                }
                Ok(None)
            }
            Action::Tick { at } => {
                self.trace.fold(0x71c4 + u64::from(at.0));
                self.processes[at.index()].ticks += 1;
                self.arrives(at, Event::Tick);
                let step = self.step;
                self.trace.note(step, || Note::Ticked { at });
                self.handle(at, usize::MAX)?;
                Ok(Some(at))
            }
            Action::Crash { at, fault } => {
                self.crash(at, fault)?;
                Ok(None)
            }
            Action::Recover { at } => {
                self.recover(at)?;
                Ok(Some(at))
            }
            Action::Mute { at, frames } => {
                self.befalls(at, || format!("omits to send its next {frames} frames"));
                self.alive_mut(at).into_iter().for_each(|alive| alive.mute = frames);
                Ok(None)
            }
            Action::Deafen { at, frames } => {
                self.befalls(at, || format!("omits to receive its next {frames} frames"));
                self.alive_mut(at).into_iter().for_each(|alive| alive.deaf = frames);
                Ok(None)
            }
            Action::Stall { at, steps } => {
                self.befalls(at, || format!("has a disk that stands still for {steps} steps"));
                self.processes[at.index()].stalled = self.step + steps;
                Ok(None)
            }
            Action::Copy { at } => {
                self.befalls(at, || "has its data directory copied".into());
                self.processes[at.index()].disk.make_copy();
                Ok(None)
            }
            Action::Lose { at, how } => {
                self.lose(at, how)?;
                Ok(None)
            }
            Action::Links { shape, forget } => {
                self.reshape(shape, forget);
                Ok(None)
            }
            Action::Client { number } => {
                let glimpse = Glimpse { processes: &self.processes, now: self.step };
                let registers = self.clients.len();
                let topics = registers + self.registers.len();
                let ledger = topics + self.topics.len();
                let asked = match number {
                    n if n < registers => self.clients.act(n, glimpse, &mut self.coverage),
                    n if n < topics => self.registers.act(n - registers, glimpse),
                    n if n < ledger => self.topics.act(n - topics, glimpse),
                    n => self.ledger.act(n - ledger, glimpse, &mut self.coverage)?,
                };
                self.ask(asked)
            }
            Action::HandOver { at } => {
                self.befalls(at, || "is asked to hand leadership over".into());
                self.arrives(at, Event::HandOver);
                Ok(Some(at))
            }
            Action::Refuse { at, peer } => {
                self.arrives(at, Event::Refused { peer });
                Ok(Some(at))
            }
            Action::Late { from, to, at } => {
                if at >= self.network.held(from, to) || !self.is_up(to) {
                    return Ok(None);
                }
                let frame = self.network.unhold(from, to, at);
                self.coverage.late += 1;
                self.trace.fold(u64::from(crc(&frame.bytes)));
                self.arrive(from, to, frame)
            }
            Action::Silence { at } => {
                self.befalls(at, || "loses what it has in flight".into());
                for to in self.members() {
                    self.network.forget(at, to, || false);
                }
                Ok(None)
            }
        }
    }

    /// A client asks a process.
    pub(super) fn ask(&mut self, asked: Option<(ProcessId, Event)>) -> Result<Option<ProcessId>, Failure> {
        let Some((at, event)) = asked else { return Ok(None) };
        self.trace.fold(0xc11e_0000 + u64::from(at.0));
        let step = self.step;
        self.trace.note(step, || {
            let (about, text) = words::asked(&event);
            Note::Asked { at, about, text: text.into() }
        });
        self.arrives(at, event);
        Ok(Some(at))
    }

    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        let step = self.step;
        self.trace.note(step, || Note::Said { text: text().into() });
    }

    /// Notes what befalls a process.
    pub(super) fn befalls(&mut self, at: ProcessId, text: impl FnOnce() -> String) {
        let step = self.step;
        self.trace.note(step, || Note::Befell { at, text: text().into() });
    }

    pub(super) fn arrives(&mut self, at: ProcessId, event: Event) {
        if let Some(alive) = self.alive_mut(at) {
            alive.inbox.push_back(event);
        }
    }

    /// What a process does by itself before anything else happens to it.
    pub(super) fn hasten(&mut self, p: ProcessId, haste: Haste) -> Verdict {
        if haste == Haste::None {
            return Ok(());
        }
        // Each round needs the one before; a commit's own report ends the chain.
        for _ in 0..8 {
            let Some(alive) = self.alive(p) else { return Ok(()) };
            let (inbox, exposures) = (!alive.inbox.is_empty(), alive.has_exposures());
            let disk = haste == Haste::Disk && self.disk_may_move(p);
            if !(inbox || exposures || disk) {
                break;
            }
            if inbox {
                self.handle(p, usize::MAX)?;
            }
            while self.alive(p).is_some_and(|a| !a.frames.is_empty()) {
                self.send_next(p)?;
            }
            while self.alive(p).is_some_and(|a| !a.indications.is_empty()) {
                self.show_next(p)?;
            }
            if disk {
                self.disk(p, None)?;
            }
        }
        Ok(())
    }

    pub(super) fn deliver(
        &mut self,
        from: ProcessId,
        to: ProcessId,
        at: usize,
        how: Delivery,
    ) -> Result<Option<ProcessId>, Failure> {
        let keep = how == Delivery::Again && self.network.in_flight(from, to) < 64;
        let frame = if keep { self.network.copy(from, to, at) } else { self.network.take(from, to, at) };
        self.trace.fold(u64::from(crc(&frame.bytes)));
        let step = self.step;
        match how {
            Delivery::Once => {}
            Delivery::Again => self.coverage.duplicated += u64::from(keep && self.is_up(to)),
            Delivery::Held => {
                self.trace.note(step, || Note::Held { from, to, bytes: frame.bytes.clone() });
                self.network.hold(from, to, frame);
                return Ok(None);
            }
            Delivery::Kept => {
                self.trace.note(step, || Note::Held { from, to, bytes: frame.bytes.clone() });
                self.network.hold(from, to, frame.clone());
            }
            Delivery::Lost => {
                self.coverage.dropped += 1;
                self.trace.note(step, || Note::Dropped { from, to, id: frame.id, bytes: frame.bytes });
                return Ok(None);
            }
            Delivery::Damaged { byte, by } => {
                let mut damaged = frame.bytes.to_vec();
                let at = byte as usize % damaged.len();
                damaged[at] ^= by;
                let through = Opened::check(damaged.into()).is_ok();
                ensure(!through, Property::NoCreation, || {
                    format!("a frame from {from} to {to} was damaged at byte {at}, and passes its check")
                })?;
                self.coverage.corrupted += 1;
                self.trace.note(step, || Note::Corrupted { from, to, id: frame.id });
                return Ok(None);
            }
        }
        if !self.is_up(to) {
            self.coverage.dropped += 1;
            self.trace.note(step, || Note::Dropped { from, to, id: frame.id, bytes: frame.bytes });
            return Ok(None);
        }
        self.coverage.reordered += u64::from(at > 0);
        self.arrive(from, to, frame)
    }

    /// A frame reaches a process that is up.
    fn arrive(
        &mut self,
        from: ProcessId,
        to: ProcessId,
        frame: InFlight,
    ) -> Result<Option<ProcessId>, Failure> {
        let InFlight { bytes, inc, id, .. } = frame;
        let frame = Opened::check(bytes.clone()).map_err(|e| Failure {
            property: Property::NoCreation,
            detail: format!("a frame from {from} to {to} is refused though nobody damaged it: {e}"),
        })?;
        let step = self.step;
        if let Some(alive) = self.alive_mut(to).filter(|a| a.deaf > 0) {
            alive.deaf -= 1;
            self.coverage.receive_omissions += 1;
            self.trace.note(step, || Note::Dropped { from, to, id, bytes });
            return Ok(None);
        }
        self.coverage.delivered += 1;
        let stale = self.processes[from.index()].inc() != Some(inc);
        self.coverage.stale += u64::from(stale);
        self.trace.note(step, || Note::Delivered { from, to, id, bytes });
        if let Component::Consensus = frame.component()
            && let Ok(Paxos::Accepted { n, len, .. }) = frame.message()
        {
            self.space.acknowledged(to, from, (n, len));
        }
        self.arrives(to, Event::Frame { from, frame });
        Ok(Some(to))
    }

    /// A process handles what has arrived, in one turn.
    pub(super) fn handle(&mut self, p: ProcessId, events: usize) -> Verdict {
        let Some(alive) = self.processes[p.index()].alive.as_deref_mut() else { return Ok(()) };
        if alive.inbox.is_empty() {
            return Ok(());
        }
        let (_, release) = alive.handle(events);
        self.watch(p)?;
        self.release(p, release)
    }

    /// Looks at a process that has just had a turn.
    pub(super) fn watch(&mut self, p: ProcessId) -> Verdict {
        let Some(alive) = self.processes[p.index()].alive.as_deref() else { return Ok(()) };
        let status = alive.stack.status();
        let decided = status.decided;
        let step = self.step;
        self.trace.turned(step, p, || {
            let ballot = if status.role == Role::Leader { status.accepted } else { status.promised };
            Part { role: status.role, ballot, decided }
        });
        if step.is_multiple_of(memory::EVERY) {
            let arrives = self.bounds.peer_bytes + self.bounds.peer_frames * SLOT;
            memory::weigh(p, alive, self.processes.len() * arrives, &mut self.coverage.peaks)?;
        }
        self.states.reacted(p, &alive.stack)?;
        self.monitors.reacted(p, decided, alive.stack.log())?;
        self.space.reacted(p, &alive.stack)
    }

    /// What has become ready to leave.
    pub(super) fn release(&mut self, p: ProcessId, release: Release<service::Up>) -> Verdict {
        let process = &mut self.processes[p.index()];
        let Some(alive) = process.alive.as_deref_mut() else { return Ok(()) };
        let Release { frames, indications } = release;
        let seen = Seen { disk: &process.disk, decided: alive.stack.status().decided };
        let mut last: Option<(Bytes, Said)> = None;
        for frame in &frames {
            let bytes = frame.get().frame.bytes();
            // A frame for several receivers is one.
            let said = match last.take() {
                Some((before, said)) if before.as_ptr() == bytes.as_ptr() => said,
                Some(_) | None => {
                    let unreadable = |e| Failure {
                        property: Property::NoCreation,
                        detail: format!("{p} sends a frame that cannot be read: {e}"),
                    };
                    let said = Said::read(bytes.clone()).map_err(unreadable)?;
                    let mark = Opened::check(bytes.clone()).map_err(unreadable)?.stamp().mark;
                    ensure(mark <= process.disk.commits(), Property::Exposure, || {
                        let durable = process.disk.commits();
                        format!("{p} shows commit mark {mark}, and {durable} commits are durable there")
                    })?;
                    self.monitors.said(p, alive.inc, &said, seen)?;
                    self.coverage.promise_chunks += u64::from(said.continues_promise());
                    self.coverage.sync_chunks += u64::from(said.continues_sync());
                    said
                }
            };
            if let Said::Accept(accept) = &said {
                self.space.sent(p, frame.get().to, accept)?;
            }
            last = Some((bytes.clone(), said));
        }
        for indication in &indications {
            if let Indication::Publish { applied, .. } = indication.get() {
                self.monitors.stated(p, *applied, process.disk.facts())?;
            }
        }
        alive.frames.extend(frames);
        alive.indications.extend(indications);
        Ok(())
    }

    /// Whether two processes hear each other.
    pub(super) fn linked(&self, p: ProcessId, q: ProcessId) -> bool {
        p == q || !(self.network.is_cut(p, q) || self.network.is_cut(q, p))
    }

    /// Sums up what happened, with what only the adversary knows of.
    pub(super) fn sum_up(&mut self, adversary: Coverage) {
        self.coverage += adversary;
        self.coverage.hits += self.network.hits;
        for alive in self.processes.iter().filter_map(|p| p.alive.as_deref()) {
            self.coverage.hits += *alive.journal.hits();
        }
        let learns = |p: &ProcessId| matches!(self.role(*p), Some(Role::Learner(_)));
        let noticed = self.put_back.iter().filter(|p| learns(p)).count() as u64;
        let learners = self.members().filter(learns).count() as u64;
        (self.coverage.noticed, self.coverage.learners) = (noticed, learners);
        let alive = self.processes.iter().filter_map(|p| p.alive.as_ref());
        self.coverage.reloads = alive.map(|a| a.stack.machine().reloads()).sum();
        self.coverage.decided = self.monitors.decided();
        self.coverage.leader_changes = self.monitors.ballots_led().saturating_sub(1);
    }
}

/// The checksum that a frame carries.
pub(super) fn crc(bytes: &Bytes) -> u32 {
    u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]])
}
