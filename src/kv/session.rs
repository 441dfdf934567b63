//! Sessions: every call of a session is executed once, however often the log carries it.
//!
//! A client numbers its calls. A session remembers the reply of every call at or above its *low
//! watermark*, which the client raises as it receives replies, up to a window above it. So a
//! number is either new, or remembered, or below the watermark; and a number below the watermark,
//! or of a session that is not there, is refused: it may have been executed, and shall not be again.
//!
//! Everything is bounded: when there are too many sessions, or their replies take too much room,
//! those that were used least recently, by the order of the log, are evicted.
//!
//! **Every replica evicts the same one**, whether it lived through the log or loaded a checkpoint.
//! So the order of use is a total one, read from the table alone: by (used, id). By `used` alone it
//! was not, and a replica that reloads diverged in silence:
//!
//! ```text
//! entry 6: open N, N.used := 7          entry 7: S calls, S.used := 7
//!   a lives on:  by_use[7] = S           N has no place: N is never evicted
//!   b reloads:   by_use[7] = N, read last   S has no place: S is never evicted
//! 1,024 sessions later a knows N, and executes its call; b does not: "session expired"
//! ```

use super::{Error, Op, Reply, SessionCall, reply};
use crate::kernel::{
    Account, Bound, Config, Digest, Hits, Memory, Mutant, Mutants, ProcessId, SLOT, SharedBounds,
};
use crate::proto::etcdserverpb::TxnRequest;
use crate::proto::etcdserverpb::request_op::Request;
use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::BTreeMap;

/// All sessions.
///
/// Invariant: `by_use` and `bytes` follow from `table`; `sum` is that of the digests of `digested`.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) table: OrdMap<u64, Session>,
    /// The ids, by [`place`](Self::place).
    by_use: BTreeMap<(u64, u64), u64>,
    bytes: usize,
    digested: OrdMap<u64, Session>,
    sum: u64,
    bounds: SharedBounds,
    pub(super) hits: Hits,
    /// Bugs put in on purpose.
    mutants: Mutants,
    /// The bug of this replica alone, if it is put in.
    drifts: bool,
}

/// The state, with all that follows from it.
impl PartialEq for Sessions {
    fn eq(&self, other: &Self) -> bool {
        (&self.table, &self.by_use, self.bytes) == (&other.table, &other.by_use, other.bytes)
    }
}

/// One session. Invariant: the numbers in `replies` are in `low .. low + bounds.session_calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Calls below it are answered.
    pub low: u64,
    /// The log's length after the entry of the last use. Two sessions have the same where a call of
    /// the one opened the other.
    pub used: u64,
    /// Executed calls and their replies; an empty one is not kept.
    pub replies: OrdMap<u64, Bytes>,
}

impl Session {
    fn digest(&self, id: u64) -> u64 {
        let numbers = [id, self.low, self.used].into_iter().fold(Digest::default(), Digest::word);
        self.replies.iter().fold(numbers, |digest, (seq, reply)| digest.word(*seq).bytes(reply)).value()
    }
}

/// What to do with a call.
pub(super) enum Admission {
    /// It is new: execute it.
    Execute,
    /// It is not: answer it.
    Answer(Reply),
}

impl Sessions {
    /// Takes what the process is told at boot.
    pub(super) fn configure(&mut self, config: &Config) {
        let table = std::mem::take(self).table;
        (self.bounds, self.mutants) = (config.bounds.shared, config.mutants);
        let drifts = |mutant: &Mutant| config.mutants.on(*mutant);
        self.drifts =
            config.me == ProcessId(1) && [Mutant::ReplyDrifts, Mutant::DivergenceIgnored].iter().any(drifts);
        table.into_iter().for_each(|(id, session)| self.insert(id, session));
    }

    /// A digest of the state: a sum over the sessions, in which those that changed are replaced.
    pub(super) fn digest(&mut self) -> u64 {
        for difference in self.digested.diff(&self.table) {
            let (before, now) = match difference {
                DiffItem::Add(id, session) => (None, Some((id, session))),
                DiffItem::Remove(id, session) => (Some((id, session)), None),
                DiffItem::Update { old, new } => (Some(old), Some(new)),
            };
            let digest = |(id, session): (&u64, &Session)| session.digest(*id);
            self.sum = self.sum.wrapping_sub(before.map_or(0, digest)).wrapping_add(now.map_or(0, digest));
        }
        self.digested = self.table.clone();
        self.sum
    }

    /// A session's place in the order of use, which no other session has.
    fn place(&self, used: u64, id: u64) -> (u64, u64) {
        if self.mutants.on(Mutant::SessionsByUseAlone) { (used, 0) } else { (used, id) }
    }

