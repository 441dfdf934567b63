//! What a process does in the ballot of another one: promises, takes over its log, accepts.

use super::{Notice, Role, SequencePaxos};
use crate::consensus::messages::{Accept, Held, Paxos, Session};
use crate::kernel::{Ballot, Bound, Mutant, ProcessId, Turn, is_range};
use bytes::Bytes;

impl SequencePaxos {
    /// The leader's proposal.
    pub fn upon_accept(&mut self, from: ProcessId, accept: Accept, turn: &mut Turn) {
        let Accept { n, from: index, entries, decided } = accept;
        if !self.votes() || !self.voters.contains(from) || n.process != from || from == self.config.me {
            return;
        }
        if !(self.highest.believes(n) && is_range(index, entries.len())) {
            return;
        }
        if n < self.acceptor.prom() {
            turn.send(from, &Paxos::Nack { prom: self.acceptor.prom() });
            return;
        }
        if n != self.acceptor.prom() || n != self.acceptor.acc() {
            self.ask_prepare(from, turn);
            return;
        }
        let gap = self.acceptor.extend(index, entries, decided, turn);
        turn.send(from, &Paxos::Accepted { n, len: self.acceptor.log().len(), gap });
    }

    pub(super) fn ask_prepare(&mut self, leader: ProcessId, turn: &mut Turn) {
        if self.asked.is_none_or(|at| self.now - at >= self.config.timing.resend) {
            self.asked = Some(self.now);
            turn.send(leader, &Paxos::PrepareReq);
        }
    }

    /// Whether this process has lost what it had acknowledged in ballot `n` (rule 13): while accRnd
    /// is n, the durable length never shrinks, and neither promise nor accRnd ever does.
    pub(super) fn has_forgotten(&self, n: Ballot, acked: u64) -> bool {
        acked > 0
            && (self.acceptor.prom() < n
                || self.acceptor.acc() < n
                || (self.acceptor.acc() == n && self.acceptor.log().len() < acked))
    }

    /// Rule 3. With `held` the candidate has a part of the suffix, and wants the next chunk; where that
    /// is not of the promise that holds now, the suffix begins anew.
    pub(super) fn upon_prepare(
        &mut self,
        from: ProcessId,
        n: Ballot,
        theirs: (Ballot, u64, u64),
        held: Option<Held>,
        turn: &mut Turn,
    ) {
        if n.process != from {
            return;
        }
        if n < self.acceptor.prom() {
            turn.send(from, &Paxos::Nack { prom: self.acceptor.prom() });
            return;
        }
        let (their_acc, their_len, their_decided) = theirs;
        let mutants = self.config.mutants;
        let log = self.acceptor.log();
        let (mut acc, mut len, decided) = (self.acceptor.acc(), log.len(), self.acceptor.decided());
        if mutants.on(Mutant::PromiseIgnoresQueue) {
            let durable = self.acceptor.durable();
            (acc, len) = (durable.acc, durable.len.min(len).max(decided));
        }
        let more = (acc, len) > (their_acc, their_len);
        // Of what either takes for decided the candidate sees all that stands here.
        let start = match (more, mutants.on(Mutant::SuffixWithoutTheCandidates)) {
            (true, false) => their_decided.min(decided),
            (true, true) => their_decided.min(len),
            (false, _) => len,
        };
        let stands = n == self.acceptor.prom();
        let held = held.filter(|held| stands && self.acceptor.session() == Some(held.sess));
        let at = held.map_or(start, |held| held.upto.clamp(start, len));
        if more && self.acceptor.must_teach(start, at) {
            turn.hit(Bound::SyncBytes);
            turn.send(from, &Paxos::Behind { n, decided });
            return;
        }
        let suffix = self.acceptor.chunk(at, len);
        self.role = Role::Follower;
        let sess = self.acceptor.promise(n, turn);
        let held = self.acceptor.staged();
        let hash = self.acceptor.hash();
        turn.send(from, &Paxos::Promise { n, sess, acc, len, decided, hash, from: start, at, suffix, held });
    }

    /// Rule 5. A chunk that does not complete the run is staged, and the next one is asked for, by the
    /// promise that the run answers.
    pub(super) fn upon_accept_sync(
        &mut self,
        (n, sess): (Ballot, Session),
        (from, at, end): (u64, u64, u64),
        entries: Vec<Bytes>,
        (decided, prefix): (u64, (u64, u64)),
        turn: &mut Turn,
    ) {
        let len = self.acceptor.log().len();
        if from > len {
            return;
        }
        let is_whole = at == from && at.saturating_add(entries.len() as u64) >= end;
        if n == self.acceptor.acc() {
            let difference = self.acceptor.differs(len, &[], prefix).filter(|_| prefix.0 <= len);
            if self.must_halt(n.process, n, difference, turn) {
                return;
            }
            self.acceptor.extend(at, entries, decided, turn);
        } else {
            let whole = if is_whole {
                Some((from, entries))
            } else if self.acceptor.stage(from, at, &entries) {
                self.asked = Some(self.now);
                if self.acceptor.staged() < end && !self.config.mutants.on(Mutant::StagedTakenHalf) {
                    return self.ask_for_sync(n, sess, turn);
                }
                self.acceptor.take_staged().map(|run| (run.from(), run.into_entries()))
            } else {
                None
            };
            let Some((from, entries)) = whole else { return };
            let difference = self.acceptor.differs_from_adopted(from, &entries, prefix);
            if self.must_halt(n.process, n, difference, turn) {
                return;
            }
            self.acceptor.adopt(n, from, entries, decided, turn);
        }
        // The end is that of the log that was adopted, or this process' own: whatever this process had shown
        // lies below. What was decided since is awaited too, so that nobody finds a replica that comes back
        // as far behind as it went.
        self.acceptor.learn_gate(end.max(decided));
        turn.send(n.process, &Paxos::Accepted { n, len: self.acceptor.log().len(), gap: false });
    }

    /// Asks for the next chunk of the log that the leader adopted: promises again, and says what is staged.
    fn ask_for_sync(&self, n: Ballot, sess: Session, turn: &mut Turn) {
        let acceptor = &self.acceptor;
        let (acc, len, decided) = (acceptor.acc(), acceptor.log().len(), acceptor.decided());
        let (hash, suffix, held) = (acceptor.hash(), Vec::new(), acceptor.staged());
        turn.send(
            n.process,
            &Paxos::Promise { n, sess, acc, len, decided, hash, from: len, at: len, suffix, held },
        );
    }

    pub(super) fn upon_behind(&mut self, from: ProcessId, n: Ballot, decided: u64) {
        let stands_in_it = matches!(&self.role, Role::Candidate(c) if c.n == n);
        let follows_it = n.process == from && n >= self.acceptor.prom();
        if decided > self.acceptor.decided() && (stands_in_it || follows_it) {
            self.role = Role::Follower;
            self.notices.push(Notice::Behind { source: from });
        }
    }
}
