//! A leader: proposes, counts, decides.

use super::acceptor::Acceptor;
use super::candidate::Promise;
use super::messages::{Accept, Held, Paxos};
use super::reads::{Asked, Reads};
use crate::kernel::{Ballot, Bound, Config, Mutant, ProcessId, ProcessSet, Ticks, Turn};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A leader whose ballot does not get on for so many election timeouts, though it hears a majority,
/// gives up.
const STUCK: Ticks = 4;

/// What a leader knows of one follower.
#[derive(Debug, Clone, Copy)]
struct Follower {
    /// Whether it was sent all of the `AcceptSync` in this ballot.
    synced: bool,
    /// Whether it has accepted in this ballot.
    joined: bool,
    /// The most that it said it has staged of the `AcceptSync`.
    held: u64,
    /// The next entry to send.
    next: u64,
    /// The length that it acknowledged in this ballot.
    matched: u64,
    /// When it last got on, or was last asked.
    progress: Ticks,
}

impl Follower {
    fn new(now: Ticks) -> Self {
        Self { synced: false, joined: false, held: 0, next: 0, matched: 0, progress: now }
    }
}

/// A process that leads in ballot `n`.
///
/// Invariant: `matched ≤ next ≤ len` for every follower; a process counts for an index only once,
/// by its `matched`, and the leader itself only by what is durable.
#[derive(Clone, Debug)]
pub struct Leader {
    config: Config,
    /// The ballot.
    pub n: Ballot,
    /// The length of the log that was adopted.
    adopted_len: u64,
    /// Whether the adoption is durable. Until then it neither proposes nor syncs anyone.
    ready: bool,
    followers: BTreeMap<ProcessId, Follower>,
    /// Promises that wait until the adoption is durable.
    waiting: BTreeMap<ProcessId, Promise>,
    /// Reads that wait for their round.
    pub reads: Reads,
    /// Reads that came before everything adopted was decided.
    early_reads: Vec<Asked>,
    /// When the ballot last got on, or had nothing to get on with.
    moved: Ticks,
    /// When somebody asked to give leadership away, and whether the offer was sent.
    pub leaving: Option<(Ticks, bool)>,
    /// Mutant `QuorumOfMessages`: every length that was acknowledged, one for each message.
    votes: Vec<u64>,
}

impl Leader {
    /// Leads in `n`, having adopted a log of `adopted_len` entries.
    pub fn new(
        config: Config,
        n: Ballot,
        adopted_len: u64,
        promises: BTreeMap<ProcessId, Promise>,
        now: Ticks,
    ) -> Self {
        let followers = config.peers().map(|p| (p, Follower::new(now))).collect();
        Self {
            config,
            n,
            adopted_len,
            ready: false,
            followers,
            waiting: promises,
            reads: Reads::default(),
            early_reads: Vec::new(),
            moved: now,
            leaving: None,
            votes: Vec::new(),
        }
    }

    /// Whether it may propose: the adoption is durable, and it is not about to leave.
    pub fn accepts_proposals(&self) -> bool {
        self.ready && self.leaving.is_none()
    }

    /// Whether everything that was adopted is decided: before that a read index could miss what an
    /// earlier leader exposed (rule 9).
    fn may_read(&self, decided: u64) -> bool {
        self.ready && (decided >= self.adopted_len || self.config.mutants.on(Mutant::ReadIndexEarly))
    }

    /// The leader's own log became durable: up to here it counts itself (rule 6).
    pub fn upon_durable(&mut self, acceptor: &mut Acceptor, now: Ticks, turn: &mut Turn) {
        let durable = acceptor.durable();
        if durable.acc != self.n {
            return;
        }
        if !self.ready {
            self.ready = true;
            self.moved = now;
            for (from, promise) in std::mem::take(&mut self.waiting) {
                self.sync(from, &promise, acceptor, now, turn);
            }
        }
        if self.config.mutants.on(Mutant::QuorumOfMessages) {
            self.votes.push(durable.len);
        }
        self.count(acceptor, now, turn);
    }

    /// A promise, also one that comes after the election.
    pub fn upon_promise(
        &mut self,
        from: ProcessId,
        promise: Promise,
        acceptor: &Acceptor,
        now: Ticks,
        turn: &mut Turn,
    ) {
        if self.config.mutants.on(Mutant::LatePromiseIgnored) {
            return;
        }
        if self.ready {
            self.sync(from, &promise, acceptor, now, turn);
        } else {
            self.waiting.insert(from, promise);
        }
    }

