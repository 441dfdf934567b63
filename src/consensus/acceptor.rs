//! The acceptor: the durable state of one process in the log protocol, and the rules by which it
//! may change.

use super::messages::{Paxos, Session};
use super::prefix::{EMPTY, PrefixHashes, link};
use super::run::Run;
use crate::kernel::{
    Ballot, Config, Incarnation, LogId, Logged, LoggedLog, Mutant, Stored, Ticks, Turn, Undecodable,
};
use bytes::Bytes;

/// How far a process must have applied the log before it shows anything after a boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Not known yet: no leader has told.
    Unknown,
    /// Up to this length.
    Until(u64),
}

/// What is durable here, as far as this process has been told by its own journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Durable {
    /// The promise.
    pub prom: Ballot,
    /// The ballot in which the log was accepted.
    pub acc: Ballot,
    /// The length of the log.
    pub len: u64,
}

/// Two logs of which this much is decided differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The length.
    pub index: u64,
    /// The hash of so many entries here; none where there are fewer.
    pub ours: Option<u64>,
    /// And there.
    pub theirs: Option<u64>,
}

/// The last promise, and what of its answer has come: it is staged in no log, and goes with the
/// promise.
#[derive(Clone, Debug)]
struct Pledge {
    sess: Session,
    staged: Option<Run>,
}

/// The durable state: promise, accepted ballot, log, decided prefix.
///
/// Invariants, asserted where they change:
/// * `acc ≤ prom`, and neither ever decreases;
/// * `first ≤ decided ≤ len`, and `decided` never decreases;
/// * nothing below `decided` is ever truncated or replaced by something else;
/// * `acc` moves to a new ballot only together with the whole of what its leader adopted, in one
///   batch: half of it must not look like a log of that ballot.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Config,
    inc: Incarnation,
    prom: Logged<Ballot>,
    acc: Logged<Ballot>,
    log: LoggedLog,
    /// The hash of each prefix of the log, up to the decided one.
    hashes: PrefixHashes,
    /// Where the log begins, and the hash of what was before.
    base: Logged<(u64, u64)>,
    stored_decided: Logged<u64>,
    durable: Durable,
    /// Whether the incarnation is durable.
    booted: bool,
    /// The last promise, while an `AcceptSync` that answers it may be taken.
    pledge: Option<Pledge>,
    sessions: u64,
    gate: Gate,
    /// When the log last was found short of being durable; none while it is durable.
    unsynced_since: Option<Ticks>,
    now: Ticks,
    /// Mutant `StoreAdoptionApart`: the log that follows in a batch of its own.
    apart: Option<(u64, Vec<Bytes>)>,
}

impl Acceptor {
    /// Recovers from what is stored; `applied` is the length that the last finished checkpoint
    /// covers: all of it was decided.
    pub fn start(
        config: Config,
        inc: Incarnation,
        stored: &Stored,
        applied: u64,
    ) -> Result<Self, Undecodable> {
        let prom = Logged::recover("log/prom", stored, Ballot::ZERO)?.vote();
        let acc = Logged::recover("log/acc", stored, Ballot::ZERO)?.vote();
        let log = LoggedLog::recover(LogId::REPLICATED, stored);
        let stored_decided = Logged::recover("log/decided", stored, 0)?.hint();
        let base = Logged::recover("log/base", stored, (0, EMPTY))?;
        if base.0 != log.first() {
            return Err(Undecodable("log/base".into()));
        }
        let decided = applied.max(*stored_decided);
        if decided > log.len() {
            return Err(Undecodable("log/decided".into()));
        }
        let durable = Durable { prom: *prom, acc: *acc, len: log.len() };
        let mut acceptor = Self {
            config,
            inc,
            prom,
            acc,
            log,
            hashes: PrefixHashes::from(base.0, base.1),
            base,
            stored_decided,
            durable,
            booted: false,
            pledge: None,
            sessions: 0,
            gate: Gate::Unknown,
            unsynced_since: None,
            now: 0,
            apart: None,
        };
        acceptor.advance(decided);
        Ok(acceptor)
    }

    /// Which life of the process this is.
    pub fn incarnation(&self) -> Incarnation {
        self.inc
    }

    /// The promised ballot.
    pub fn prom(&self) -> Ballot {
        *self.prom
    }

