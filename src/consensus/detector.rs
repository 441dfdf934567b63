//! The leader detector Ω: ballot leader election.
//!
//! Interface: indication Trust(ballot), read from [`Detector::trusted`]; and the licence to stand,
//! returned by [`Detector::tick`].
//!
//! Properties: eventual accuracy (a process that leads is connected to a majority), eventual
//! agreement (of those that hear the leader). A candidate needs only to be connected to a
//! majority, so that a chain, a star or one surviving link elect.
//!
//! Source: *OmniPaxos* (EuroSys 2023), section 5, in fail-recovery; rule 2 of ARCHITECTURE.md. In
//! the terms of Cachin, Guerraoui, Rodrigues: Module 2.9 (eventual leader detector), Section 2.6.5
//! (Elect Lower Epoch, for fail-recovery).
//!
//! **Durable first**: the incarnation, before any heartbeat; a ballot, before a heartbeat states it.
//! **On recovery** nobody is trusted until heard.

use super::messages::Heartbeat;
use crate::kernel::{Ballot, Config, Incarnation, Mutant, ProcessId, ProcessSet, Ticks, Turn};

/// The state of this process, as the log knows it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Whether its incarnation is durable: before that it says nothing, not even that it is there.
    pub booted: bool,
    /// The ballot in which it leads or stands; zero if it does neither.
    pub ballot: Ballot,
    /// Whether it leads or stands, also where its ballot is not durable yet.
    pub engaged: bool,
    /// Its durable promise.
    pub prom: Ballot,
    /// Whether its disk is stuck.
    pub overdue: bool,
    /// Whether its votes count.
    pub votes: bool,
    /// Whose votes count.
    pub voters: ProcessSet,
    /// How many election timeouts it leaves to others before it stands.
    pub yields: u64,
}

/// What was last heard of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    at: Option<Ticks>,
    round: u64,
    ballot: Ballot,
    happy: bool,
}

/// The leader detector of one process.
#[derive(Clone, Debug)]
pub struct Detector {
    config: Config,
    inc: Incarnation,
    round: u64,
    heard: Vec<Heard>,
    trusted: Option<Ballot>,
    happy: bool,
    now: Ticks,
    /// The durable promise, and when it last changed.
    prom: (Ballot, Ticks),
    /// Rounds that this process and everyone it hears have been unhappy for.
    unhappy_rounds: u32,
}

impl Detector {
    /// Starts with nobody heard, and no ballot.
    pub fn start(config: Config, inc: Incarnation) -> Self {
        let heard = vec![Heard::default(); config.processes];
        Self {
            config,
            inc,
            round: 0,
            heard,
            trusted: None,
            happy: false,
            now: 0,
            prom: (Ballot::ZERO, 0),
            unhappy_rounds: 0,
        }
    }

    /// The ballot of the leader that is trusted.
    pub fn trusted(&self) -> Option<Ballot> {
        self.trusted
    }

    /// The peers heard within an election timeout.
    pub fn alive(&self) -> ProcessSet {
        self.config.peers().filter(|p| self.hears(*p)).collect()
    }

    fn hears(&self, p: ProcessId) -> bool {
        let heard = self.heard.get(p.index()).and_then(|heard| heard.at);
        heard.is_some_and(|at| self.now.saturating_sub(at) <= self.config.timing.election)
    }

    /// A strong hint that a peer is dead: it is suspected at once. Only a hint: it returns with its
    /// next reply.
    pub fn suspect(&mut self, peer: ProcessId) {
        if let Some(heard) = self.heard.get_mut(peer.index()) {
            heard.at = None;
        }
    }

