//! Sequence Paxos: one process of the replicated log.
//!
//! Interface: [`SequencePaxos::propose`] appends at the leader; the decided prefix of
//! [`SequencePaxos::log`] is what was decided, to be read from one's own cursor: the log is the
//! buffer, and nothing is delivered twice or parked.
//!
//! Properties: prefix agreement (the decided logs of any two processes, in any incarnations, are
//! prefixes of one another), validity (what is decided was proposed), and progress while a
//! majority is up, connected, and agrees on a leader.
//!
//! Source: Ng, Haridi, Carbone, *OmniPaxos*, EuroSys 2023; rule numbers are those of
//! ARCHITECTURE.md.
//!
//! **Durable first**: the promise, before it is given, or `Prepare` sent; log and accRnd, in one
//! batch, before they are acknowledged or counted. **On recovery** neither ballot nor leadership is
//! resumed: the process follows, and asks the leader for its `Prepare`.

mod divergence;
mod follow;
mod time;

pub use self::divergence::Divergence;

use super::acceptor::{Acceptor, Gate};
use super::candidate::{Candidate, Promise, Suffix};
use super::leader::{Leader, prepare};
use super::messages::Paxos;
use super::reads::Asked;
use super::run::Run;
use crate::kernel::{
    Ballot, Bound, Config, Highest, Incarnation, LoggedLog, MAX_COUNT, Mutant, ProcessId, ProcessSet, Stored,
    Ticks, Turn, Undecodable, is_range,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What the log tells the stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A read may be answered once everything below `index` is applied.
    ReadAt {
        /// Who asked, and its number for the read.
        asked: Asked,
        /// The read index.
        index: u64,
    },
    /// This process lacks decided entries that `source` has.
    Behind {
        /// Who has them.
        source: ProcessId,
    },
    /// A leader gave its leadership to this process.
    MayStand,
    /// This process has forgotten what it had acknowledged, says somebody who names its boot.
    Forgot {
        /// The boot.
        boot: u64,
    },
    /// Its decided prefix differs from a peer's: it must halt.
    Diverged(Divergence),
}

#[derive(Clone, Debug)]
enum Role {
    Follower,
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// One process of the replicated log.
#[derive(Clone, Debug)]
pub struct SequencePaxos {
    config: Config,
    acceptor: Acceptor,
    role: Role,
    /// Processes whose votes count, and whether this one's do.
    voters: ProcessSet,
    /// Peers whose decided prefix is another one, as has been said.
    strange: ProcessSet,
    /// The last boot of each process that was recorded here.
    boots: Vec<u64>,
    /// The greatest ballot seen anywhere.
    highest: Highest,
    /// When this process last asked a leader for its `Prepare`, or heard that the leader is at it.
    asked: Option<Ticks>,
    /// The decided prefix with which this process last gave up its leadership.
    gave_up: Option<u64>,
    now: Ticks,
    notices: Vec<Notice>,
}

impl SequencePaxos {
    /// Recovers from what is stored; `applied` is what the last finished checkpoint covers.
    /// Nothing is resumed, neither the ballot nor the leadership (rule 1).
    pub fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        applied: u64,
    ) -> Result<Self, Undecodable> {
        let acceptor = Acceptor::start(config.clone(), inc, stored, applied)?;
        let paxos = Self {
            highest: Highest::new(acceptor.prom(), config.processes),
            acceptor,
            role: Role::Follower,
            voters: ProcessSet::default(),
            strange: ProcessSet::default(),
            boots: vec![0; config.processes],
            asked: None,
            gave_up: None,
            now: 0,
            notices: Vec::new(),
            config,
        };
        Ok(paxos)
    }

    /// The first turn: learns when the incarnation is durable.
    pub fn boot(&mut self, turn: &mut Turn) {
        self.acceptor.report(turn);
    }

    /// Whether the incarnation is durable.
    pub fn is_booted(&self) -> bool {
        self.acceptor.is_booted()
    }

    /// The log; its first [`SequencePaxos::decided`] entries are decided.
    pub fn log(&self) -> &LoggedLog {
        self.acceptor.log()
    }

    /// The length of the decided prefix.
    pub fn decided(&self) -> u64 {
        self.acceptor.decided()
    }