    /// The ballot in which the log was last accepted.
    pub fn acc(&self) -> Ballot {
        *self.acc
    }

    /// The log.
    pub fn log(&self) -> &LoggedLog {
        &self.log
    }

    /// The length of the decided prefix.
    pub fn decided(&self) -> u64 {
        self.hashes.end()
    }

    /// The hash of the decided prefix.
    pub fn hash(&self) -> u64 {
        self.hashes.last()
    }

    /// The hash of a prefix of the decided one, unless the log was trimmed beyond it.
    pub fn hash_at(&self, len: u64) -> Option<u64> {
        self.hashes.at(len)
    }

    /// How this log, with `entries` in the place of what it has from `from` on, contradicts what is decided:
    /// here, where they overlap the decided prefix, or at somebody whose decided prefix has this length and
    /// hash. There is nothing to tell where the two agree, or where the log was trimmed.
    pub fn differs(&self, from: u64, entries: &[Bytes], theirs: (u64, u64)) -> Option<Difference> {
        if self.config.mutants.on(Mutant::PrefixHashUnchecked) {
            return None;
        }
        for (index, entry) in (from..self.decided()).zip(entries) {
            if self.log.get(index).is_some_and(|own| own != entry)
                && let (Some(below), Some(ours)) = (self.hash_at(index), self.hash_at(index + 1))
            {
                let (ours, theirs) = (Some(ours), Some(link(below, entry)));
                return Some(Difference { index: index + 1, ours, theirs });
            }
        }
        let (index, theirs) = theirs;
        let ours = if index <= self.decided() {
            self.hash_at(index)?
        } else {
            let entry = |i: u64| match i.checked_sub(from) {
                Some(at) => entries.get(at as usize),
                None => self.log.get(i),
            };
            let beyond = (self.decided()..index).map_while(entry);
            let (end, ours) = beyond.fold((self.decided(), self.hash()), |(n, h), e| (n + 1, link(h, e)));
            // What is decided is in every log that is adopted: who lacks it differs, too.
            if end < index {
                return Some(Difference { index, ours: None, theirs: Some(theirs) });
            }
            ours
        };
        (ours != theirs).then_some(Difference { index, ours: Some(ours), theirs: Some(theirs) })
    }

    /// As [`differs`](Self::differs), of the `AcceptSync` of ballot n that answers the last promise.
    ///
    /// The log that it makes of this one must reach to the end of what is decided here. That was chosen in a
    /// ballot below n, and is in the log that the leader adopted; or it was known when the promise was given,
    /// and lies below `from`; who learns more ends the session. Where the log is shorter, the leader was
    /// elected by promises that lack what a promiser accepted or promised in a life that was lost since:
    ///
    /// ```text
    /// q        promises 2 (len 0) ── put back: promises 1, accepts a ── promises 2 ── hears: a is decided ─┐
    /// leader 2    └ leads with q's old promise, and an empty log ─────────────┘ AcceptSync(2, from 0, []) ─┘
    /// ```
    ///
    /// There q would keep its a, and say that it holds one entry of ballot 2. With five processes the disk
    /// that was put back may be another one's.
    pub fn differs_from_adopted(
        &self,
        from: u64,
        entries: &[Bytes],
        theirs: (u64, u64),
    ) -> Option<Difference> {
        let falls_short = from + (entries.len() as u64) < self.decided();
        if falls_short && !self.config.mutants.on(Mutant::ShortSyncTaken) {
            return Some(Difference { index: self.decided(), ours: Some(self.hash()), theirs: None });
        }
        self.differs(from, entries, theirs)
    }

    /// Whether this log lacks entries that a peer has decided, though it must have them: the peer has promised
    /// nothing as high as accRnd, so they were chosen in a ballot below, and are in every log taken in accRnd.
    /// `prefix` is the length and the hash of the peer's decided prefix.
    ///
    /// ```text
    /// leader 2   put back: has forgotten that x is decided ──────────── proposes y ── counts f, decides y
    /// f             └ promises 2, takes the empty log ── learns x ──────┴ "one entry is there already"
    /// ```
    pub fn lacks(
        &self,
        (from, entries): (u64, &[Bytes]),
        theirs: Ballot,
        prefix: (u64, u64),
    ) -> Option<Difference> {
        if theirs >= *self.acc || self.config.mutants.on(Mutant::LearnedUncompared) {
            return None;
        }
        let is_here = |(index, entry)| index < self.decided() || self.log.get(index) == Some(entry);
        let all = (from..).zip(entries).all(is_here);
        (!all).then_some(Difference { index: prefix.0, ours: None, theirs: Some(prefix.1) })
    }