    /// Sends a promiser the next chunk of what it lacks of the adopted log (rule 5): what it has staged
    /// of that, the promise says. What the leader has proposed since follows in an `Accept`, so that
    /// the end stays where it is while the log grows.
    fn sync(&mut self, to: ProcessId, promise: &Promise, acceptor: &Acceptor, now: Ticks, turn: &mut Turn) {
        let Some(follower) = self.followers.get_mut(&to) else { return };
        if follower.joined && promise.acc != self.n {
            return; // from before it accepted
        }
        let from = if promise.acc == self.n || self.config.mutants.on(Mutant::SyncFromTheEnd) {
            promise.len
        } else {
            promise.decided
        };
        if from > acceptor.log().len() {
            return;
        }
        let (end, decided) = (self.adopted_len.max(from), acceptor.decided());
        let at = promise.held.clamp(from, end);
        follower.progress = now;
        if promise.held > follower.held {
            (follower.held, self.moved) = (promise.held, now);
        }
        if acceptor.must_teach(from, at) {
            turn.hit(Bound::SyncBytes);
            turn.send(to, &Paxos::Behind { n: self.n, decided });
            return;
        }
        let Some(hash) = acceptor.hash_at(end.min(decided)) else { return };
        let (prefix, entries) = ((end.min(decided), hash), acceptor.chunk(at, end));
        follower.synced = at + entries.len() as u64 == end;
        follower.next = end.max(follower.matched);
        let (n, sess) = (self.n, promise.sess);
        turn.send(to, &Paxos::AcceptSync { n, sess, from, at, entries, end, decided, prefix });
        self.replicate(acceptor, turn);
    }

    /// Appends to the leader's log, and lets the proposal leave at once.
    pub fn propose(&mut self, entries: Vec<Bytes>, acceptor: &mut Acceptor, turn: &mut Turn) {
        assert!(self.ready && acceptor.acc() == self.n && acceptor.prom() == self.n);
        let from = acceptor.log().len();
        let gap = acceptor.extend(from, entries, acceptor.decided(), turn);
        assert!(!gap);
        self.replicate(acceptor, turn);
        if self.config.mutants.on(Mutant::LeaderCountsEarly) {
            self.count(acceptor, self.moved, turn);
        }
    }

    /// Sends every synced follower what it was not sent yet, within its window; a frame that goes
    /// to several is encoded once.
    fn replicate(&mut self, acceptor: &Acceptor, turn: &mut Turn) {
        let log = acceptor.log();
        let bounds = &self.config.bounds;
        let bytes = match self.config.mutants.on(Mutant::WindowUnbounded) {
            true => usize::MAX,
            false => bounds.window_bytes,
        };
        // Both count what is under way: a frame begins below them, and one entry always passes. What was
        // trimmed has no size any more; then the acknowledgement is waited for.
        let open = |f: &Follower| {
            f.synced
                && f.next < log.len()
                && f.next < f.matched + bounds.window
                && (f.next == f.matched
                    || f.matched >= log.first() && log.bytes_between(f.matched, f.next) < bytes)
        };
        while let Some(from) = self.followers.values().filter(|f| open(f)).map(|f| f.next).min() {
            if from < log.first() {
                // The log was trimmed meanwhile: the follower catches up with decided entries.
                for (p, f) in self.followers.iter_mut().filter(|(_, f)| open(f) && f.next == from) {
                    f.synced = false;
                    turn.send(*p, &Paxos::Behind { n: self.n, decided: acceptor.decided() });
                }
                continue;
            }
            let entries = log.read(from, bounds.frame_entries, bounds.frame_bytes);
            let end = from + entries.len() as u64;
            if end < log.len() {
                let full = entries.len() >= bounds.frame_entries;
                turn.hit(if full { Bound::FrameEntries } else { Bound::FrameBytes });
            }
            let accept = Accept { n: self.n, from, entries, decided: acceptor.decided() };
            let mut to = Vec::new();
            for (p, f) in self.followers.iter_mut().filter(|(_, f)| open(f) && f.next == from) {
                f.next = end;
                to.push(*p);
            }
            turn.send_early(to, &accept);
        }
        if let Some(f) = self.followers.values().find(|f| f.synced && f.next < log.len()) {
            let many = f.next >= f.matched + bounds.window;
            turn.hit(if many { Bound::Window } else { Bound::WindowBytes });
        }
    }

    /// A follower's durable length in this ballot, and whether it has a gap.
    pub fn upon_accepted(
        &mut self,
        from: ProcessId,
        (len, gap): (u64, bool),
        acceptor: &mut Acceptor,
        now: Ticks,
        turn: &mut Turn,
    ) {
        let Some(follower) = self.followers.get_mut(&from) else { return };
        if len > acceptor.log().len() {
            return;
        }
        if len > follower.matched || !follower.joined {
            follower.matched = len.max(follower.matched);
            follower.joined = true;
            follower.progress = now;
            self.moved = now;
        }
        follower.next = follower.next.max(follower.matched);
        if gap {
            follower.next = follower.matched;
        }
        if self.config.mutants.on(Mutant::QuorumOfMessages) {
            self.votes.push(len);
        }
        self.count(acceptor, now, turn);
        self.replicate(acceptor, turn);
    }

