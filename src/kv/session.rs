//! Sessions: every call of a session is executed once, however often the log carries it.
//!
//! A client numbers its calls. A session remembers the reply of every call at or above its *low
//! watermark*, which the client raises as it receives replies, up to a window above it. So a
//! number is either new, or remembered, or below the watermark; and a number below the watermark,
//! or of a session that is not there, is refused: it may have been executed, and shall not be again.
//!
//! Everything is bounded: when there are too many sessions, or their replies take too much room,
//! those that were used least recently, by the order of the log, are evicted.

use super::{Error, Op, Reply, SessionCall, reply};
use crate::kernel::{Account, Bound, Config, Hits, Memory, Mutant, Mutants, SLOT, SharedBounds};
use crate::proto::etcdserverpb::TxnRequest;
use crate::proto::etcdserverpb::request_op::Request;
use bytes::Bytes;
use imbl::OrdMap;
use std::collections::BTreeMap;

/// All sessions. Cloning is O(1) but for `by_use`, which is derived, and rebuilt.
#[derive(Default)]
pub(super) struct Sessions {
    pub(super) table: OrdMap<u64, Session>,
    /// Sessions by their last use.
    by_use: BTreeMap<u64, u64>,
    bytes: usize,
    bounds: SharedBounds,
    pub(super) hits: Hits,
    /// Bugs put in on purpose.
    mutants: Mutants,
}

/// One session. Invariant: the numbers in `replies` are in `low .. low + bounds.session_calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Calls below it are answered.
    pub low: u64,
    /// The log's length at the last use: no two sessions have the same.
    pub used: u64,
    /// Executed calls and their replies; an empty one is not kept.
    pub replies: OrdMap<u64, Bytes>,
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
        self.bounds = config.bounds.shared;
        self.mutants = config.mutants;
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
        self.by_use.insert(session.used, id);
        self.table.insert(id, session);
    }

    /// Ends a session, if it is there.
    pub(super) fn close(&mut self, id: u64) {
        let Some(session) = self.table.remove(&id) else { return };
        self.by_use.remove(&session.used);
        self.bytes -= session.replies.values().map(Bytes::len).sum::<usize>();
    }

    /// Decides about a call, and notes which replies the client has received.
    pub(super) fn admit(&mut self, applied: u64, call: SessionCall) -> Admission {
        let Some(session) = self.table.get_mut(&call.id) else {
            if self.mutants.on(Mutant::EvictedSessionExecutes) {
                return Admission::Execute;
            }
            return Admission::Answer(Err(Error::SessionExpired));
        };
        self.by_use.remove(&session.used);
        self.by_use.insert(applied, call.id);
        session.used = applied;

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

    /// Remembers the reply of an admitted call, unless it is very long, or reads the past: what it
    /// read may be compacted, and gone, by the time that the call is repeated.
    pub(super) fn remember(&mut self, call: SessionCall, op: &Op, reply: &Reply) {
        // The call itself may have closed its session, or evicted it.
        let Some(session) = self.table.get_mut(&call.id) else { return };
        let mut kept = if reads_the_past(op) { Bytes::new() } else { reply::encode(reply) };
        if kept.len() > self.bounds.longest_reply() {
            self.hits.hit(Bound::LongestReply);
            kept = Bytes::new();
        }
        self.bytes += kept.len();
        session.replies.insert(call.seq, kept);
        let within = session.replies.len() as u64 <= self.bounds.session_calls;
        assert!(within, "calls are admitted within the window only");
        self.evict();
    }

    fn evict(&mut self) {
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