    /// What is durable.
    pub fn durable(&self) -> Durable {
        self.durable
    }

    /// Bytes of the log that wait for the disk, as far as this process has been told.
    pub fn undurable_bytes(&self) -> usize {
        self.log.bytes_between(self.durable.len, self.log.len())
    }

    /// Whether the incarnation is durable.
    pub fn is_booted(&self) -> bool {
        self.booted
    }

    /// The serving gate.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Sets the serving gate, once.
    pub fn learn_gate(&mut self, until: u64) {
        if self.gate == Gate::Unknown {
            self.gate = Gate::Until(until);
        }
    }

    /// The last promise, while an `AcceptSync` that answers it may be taken.
    pub fn session(&self) -> Option<Session> {
        self.pledge.as_ref().map(|pledge| pledge.sess)
    }

    /// The index behind the last entry that is staged of the answer to the last promise; 0 if none.
    pub fn staged(&self) -> u64 {
        self.pledge.as_ref().and_then(|pledge| pledge.staged.as_ref()).map_or(0, Run::upto)
    }

    /// Stages a chunk of a run that starts at `from`. Says whether it brought anything.
    pub fn stage(&mut self, from: u64, at: u64, chunk: &[Bytes]) -> bool {
        let limit = self.config.bounds.run_bytes();
        let Some(pledge) = &mut self.pledge else { return false };
        let staged = pledge.staged.get_or_insert_with(|| Run::new(from));
        staged.skip_to(from);
        staged.take(at, chunk, limit)
    }

    /// What is staged, to be taken into the log.
    pub fn take_staged(&mut self) -> Option<Run> {
        self.pledge.as_mut()?.staged.take()
    }

    /// Whether an `AcceptSync` for this promise may still be taken.
    pub fn awaits(&self, sess: Session) -> bool {
        self.session() == Some(sess) || self.config.mutants.on(Mutant::SyncWithoutSession)
    }

    /// Whether the process stands outside its leader's log: since its boot, or since it caught up.
    pub fn is_adrift(&self) -> bool {
        self.pledge.is_none()
    }

    /// Time passes.
    pub fn tick(&mut self, now: Ticks) {
        self.now = now;
    }

    /// Whether a sync is overdue by an election timeout.
    pub fn sync_is_overdue(&self) -> bool {
        self.unsynced_since.is_some_and(|since| self.now - since > self.config.timing.election)
    }

    /// Tells this process, once this turn is durable, what then is; also at its boot, whose
    /// incarnation must be durable before anything is said.
    pub fn report(&mut self, turn: &mut Turn) {
        self.unsynced_since.get_or_insert(self.now);
        turn.send(
            self.config.me,
            &Paxos::Durable { inc: self.inc, prom: *self.prom, acc: *self.acc, len: self.log.len() },
        );
    }

    /// The journal's report: this much is durable.
    pub fn upon_durable(&mut self, durable: Durable) {
        self.durable = durable;
        self.booted = true;
        let now = Durable { prom: *self.prom, acc: *self.acc, len: self.log.len() };
        self.unsynced_since = if durable == now { None } else { Some(self.now) };
    }

    /// Mutant `StoreAdoptionApart`: the second half.
    pub fn finish_apart(&mut self, turn: &mut Turn) {
        if let Some((from, entries)) = self.apart.take() {
            self.log.truncate(from.max(self.decided()), turn);
            let skip = (self.log.len() - from) as usize;
            self.log.append(entries.into_iter().skip(skip).collect(), turn);
        }
    }

    /// Promises `n` to a candidate (rule 3), or to oneself before standing (rule 2).
    pub fn promise(&mut self, n: Ballot, turn: &mut Turn) -> Session {
        assert!(n >= *self.prom, "promise {n} after {}", *self.prom);
        if n > *self.prom {
            self.prom.set(n, turn);
            self.report(turn);
        } else if let Some(sess) = self.session() {
            // What it says still holds; a fresh one would refuse the answer that is on its way, and
            // with a slow disk every answer.
            return sess;
        }
        self.sessions += 1;
        let sess = Session { inc: self.inc, number: self.sessions };
        let kept = self.config.mutants.on(Mutant::ChunkOfAnotherSession);
        let staged = self.take_staged().filter(|_| kept);
        self.pledge = Some(Pledge { sess, staged });
        sess
    }