    /// The hash of a decided prefix of this length, where it is still known.
    pub fn hash_at(&self, len: u64) -> Option<u64> {
        self.acceptor.hash_at(len)
    }

    /// Whether the decided prefix is ahead of the stored one.
    pub fn has_unstored_decided(&self) -> bool {
        self.acceptor.has_unstored_decided()
    }

    /// Stores the length of the decided prefix, beside what is stored anyway.
    pub fn store_decided(&mut self, turn: &mut Turn) {
        self.acceptor.store_decided(turn);
    }

    /// The promised ballot.
    pub fn prom(&self) -> Ballot {
        self.acceptor.prom()
    }

    /// The promised ballot as far as it is durable.
    pub fn durable_prom(&self) -> Ballot {
        self.acceptor.durable().prom
    }

    /// The ballot in which the log was last accepted.
    pub fn acc(&self) -> Ballot {
        self.acceptor.acc()
    }

    /// The serving gate of rule 9.
    pub fn gate(&self) -> Gate {
        self.acceptor.gate()
    }

    /// A learner's gate: it never receives an `AcceptSync`.
    pub fn learn_gate(&mut self, until: u64) {
        self.acceptor.learn_gate(until);
    }

    /// The ballot in which this process leads or stands, once others may know; else zero.
    pub fn ballot(&self) -> Ballot {
        match &self.role {
            Role::Candidate(c) if c.durable => c.n,
            Role::Leader(l) => l.n,
            Role::Candidate(_) | Role::Follower => Ballot::ZERO,
        }
    }

    /// Whether this process leads.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether this process stands.
    pub fn stands(&self) -> bool {
        matches!(self.role, Role::Candidate(_))
    }

    /// Whether a sync is overdue by an election timeout: a leader with a stuck disk is no leader.
    pub fn sync_is_overdue(&self) -> bool {
        self.acceptor.sync_is_overdue()
    }

    /// Whether a proposal would be taken now.
    pub fn accepts_proposals(&self) -> bool {
        let open = |leader: &Leader| leader.accepts_proposals();
        matches!(&self.role, Role::Leader(leader) if open(leader)) && self.is_full().is_none()
    }