    /// A heartbeat. Returns the promise that it reports.
    pub fn upon(
        &mut self,
        from: ProcessId,
        message: Heartbeat,
        facts: &Facts,
        turn: &mut Turn,
    ) -> Option<Ballot> {
        match message {
            Heartbeat::Request { round, inc: asker } => {
                // Who does not vote connects nobody to a majority: it is not heard.
                if !facts.booted || !facts.votes {
                    return None;
                }
                let reply = Heartbeat::Reply {
                    round,
                    asker,
                    inc: self.inc,
                    ballot: facts.ballot,
                    prom: facts.prom,
                    leader: self.trusted.unwrap_or(Ballot::ZERO),
                    happy: self.happy,
                };
                turn.send_early([from], &reply);
                None
            }
            Heartbeat::Reply { round, asker, inc: _, ballot, prom, leader: _, happy } => {
                if asker != self.inc || round > self.round || !facts.voters.contains(from) {
                    return None;
                }
                // Nobody leads in a ballot of another's.
                if ballot != Ballot::ZERO && ballot.process != from {
                    return None;
                }
                // A late reply says that the peer was there when it was asked, no more.
                let at = self.now.saturating_sub((self.round - round) * self.config.timing.heartbeat);
                let heard = self.heard.get_mut(from.index())?;
                if round < heard.round {
                    return None;
                }
                *heard = Heard { at: Some(at), round, ballot, happy };
                Some(prom)
            }
        }
    }

    /// Time passes. At the end of each round everyone is asked again. Returns whether this process
    /// may stand: it is connected to a majority, unhappy, and so is everyone it hears.
    pub fn tick(&mut self, now: Ticks, facts: &Facts, turn: &mut Turn) -> bool {
        self.now = now;
        self.judge(facts);
        if !facts.booted || !now.is_multiple_of(self.config.timing.heartbeat) {
            return false;
        }
        self.round += 1;
        turn.send_early(self.config.peers(), &Heartbeat::Request { round: self.round, inc: self.inc });
        let unhappy = !self.happy
            && self.config.peers().filter(|p| self.hears(*p)).all(|p| !self.heard[p.index()].happy);
        self.unhappy_rounds = if unhappy { self.unhappy_rounds + 1 } else { 0 };
        let timing = &self.config.timing;
        let patience = u64::from(PATIENT_ROUNDS) + facts.yields * timing.election.div_ceil(timing.heartbeat);
        let asked_enough = u64::from(self.unhappy_rounds) > patience || self.config.processes == 1;
        facts.votes
            && !facts.engaged
            && asked_enough
            && (self.is_connected() || self.config.mutants.on(Mutant::CandidacyUnconnected))
    }

    /// Whether this process and those it hears are a majority.
    fn is_connected(&self) -> bool {
        self.alive().len() + 1 >= self.config.majority()
    }

    /// Whom to trust, and whether to be happy with it.
    fn judge(&mut self, facts: &Facts) {
        if facts.prom != self.prom.0 {
            self.prom = (facts.prom, self.now);
        }
        if facts.ballot != Ballot::ZERO {
            self.trusted = Some(facts.ballot);
            self.happy = self.is_connected() && !facts.overdue;
            return;
        }
        let leader = self
            .config
            .peers()
            .filter(|p| self.hears(*p))
            .map(|p| self.heard[p.index()])
            .filter(|h| h.ballot != Ballot::ZERO && h.ballot >= facts.prom)
            .max_by_key(|h| h.ballot);
        // What a candidate says of itself comes a round after the promise to it: until then it has
        // the benefit of the doubt, else every election would start the next one.
        let (prom, since) = self.prom;
        let fresh = self.now - since <= u64::from(PATIENT_ROUNDS) * self.config.timing.heartbeat;
        if leader.is_none()
            && fresh
            && prom != Ballot::ZERO
            && prom.process != self.config.me
            && self.hears(prom.process)
        {
            self.trusted = Some(prom);
            self.happy = true;
            return;
        }
        self.trusted = leader.map(|h| h.ballot);
        self.happy = leader.is_some_and(|h| h.happy);
    }
}

/// Rounds of heartbeats that an unhappy process waits before it stands, so that what it has heard
/// of the others was said after they had heard of the same events.
const PATIENT_ROUNDS: u32 = 2;