    /// Takes over the log of ballot `n` (rules 4 and 5): everything from `from` on is replaced by
    /// `entries`, and `acc` moves, in one batch. `decided` of it is.
    pub fn adopt(&mut self, n: Ballot, from: u64, mut entries: Vec<Bytes>, decided: u64, turn: &mut Turn) {
        assert!(
            n == *self.prom && n > *self.acc,
            "log of {n} adopted at prom {} acc {}",
            *self.prom,
            *self.acc
        );
        assert!(from <= self.log.len(), "log of {n} starts at {from}, beyond {}", self.log.len());
        let keep = from.max(self.decided());
        entries.drain(..entries.len().min((keep - from) as usize));
        if self.config.mutants.on(Mutant::StoreAdoptionApart) {
            self.acc.set(n, turn);
            self.apart = Some((keep, entries));
            self.report(turn);
            self.decide(decided);
            return;
        }
        self.take_staged();
        self.log.truncate(keep, turn);
        self.log.append(entries, turn);
        self.acc.set(n, turn);
        self.decide(decided);
        self.store_decided(turn);
        self.report(turn);
    }

    /// Within ballot `acc`: skips what is there, appends what continues the log; `decided` of it is.
    /// Says whether there was a gap.
    ///
    /// What is decided is stored with the entries that its leader sent knowing it. So the log beyond
    /// the stored decided prefix, anywhere, is never more than a leader may have undecided
    /// ([`Bounds::undecided_most`](crate::kernel::Bounds::undecided_most)): a leader adopts no more
    /// than its best promiser had beyond its own prefix, and proposes nothing above the bound. Were
    /// the prefix stored with the *next* entries, each leader could add some in turn:
    ///
    /// ```text
    /// leader 1   adopts 8 MiB, decides them, proposes a frame ── all crash: stored is what was before
    /// leader 2     adopts 9 MiB, decides them, proposes a frame ── all crash
    /// leader 3       adopts 10 MiB …
    /// ```
    pub fn extend(&mut self, from: u64, mut entries: Vec<Bytes>, decided: u64, turn: &mut Turn) -> bool {
        if self.config.mutants.on(Mutant::GapFilled) && from > self.log.len() {
            self.log.append(vec![Bytes::new(); (from - self.log.len()) as usize], turn);
        }
        let len = self.log.len();
        if from > len {
            self.decide(decided);
            return true;
        }
        if self.config.mutants.on(Mutant::SyncShortens) && from + (entries.len() as u64) < len {
            self.log.truncate((from + entries.len() as u64).max(self.decided()), turn);
            self.decide(decided);
            return false;
        }
        let have = entries.len().min((len - from) as usize);
        entries.drain(..have);
        let grows = !entries.is_empty();
        self.log.append(entries, turn);
        self.decide(decided);
        if grows {
            self.store_decided(turn);
            self.report(turn);
        }
        false
    }

    /// The decided prefix is at least `d`, of a log accepted in `acc` (rule 7).
    pub fn decide(&mut self, d: u64) -> bool {
        let d = d.min(self.log.len());
        let grew = d > self.decided();
        self.advance(d);
        grew
    }

    fn advance(&mut self, decided: u64) {
        for index in self.decided()..decided {
            match self.log.get(index) {
                Some(entry) => self.hashes.push(entry),
                None => unreachable!("entry {index} is decided, and not in the log"),
            }
        }
    }

    /// Whether a process that stands at `from`, and has what lies below `at`, must learn outside the
    /// ballots: what it lacks is not in the log any more, or is decided and too much. Then there is
    /// something decided to learn, since nothing is trimmed that is not. What is *not* decided is no
    /// reason, however much it is: it cannot be learned, and a leader that answered so would lead,
    /// trusted by all, and decide nothing for ever.
    pub fn must_teach(&self, from: u64, at: u64) -> bool {
        let decided = self.decided().saturating_sub(from) as usize;
        let limit = self.config.bounds.sync_bytes;
        at < self.log.first() || at == from && self.log.read(from, decided, limit).len() < decided
    }