    /// The bound that keeps a leader from proposing more, if one does.
    pub fn is_full(&self) -> Option<Bound> {
        let Role::Leader(leader) = &self.role else { return None };
        let bounds = &self.config.bounds;
        if leader.undecided_bytes(&self.acceptor) >= bounds.undecided_bytes {
            return Some(Bound::UndecidedBytes);
        }
        (self.acceptor.undurable_bytes() >= bounds.window_bytes).then_some(Bound::UndurableBytes)
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Sets whose votes count.
    pub fn set_voters(&mut self, voters: ProcessSet) {
        let voted = self.votes();
        self.voters = voters;
        if !self.votes() {
            self.role = Role::Follower;
        } else if !voted && self.config.mutants.on(Mutant::ResumeBallot) {
            self.resume();
        }
    }

    /// Mutant `ResumeBallot`: a process that led before its crash leads again, once it may vote.
    fn resume(&mut self) {
        let (prom, acc) = (self.acceptor.prom(), self.acceptor.acc());
        if prom == acc && prom.process == self.config.me {
            let leader = Leader::new(self.config.clone(), prom, 0, BTreeMap::new(), self.now);
            self.role = Role::Leader(Box::new(leader));
        }
    }

    fn votes(&self) -> bool {
        self.voters.contains(self.config.me)
    }

    /// Sets the boots of the processes, as they were recorded.
    pub fn set_boots(&mut self, boots: impl Iterator<Item = u64>) {
        self.boots.clear();
        self.boots.extend(boots);
    }

    /// Stands in a ballot above everything seen (rule 2). The promise to oneself is durable before
    /// `Prepare` leaves.
    pub fn stand(&mut self, turn: &mut Turn) {
        if !self.votes() {
            return;
        }
        let above = self.highest.seen().max(self.acceptor.prom());
        let boot = if self.config.mutants.on(Mutant::BallotOfAnyLife) { 0 } else { self.config.boot };
        let next = above.next(self.config.me, boot).filter(|n| self.highest.believes(*n));
        let Some(n) = next else {
            tracing::error!(process = %self.config.me, %above, "no ballot is left above this one: cannot stand");
            return;
        };
        tracing::info!(process = %self.config.me, ballot = %n, "stands for leader");
        self.acceptor.promise(n, turn);
        let own = (self.acceptor.acc(), self.acceptor.log().len());
        self.role = Role::Candidate(Candidate::new(n, own, self.now));
        turn.send_all(self.config.peers(), &prepare((n, 0, None), 0, &self.acceptor));
    }

    /// Whom this process lets stand before it does: nobody, but after it gave up its leadership, and
    /// until something is decided again. Then its place in the ring behind the last one who stood: who
    /// gave up stands after those who did not, and of several who did each has its turn.
    pub fn yields(&self) -> u64 {
        let (me, last) = (u64::from(self.config.me.0), u64::from(self.highest.seen().process.0));
        let n = self.config.processes as u64;
        let nothing_since = self.gave_up == Some(self.acceptor.decided());
        if nothing_since { 1 + (me + n - last % n + n - 1) % n } else { 0 }
    }

    /// Whether ballots that a peer names can be believed.
    pub fn believes(&mut self, ballots: impl IntoIterator<Item = Ballot>) -> bool {
        ballots.into_iter().all(|ballot| self.highest.believes(ballot))
    }

    /// A ballot promised elsewhere was heard of: one below it ends (rule 2).
    pub fn outranked(&mut self, prom: Ballot) {
        if !self.highest.believes(prom) {
            return;
        }
        let own = match &self.role {
            Role::Candidate(c) => c.n,
            Role::Leader(l) => l.n,
            Role::Follower => return,
        };
        if prom > own {
            tracing::info!(process = %self.config.me, ballot = %own, promised = %prom, "steps down");
            self.role = Role::Follower;
        }
    }

    /// Appends entries to the leader's log.
    pub fn propose(&mut self, entries: Vec<Bytes>, turn: &mut Turn) {
        if let Role::Leader(leader) = &mut self.role {
            leader.propose(entries, &mut self.acceptor, turn);
        }
    }

    /// A read, of this process or of one that follows it.
    pub fn ask_read(&mut self, asked: Asked, turn: &mut Turn) {
        if let Role::Leader(leader) = &mut self.role {
            leader.ask_read(asked, &self.acceptor);
            self.pump_reads(turn);
        }
    }

    /// Gives leadership away, or gives up trying after an election timeout.
    pub fn hand_over(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.leaving.get_or_insert((self.now, false));
        }
    }

    /// Whether a handing-over is still under way.
    pub fn is_leaving(&self) -> bool {
        matches!(&self.role, Role::Leader(l) if l.leaving.is_some())
    }

    /// Decided entries from a peer that has promised `theirs` (any ballot); `prefix` is the length and the
    /// hash of what it has decided, up to their end.
    pub fn learn(
        &mut self,
        peer: ProcessId,
        (from, entries): (u64, Vec<Bytes>),
        prefix: (u64, u64),
        theirs: Ballot,
        turn: &mut Turn,
    ) {
        let sound = self.highest.believes(theirs) && is_range(from, entries.len());
        if !sound || !matches!(self.role, Role::Follower) || from > self.acceptor.decided() {
            return;
        }
        let lacks = self.acceptor.lacks((from, &entries), theirs, prefix);
        let difference = self.acceptor.differs(from, &entries, prefix).or(lacks);
        if !self.must_halt(peer, Ballot::ZERO, difference, turn) {
            self.acceptor.learn(from, entries, theirs, turn);
        }
    }

    /// Whether a snapshot that covers so many entries may be installed, of a source that has promised
    /// `theirs`.
    pub fn may_install(&mut self, applied: u64, theirs: Ballot) -> bool {
        self.highest.believes(theirs) && applied <= MAX_COUNT && applied > self.decided()
    }

    /// A snapshot of the decided prefix, of this length and hash, was installed.
    pub fn learn_snapshot(&mut self, prefix: (u64, u64), theirs: Ballot, turn: &mut Turn) {
        self.role = Role::Follower;
        self.acceptor.learn_snapshot(prefix, theirs, turn);
    }