    /// Decides what a majority holds durably.
    fn count(&mut self, acceptor: &mut Acceptor, now: Ticks, turn: &mut Turn) {
        let own = match (acceptor.durable().acc == self.n, self.config.mutants.on(Mutant::LeaderCountsEarly))
        {
            (_, true) => acceptor.log().len(),
            (true, false) => acceptor.durable().len.min(acceptor.log().len()),
            (false, false) => 0,
        };
        let mut lengths: Vec<u64> = self.followers.values().map(|f| f.matched).chain([own]).collect();
        if self.config.mutants.on(Mutant::QuorumOfMessages) {
            lengths.extend(&self.votes);
        }
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let chosen = lengths[self.config.majority() - 1];
        let grew = acceptor.decide(chosen);
        if grew {
            self.moved = now;
        }
        if grew && !self.config.mutants.on(Mutant::DecideUnsaid) {
            let message = Paxos::Decide { n: self.n, decided: acceptor.decided() };
            let synced = self.followers.iter().filter(|(_, f)| f.synced).map(|(p, _)| *p);
            turn.send_all(synced.collect::<Vec<_>>(), &message);
        }
    }

    /// Time passes: whoever made no progress is asked or sent to again.
    pub fn tick(&mut self, acceptor: &Acceptor, boots: &[u64], now: Ticks, turn: &mut Turn) {
        let resend = self.config.timing.resend;
        let mut stalled = false;
        for (p, f) in &mut self.followers {
            if now - f.progress < resend {
                continue;
            }
            f.progress = now;
            if !f.synced || !f.joined {
                let boot = boots.get(p.index()).copied().unwrap_or(0);
                turn.send(*p, &prepare((self.n, f.matched, None), boot, acceptor));
            } else if f.matched < acceptor.log().len() {
                f.next = f.matched;
                stalled = true;
            } else if !self.config.mutants.on(Mutant::DecideUnsaid) {
                turn.send(*p, &Paxos::Decide { n: self.n, decided: acceptor.decided() });
            }
        }
        if stalled {
            self.replicate(acceptor, turn);
        }
        if let Some(round) = self.reads.outstanding()
            && now.is_multiple_of(resend)
        {
            self.send_round(round, acceptor, turn);
        }
    }

    /// Whether the ballot does not get on, though there is something to get on with: entries that are
    /// not decided, or a majority that has not joined. `connected` says whether a majority is heard;
    /// where it is not, others see that by themselves, and this one goes on when they are back.
    pub fn is_stuck(&mut self, acceptor: &Acceptor, connected: bool, now: Ticks) -> bool {
        let joined = 1 + self.followers.values().filter(|f| f.joined).count();
        let done = acceptor.decided() == acceptor.log().len() && joined >= self.config.majority();
        if done || !connected || !self.ready {
            self.moved = now;
        }
        now - self.moved > STUCK * self.config.timing.election
    }

    /// Asks everyone to confirm a round of reads.
    pub fn send_round(&mut self, round: u64, acceptor: &Acceptor, turn: &mut Turn) {
        let inc = acceptor.incarnation();
        turn.send_all(self.config.peers(), &Paxos::ReadIndex { n: self.n, inc, round });
    }

    /// Answers a process that asks for its `Prepare`.
    pub fn upon_prepare_req(&self, from: ProcessId, boot: u64, acceptor: &Acceptor, turn: &mut Turn) {
        let acked = self.followers.get(&from).map_or(0, |f| f.matched);
        turn.send(from, &prepare((self.n, acked, None), boot, acceptor));
    }

    /// A read: only the newest of each process waits, since its answer serves the older ones too.
    pub fn ask_read(&mut self, asked: Asked, acceptor: &Acceptor) {
        self.early_reads.retain(|a| a.0 != asked.0);
        self.early_reads.push(asked);
        self.admit_reads(acceptor);
    }

    /// Captures the read index for the reads that waited, once it may be captured.
    pub fn admit_reads(&mut self, acceptor: &Acceptor) {
        if self.may_read(acceptor.decided()) {
            for asked in std::mem::take(&mut self.early_reads) {
                self.reads.ask(asked, acceptor.decided());
            }
        }
    }

    /// A live follower that has everything, if there is one: the one to hand leadership to.
    pub fn heir(&self, acceptor: &Acceptor, alive: ProcessSet) -> Option<ProcessId> {
        let len = acceptor.log().len();
        let complete = |p: ProcessId, f: &Follower| alive.contains(p) && f.synced && f.matched == len;
        let mut heirs = self.followers.iter().filter(|(p, f)| complete(**p, f)).map(|(p, _)| *p);
        if acceptor.decided() == len { heirs.next() } else { None }
    }

    /// Bytes proposed and not decided.
    pub fn undecided_bytes(&self, acceptor: &Acceptor) -> usize {
        acceptor.log().bytes_between(acceptor.decided(), acceptor.log().len())
    }
}

/// What a candidate asks, and a leader whose follower is not in step: `acked` is what that one
/// acknowledged, `held` what is there of the suffix that it promised, and `boot` its last one.
pub fn prepare((n, acked, held): (Ballot, u64, Option<Held>), boot: u64, acceptor: &Acceptor) -> Paxos {
    let (acc, len, decided) = (acceptor.acc(), acceptor.log().len(), acceptor.decided());
    Paxos::Prepare { n, acc, len, decided, hash: acceptor.hash(), acked, boot, held }
}
