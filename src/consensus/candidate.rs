//! A candidate: gathers promises, and adopts the greatest log among them.

use super::messages::{Held, Session};
use super::run::Run;
use crate::kernel::{Ballot, ProcessId, ProcessSet, Ticks};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A promise.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Which promise it is.
    pub sess: Session,
    /// The ballot in which the promiser's log was last accepted.
    pub acc: Ballot,
    /// The length of that log.
    pub len: u64,
    /// The promiser's decided prefix.
    pub decided: u64,
    /// The hash of that prefix.
    pub hash: u64,
    /// The index behind the last entry that it has staged of what answers this promise.
    pub held: u64,
}

/// What a promise brings of the promiser's log.
#[derive(Clone, Debug)]
pub struct Suffix {
    /// Where it starts: what lies below is decided at the promiser, or at the candidate, and compared by
    /// its hash.
    pub from: u64,
    /// The index of the first entry.
    pub at: u64,
    /// The entries: a chunk.
    pub entries: Vec<Bytes>,
}

/// A promise, and what has come of its suffix.
#[derive(Clone, Debug)]
pub struct Offer {
    promise: Promise,
    run: Run,
}

impl Offer {
    /// What is greatest among offers: of equal ones that of which there is most.
    fn rank(&self) -> (Ballot, u64, u64) {
        (self.promise.acc, self.promise.len, self.run.upto())
    }

    /// Whether the whole suffix is there.
    pub fn is_complete(&self) -> bool {
        self.run.upto() >= self.promise.len
    }

    /// The suffix.
    pub fn suffix(&self) -> Run {
        self.run.clone()
    }
}

/// A process that stands in ballot `n`, which its own `prom` already is.
///
/// Bounds: of all suffixes only that of the greatest log is staged, and asked for: it alone is adopted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The ballot.
    pub n: Ballot,
    /// When the candidacy began, or last got on.
    pub since: Ticks,
    /// When `Prepare` was last sent.
    pub asked: Ticks,
    /// Whether its own promise is durable, so that its ballot may be heard.
    pub durable: bool,
    /// The candidate's own log: the ballot in which it was accepted, and its length.
    own: (Ballot, u64),
    /// Processes whose logs did not come, or contradict what is decided.
    aside: ProcessSet,
    offers: BTreeMap<ProcessId, Offer>,
}

impl Candidate {
    /// Stands in ballot `n`, with a log of its own.
    pub fn new(n: Ballot, own: (Ballot, u64), now: Ticks) -> Self {
        Self {
            n,
            since: now,
            asked: now,
            durable: false,
            own,
            aside: ProcessSet::default(),
            offers: BTreeMap::new(),
        }
    }

    /// Takes a promise, with a chunk of its suffix; a later one of the same process replaces it. Says
    /// whether that brought some of the suffix that is wanted: then the next chunk is to be asked for.
    pub fn upon_promise(&mut self, from: ProcessId, promise: Promise, suffix: &Suffix, limit: usize) -> bool {
        if self.aside.contains(from) {
            return false;
        }
        let Suffix { from: start, at, entries } = suffix;
        let fresh = Offer { promise, run: Run::new(*start) };
        let offer = self.offers.entry(from).or_insert_with(|| fresh.clone());
        if promise.sess < offer.promise.sess {
            return false;
        }
        if promise.sess > offer.promise.sess {
            *offer = fresh;
        }
        if promise.decided > offer.promise.decided {
            (offer.promise.decided, offer.promise.hash) = (promise.decided, promise.hash);
        }
        offer.run.skip_to(*start);
        let brought = offer.run.take(*at, entries, limit);
        let best = self.best().map(|(p, _)| p);
        for (_, other) in self.offers.iter_mut().filter(|(p, _)| Some(**p) != best) {
            other.run = Run::new(other.run.from());
        }
        brought && best == Some(from)
    }

    /// Who has promised, beside the candidate.
    pub fn promised(&self) -> ProcessSet {
        self.offers.keys().copied().collect()
    }

    /// The greatest promise by (accepted ballot, length), if it exceeds the candidate's own.
    pub fn best(&self) -> Option<(ProcessId, &Offer)> {
        let best = self.offers.iter().max_by_key(|(_, offer)| offer.rank());
        best.filter(|(_, o)| (o.promise.acc, o.promise.len) > self.own).map(|(p, offer)| (*p, offer))
    }

    /// Whose suffix is wanted next, and what of it is there.
    pub fn wanted(&self) -> Option<(ProcessId, Held)> {
        let (p, offer) = self.best().filter(|(_, offer)| !offer.is_complete())?;
        Some((p, Held { sess: offer.promise.sess, upto: offer.run.upto() }))
    }

    /// Goes on without the process whose suffix is wanted and does not come, whatever is wrong with it:
    /// the log of another majority will do. Says whether there was one.
    pub fn set_aside(&mut self, now: Ticks) -> bool {
        let Some((p, _)) = self.wanted() else { return false };
        self.leave_out(p);
        self.since = now;
        true
    }

    /// The promises, by process.
    pub fn promises(&self) -> impl Iterator<Item = (ProcessId, Promise)> {
        self.offers.iter().map(|(p, offer)| (*p, offer.promise))
    }

    /// Goes on without a process: its promise does not count.
    pub fn leave_out(&mut self, p: ProcessId) {
        self.offers.remove(&p);
        self.aside.insert(p);
    }

    /// The greatest decided prefix that was promised.
    pub fn decided(&self) -> u64 {
        self.offers.values().map(|o| o.promise.decided).max().unwrap_or(0)
    }

    /// The promises, to be answered once the log is adopted.
    pub fn into_promises(self) -> BTreeMap<ProcessId, Promise> {
        self.offers.into_iter().map(|(p, offer)| (p, offer.promise)).collect()
    }
}