    /// Drops entries that a finished checkpoint covers.
    pub fn trim(&mut self, before: u64, turn: &mut Turn) {
        self.acceptor.trim(before, turn);
    }

    /// A message of the protocol.
    pub fn upon(&mut self, from: ProcessId, message: Paxos, turn: &mut Turn) {
        if let Paxos::Durable { inc, prom, acc, len } = message {
            if from == self.config.me && inc == self.acceptor.incarnation() {
                self.upon_durable(super::acceptor::Durable { prom, acc, len }, turn);
            }
            return;
        }
        if from == self.config.me || !self.votes() || !self.voters.contains(from) {
            return;
        }
        if !(message.is_consistent() && self.believes(message.ballots())) {
            return;
        }
        match message {
            Paxos::PrepareReq => match &self.role {
                Role::Leader(leader) => {
                    let boot = self.boots.get(from.index()).copied().unwrap_or(0);
                    leader.upon_prepare_req(from, boot, &self.acceptor, turn);
                }
                Role::Candidate(_) | Role::Follower => {}
            },
            Paxos::Prepare { n, acc, len, decided, hash, acked, boot, held } => {
                if self.has_forgotten(n, acked) {
                    self.notices.push(Notice::Forgot { boot });
                    return;
                }
                // Who stands too low is not followed, whatever it has decided.
                let compared = n >= self.acceptor.prom() && decided <= self.acceptor.decided();
                let difference = self.acceptor.differs(0, &[], (decided, hash)).filter(|_| compared);
                if !self.must_halt(from, n, difference, turn) {
                    self.upon_prepare(from, n, (acc, len, decided), held, turn);
                }
            }
            Paxos::Promise { n, sess, acc, len, decided, hash, from: start, at, suffix, held } => {
                let promise = Promise { sess, acc, len, decided, hash, held };
                self.upon_promise(from, n, promise, &Suffix { from: start, at, entries: suffix }, turn);
            }
            Paxos::Behind { n, decided } => self.upon_behind(from, n, decided),
            Paxos::AcceptSync { n, sess, from: start, at, entries, end, decided, prefix } => {
                if n == self.acceptor.prom()
                    && n.process == from
                    && matches!(self.role, Role::Follower)
                    && self.acceptor.awaits(sess)
                {
                    self.upon_accept_sync((n, sess), (start, at, end), entries, (decided, prefix), turn);
                }
            }
            Paxos::Diverged { n, index, hash } => self.upon_diverged(from, n, (index, hash)),
            Paxos::Accepted { n, len, gap } => {
                if let Role::Leader(leader) = &mut self.role
                    && leader.n == n
                {
                    leader.upon_accepted(from, (len, gap), &mut self.acceptor, self.now, turn);
                    self.pump_reads(turn);
                }
            }
            Paxos::Decide { n, decided } => {
                let accepted = n == self.acceptor.acc() || self.config.mutants.on(Mutant::DecideUnaccepted);
                if accepted && n.process == from && matches!(self.role, Role::Follower) {
                    self.acceptor.decide(decided);
                }
            }
            Paxos::Nack { prom } => {
                self.outranked(prom);
                if self.config.mutants.on(Mutant::CandidacyOnNack) {
                    self.notices.push(Notice::MayStand);
                }
            }
            Paxos::ReadIndex { n, inc, round } => {
                if n == self.acceptor.prom() && n.process == from {
                    turn.send(from, &Paxos::ReadAck { n, inc, round });
                } else if n < self.acceptor.prom() {
                    turn.send(from, &Paxos::Nack { prom: self.acceptor.prom() });
                }
            }
            Paxos::ReadAck { n, inc, round } => {
                if let Role::Leader(leader) = &mut self.role
                    && leader.n == n
                    && inc == self.acceptor.incarnation()
                {
                    leader.reads.upon_ack(from, round);
                    self.pump_reads(turn);
                }
            }
            Paxos::HandOver { n } => {
                if n == self.acceptor.prom() && n.process == from && matches!(self.role, Role::Follower) {
                    self.notices.push(Notice::MayStand);
                }
            }
            Paxos::Durable { .. } => {}
        }
    }