    /// A chunk of the log from `at`, of what lies below `end`: as much as fits a frame, and one entry
    /// at least.
    pub fn chunk(&self, at: u64, end: u64) -> Vec<Bytes> {
        let bounds = &self.config.bounds;
        let entries = bounds.frame_entries.min(end.saturating_sub(at) as usize);
        self.log.read(at, entries, bounds.frame_bytes)
    }

    /// Promises nothing below a ballot any more, without a promise to its leader.
    fn raise(&mut self, n: Ballot, turn: &mut Turn) {
        if n > *self.prom {
            self.prom.set(n, turn);
            self.pledge = None;
            self.report(turn);
        }
    }

    /// Takes over decided entries, in whatever ballot they were decided: what is decided may be
    /// learned at any time. What lies beyond them stays, since it may count in a majority of its
    /// own ballot; an `AcceptSync` on its way answers a promise that no longer tells the truth, so
    /// the session ends.
    ///
    /// With the entries comes the promise of the process that has them, which is at or above the
    /// ballot in which they were decided. Without it an older ballot could be told of a decided
    /// prefix that is not a prefix of its log:
    ///
    /// ```text
    /// c        leads 1, holds x ──── stands 2, i promises ──────────── Prepare(2) reaches q
    /// r             └ stands 3: i, s promise, decides y ── q learns y ──┘ q promises 2, "1 decided"
    /// c                                               └ adopts its own x, and takes it for decided
    /// ```
    ///
    /// ```text
    /// p        promises n (len 0) ──── learns [a] decided ──── AcceptSync(n, from 0, []) would
    /// leader        └ AcceptSync(n, from 0, []) ── proposes a ─────────┘ cut the decided a off
    /// ```
    pub fn learn(&mut self, from: u64, entries: Vec<Bytes>, theirs: Ballot, turn: &mut Turn) {
        assert!(from <= self.decided(), "decided entries from {from} leave a gap above {}", self.decided());
        self.raise(theirs, turn);
        let skip = (self.decided() - from) as usize;
        let new: Vec<Bytes> = entries.into_iter().skip(skip).collect();
        if new.is_empty() {
            return;
        }
        let upto = self.decided() + new.len() as u64;
        let beyond = self.log.read(upto, usize::MAX, usize::MAX);
        self.log.truncate(self.decided(), turn);
        self.log.append(new, turn);
        self.log.append(beyond, turn);
        self.advance(upto);
        self.pledge = None;
        self.store_decided(turn);
        self.report(turn);
    }

    /// A snapshot of the decided prefix of length `applied`, with its hash, was installed: the log goes on
    /// there.
    pub fn learn_snapshot(&mut self, (applied, hash): (u64, u64), theirs: Ballot, turn: &mut Turn) {
        assert!(applied > self.decided(), "a snapshot of {applied} is behind {}", self.decided());
        self.raise(theirs, turn);
        if applied > self.log.len() {
            self.log.reset(applied, turn);
        } else {
            self.log.trim(applied, turn);
        }
        self.hashes = PrefixHashes::from(applied, hash);
        self.base.set((applied, hash), turn);
        self.pledge = None;
        self.store_decided(turn);
        self.report(turn);
    }

    /// Drops entries below `before`, which a finished checkpoint covers (rule 8).
    pub fn trim(&mut self, before: u64, turn: &mut Turn) {
        assert!(before <= self.decided(), "trimmed to {before}, beyond the decided {}", self.decided());
        if before <= self.log.first() {
            return;
        }
        self.log.trim(before, turn);
        self.hashes.trim(before);
        if let Some(hash) = self.hashes.at(before) {
            self.base.set((before, hash), turn);
        }
        self.store_decided(turn);
    }

    /// Whether the decided prefix is ahead of the stored one.
    pub fn has_unstored_decided(&self) -> bool {
        *self.stored_decided != self.decided()
    }

    /// Stores the decided prefix with a batch that is stored anyway: a hint for recovery, never
    /// beyond the log that is durable in the same batch.
    pub fn store_decided(&mut self, turn: &mut Turn) {
        assert!(self.decided() <= self.log.len(), "decided {} of {}", self.decided(), self.log.len());
        if self.has_unstored_decided() {
            self.stored_decided.set(self.decided(), turn);
        }
    }
}