    /// Sessions and the replies that they remember: `sessions`, each with `session_calls` replies, of
    /// `reply_bytes` all together.
    pub(super) fn memory(&self) -> Memory {
        let SharedBounds { sessions, session_calls, reply_bytes, .. } = self.bounds;
        let replies: usize = self.table.values().map(|s| s.replies.len()).sum();
        let most = sessions * (1 + session_calls as usize) * SLOT + reply_bytes;
        Memory::new(Account::Sessions, (self.table.len() + replies, self.bytes), most)
    }

    /// Opens a session with the log's length as its id, which is unique and never 0.
    pub(super) fn open(&mut self, applied: u64) -> u64 {
        let id = applied;
        self.insert(id, Session { low: 0, used: applied, replies: OrdMap::new() });
        self.evict();
        id
    }

    /// Takes a session as a checkpoint has it.
    pub(super) fn insert(&mut self, id: u64, session: Session) {
        self.bytes += session.replies.values().map(Bytes::len).sum::<usize>();
        self.by_use.insert(self.place(session.used, id), id);
        self.table.insert(id, session);
    }

    /// Ends a session, if it is there.
    pub(super) fn close(&mut self, id: u64) {
        let Some(session) = self.table.remove(&id) else { return };
        self.by_use.remove(&self.place(session.used, id));
        self.bytes -= session.replies.values().map(Bytes::len).sum::<usize>();
    }

    /// Decides about a call, and notes which replies the client has received.
    pub(super) fn admit(&mut self, applied: u64, call: SessionCall) -> Admission {
        let used = if self.mutants.on(Mutant::SessionsByUseAlone) { applied - 1 } else { applied };
        let before = self.table.get(&call.id).map(|session| self.place(session.used, call.id));
        let now = self.place(used, call.id);
        let Some((before, session)) = before.zip(self.table.get_mut(&call.id)) else {
            if self.mutants.on(Mutant::EvictedSessionExecutes) {
                return Admission::Execute;
            }
            return Admission::Answer(Err(Error::SessionExpired));
        };
        self.by_use.remove(&before);
        self.by_use.insert(now, call.id);
        session.used = used;

        if call.low > session.low {
            session.low = call.low;
            while let Some((seq, reply)) = session.replies.get_min()
                && *seq < call.low
            {
                let (seq, len) = (*seq, reply.len());
                session.replies.remove(&seq);
                self.bytes -= len;
            }
        }
        if call.seq < session.low {
            return Admission::Answer(Err(Error::SessionExpired));
        }
        if call.seq - session.low >= self.bounds.session_calls {
            self.hits.hit(Bound::SessionCalls);
            return Admission::Answer(Err(Error::SessionWindow));
        }
        match session.replies.get(&call.seq) {
            None => Admission::Execute,
            Some(kept) if kept.is_empty() => Admission::Answer(Err(Error::ReplyLost)),
            Some(kept) => Admission::Answer(reply::decode(kept.clone()).unwrap_or(Err(Error::ReplyLost))),
        }
    }

    /// Remembers the reply of an admitted call, unless it is very long (then there may be none), or reads
    /// the past: what it read may be compacted, and gone, by the time that the call is repeated.
    pub(super) fn remember(&mut self, call: SessionCall, op: &Op, reply: Option<&Reply>) {
        // The call itself may have closed its session, or evicted it.
        let Some(session) = self.table.get_mut(&call.id) else { return };
        let kept = match reply {
            Some(reply) if !reads_the_past(op) && !self.drifts => {
                reply::encode(reply, self.bounds.longest_reply())
            }
            Some(_) | None => Bytes::new(),
        };
        if kept.is_empty() && !reads_the_past(op) {
            self.hits.hit(Bound::LongestReply);
        }
        self.bytes += kept.len();
        session.replies.insert(call.seq, kept);
        let within = session.replies.len() as u64 <= self.bounds.session_calls;
        assert!(within, "calls are admitted within the window only");
        self.evict();
    }

    fn evict(&mut self) {
        if self.mutants.on(Mutant::SessionsKept) {
            return;
        }
        while self.table.len() > self.bounds.sessions || self.bytes > self.bounds.reply_bytes {
            let Some((_, id)) = self.by_use.first_key_value() else { return };
            let many = self.table.len() > self.bounds.sessions;
            self.hits.hit(if many { Bound::Sessions } else { Bound::ReplyBytes });
            self.close(*id);
        }
    }
}

/// Whether an operation asks for a revision by its number, and does more than that.
fn reads_the_past(op: &Op) -> bool {
    fn any(r: &TxnRequest) -> bool {
        r.success.iter().chain(&r.failure).any(|op| match &op.request {
            Some(Request::RequestRange(r)) => r.revision > 0,
            Some(Request::RequestTxn(r)) => any(r),
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => false,
        })
    }
    match op {
        Op::Txn(r) => any(r),
        Op::Put(_) | Op::DeleteRange(_) | Op::Compact(_) | Op::Alarm(_) => false,
        Op::OpenSession | Op::CloseSession(_) => false,
    }
}