    fn upon_durable(&mut self, durable: super::acceptor::Durable, turn: &mut Turn) {
        self.acceptor.upon_durable(durable);
        self.acceptor.finish_apart(turn);
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.durable |= durable.prom >= candidate.n;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.upon_durable(&mut self.acceptor, self.now, turn);
            self.pump_reads(turn);
        }
        self.try_adopt(turn);
    }

    fn upon_promise(
        &mut self,
        from: ProcessId,
        n: Ballot,
        promise: Promise,
        suffix: &Suffix,
        turn: &mut Turn,
    ) {
        let leads_in_it = matches!(&self.role, Role::Leader(l) if l.n == n);
        if leads_in_it && self.refuses(from, n, (self.log().len(), &[]), &promise, turn) {
            return;
        }
        match &mut self.role {
            Role::Candidate(candidate) if candidate.n == n => {
                // Where it has more, what it brings must continue this log.
                let own = (self.acceptor.acc(), self.acceptor.log().len());
                if (promise.acc, promise.len) > own && suffix.from > own.1 {
                    tracing::error!(process = %self.config.me, %from, ballot = %n, "a promise leaves a gap: dropped");
                    return;
                }
                if candidate.upon_promise(from, promise, suffix, self.config.bounds.run_bytes()) {
                    candidate.since = self.now;
                    self.ask_for_suffix(turn);
                }
                self.try_adopt(turn);
            }
            Role::Leader(leader) if leader.n == n => {
                leader.upon_promise(from, promise, &self.acceptor, self.now, turn);
            }
            Role::Candidate(_) | Role::Leader(_) | Role::Follower => {}
        }
    }

    /// Asks for the next chunk of the suffix that is to be adopted, if any of it is missing.
    fn ask_for_suffix(&self, turn: &mut Turn) {
        if let Role::Candidate(candidate) = &self.role
            && let Some((p, held)) = candidate.wanted()
        {
            turn.send(p, &prepare((candidate.n, 0, Some(held)), 0, &self.acceptor));
        }
    }

    /// Rule 4: with promises of a majority, the log of the greatest (accRnd, len) is adopted, once all
    /// of it is there.
    fn try_adopt(&mut self, turn: &mut Turn) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if !candidate.durable
            || candidate.promised().len() + 1 < self.config.majority()
            || candidate.wanted().is_some()
        {
            return;
        }
        let run = match candidate.best() {
            Some((_, best)) => best.suffix(),
            None => Run::new(self.acceptor.log().len()),
        };
        let (from, entries) = (run.from(), run.into_entries());
        if self.leaves_out((from, &entries), turn) {
            return self.try_adopt(turn);
        }
        let Role::Candidate(candidate) = &self.role else { return };
        let (n, decided) = (candidate.n, candidate.decided());
        let len = (from + entries.len() as u64).max(self.acceptor.decided());
        if decided > len {
            tracing::error!(
                process = %self.config.me, ballot = %n, len, decided,
                "who promised has decided more than a majority holds: a peer has lost or made up entries"
            );
            self.role = Role::Follower;
            return;
        }
        self.acceptor.adopt(n, from, entries, decided, turn);
        self.acceptor.learn_gate(len);
        tracing::info!(process = %self.config.me, ballot = %n, len, decided, "leads");
        let Role::Candidate(candidate) = std::mem::replace(&mut self.role, Role::Follower) else { return };
        let leader = Leader::new(self.config.clone(), n, len, candidate.into_promises(), self.now);
        self.role = Role::Leader(Box::new(leader));
    }

    /// Sends the next round of reads, and answers those that are confirmed.
    fn pump_reads(&mut self, turn: &mut Turn) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.admit_reads(&self.acceptor);
        let others = self.config.majority() - 1;
        loop {
            let sent = leader.reads.next_round();
            if let Some(round) = sent {
                leader.send_round(round, &self.acceptor, turn);
            }
            let needed = if self.config.mutants.on(Mutant::ReadAtOnce) { 0 } else { others };
            let ready = leader.reads.confirmed(needed);
            if sent.is_none() && ready.is_empty() {
                return;
            }
            self.notices.extend(ready.into_iter().map(|(asked, index)| Notice::ReadAt { asked, index }));
        }
    }
}
