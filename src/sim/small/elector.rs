//! Sequence consensus over its leader detector, as the replica has them, and nothing else: what the
//! scenarios of both are played on.
//!
//! Every index of the log is an instance of consensus; what is decided there is indicated, and so is
//! every change of the leader that is trusted. A process may also be told to stand, which no detector
//! would have done: safety depends on none.

use crate::broadcast::TotalOrderMessage;
use crate::consensus::{Detector, Facts, Notice, SequencePaxos};
use crate::kernel::{
    Ballot, Component, Config, Held, Incarnation, Opened, ProcessId, Protocol, Stored, Ticks, Turn,
    Undecodable, Upon,
};
use bytes::Bytes;

/// What a process is asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// To have a value decided, in some instance.
    Propose(Bytes),
    /// To stand for leader.
    Stand,
}

/// What it tells.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// An instance has this decision.
    Decide { instance: u64, value: Bytes },
    /// This is the leader now, or none is.
    Trust(Option<Ballot>),
}

/// One process.
#[derive(Clone, Debug)]
pub(super) struct Elector {
    config: Config,
    paxos: SequencePaxos,
    detector: Detector,
    now: Ticks,
    /// Asked for here, or handed on to here, and not decided.
    proposals: Vec<Bytes>,
    /// Instances whose decision was indicated.
    told: u64,
    trusted: Option<Ballot>,
}

impl Protocol for Elector {
    type Request = Ask;
    type Indication = Told;

    fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        turn: &mut Turn,
        up: &mut Held<Told>,
    ) -> Result<Self, Undecodable> {
        let mut elector = Self {
            paxos: SequencePaxos::start(config.clone(), inc, stored, 0)?,
            detector: Detector::start(config.clone(), inc),
            now: 0,
            proposals: Vec::new(),
            told: 0,
            trusted: None,
            config,
        };
        elector.paxos.set_voters(elector.config.members().collect());
        elector.paxos.boot(turn);
        elector.settle(turn, up);
        Ok(elector)
    }

    fn upon(&mut self, event: Upon<Ask>, turn: &mut Turn, up: &mut Held<Told>) {
        match event {
            Upon::Request(Ask::Propose(value)) => self.take(value),
            Upon::Request(Ask::Stand) => self.paxos.stand(turn),
            Upon::Frame { from, frame } => self.upon_frame(from, &frame, turn),
            Upon::Tick => self.tick(turn),
        }
        self.settle(turn, up);
    }
}

impl Elector {
    fn facts(&self) -> Facts {
        Facts {
            booted: self.paxos.is_booted(),
            ballot: self.paxos.ballot(),
            engaged: self.paxos.leads() || self.paxos.stands(),
            prom: self.paxos.durable_prom(),
            overdue: self.paxos.sync_is_overdue(),
            votes: true,
            voters: self.config.members().collect(),
            yields: self.paxos.yields(),
        }
    }

    fn upon_frame(&mut self, from: ProcessId, frame: &Opened, turn: &mut Turn) {
        match frame.component() {
            Component::Detector => {
                let facts = self.facts();
                let Ok(message) = frame.message() else { return };
                if let Some(prom) = self.detector.upon(from, message, &facts, turn) {
                    self.paxos.outranked(prom);
                }
            }
            Component::Consensus => {
                if let Ok(message) = frame.message() {
                    self.paxos.upon(from, message, turn);
                }
            }
            Component::Proposal => {
                if let Ok(message) = frame.message() {
                    self.paxos.upon_accept(from, message, turn);
                }
            }
            Component::TotalOrder => {
                if let Ok(TotalOrderMessage::Forward { entries }) = frame.message() {
                    entries.into_iter().for_each(|(_, value)| self.take(value));
                }
            }
            Component::Members
            | Component::CatchUp
            | Component::Register
            | Component::Link
            | Component::Broadcast
            | Component::CrossCheck => {}
        }
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.now += 1;
        if self.detector.tick(self.now, &self.facts(), turn) {
            self.paxos.stand(turn);
        }
        let trusted = self.detector.trusted();
        self.paxos.tick(self.now, trusted, self.detector.alive(), turn);
        let leader = trusted.map(|ballot| ballot.process).filter(|leader| *leader != self.config.me);
        if let Some(leader) = leader
            && self.now.is_multiple_of(self.config.timing.resend)
            && !self.proposals.is_empty()
        {
            let entries = self.proposals.iter().map(|value| (0, value.clone())).collect();
            turn.send(leader, &TotalOrderMessage::Forward { entries });
        }
    }

    fn take(&mut self, value: Bytes) {
        if !self.proposals.contains(&value) {
            self.proposals.push(value);
        }
    }

    fn settle(&mut self, turn: &mut Turn, up: &mut Held<Told>) {
        for notice in self.paxos.take_notices() {
            match notice {
                Notice::MayStand => self.paxos.stand(turn),
                // That it differs the monitor sees, too.
                Notice::Diverged(_) => {}
                // Logs are short here, nobody forgets, and nobody reads.
                Notice::Behind { .. } | Notice::Forgot { .. } | Notice::ReadAt { .. } => {
                    unreachable!("{notice:?} in a world of few entries")
                }
            }
        }
        if self.paxos.leads() && self.paxos.accepts_proposals() {
            let log = self.paxos.log();
            let held = log.read(log.first(), usize::MAX, usize::MAX);
            let new = self.proposals.iter().filter(|value| !held.contains(value)).cloned().collect();
            self.paxos.propose(new, turn);
        }
        while self.told < self.paxos.decided()
            && let Some(value) = self.paxos.log().get(self.told).cloned()
        {
            self.proposals.retain(|proposal| *proposal != value);
            up.expose(Told::Decide { instance: self.told, value });
            self.told += 1;
        }
        if self.trusted != self.detector.trusted() {
            self.trusted = self.detector.trusted();
            up.expose(Told::Trust(self.trusted));
        }
    }
}
