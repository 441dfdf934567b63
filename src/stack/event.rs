//! What goes into the stack, and what comes out of it.

use crate::broadcast::{GivenUp, NotTaken, TopicIndication, TopicRequest};
use crate::consensus::{Distrust, Divergence};
use crate::kernel::{Ballot, Incarnation, Opened, ProcessId, Row, RowKey, Ticks};
use crate::register::{Ask, Outcome};
use bytes::Bytes;
use thiserror::Error;

/// Names a request of the layer above: chosen by it, never reused within one boot.
pub type RequestId = u64;

/// What a process reacts to.
#[derive(Clone, Debug)]
pub enum Event {
    /// A frame that passed its check; one from the process itself is a turn of its own that became
    /// durable.
    Frame {
        /// The sender.
        from: ProcessId,
        /// The frame.
        frame: Opened,
    },
    /// Time passes.
    Tick,
    /// A stream to a peer opened.
    Connected {
        /// The peer.
        peer: ProcessId,
    },
    /// The stream to a peer broke and its reconnect was refused: a strong hint that it is dead.
    Refused {
        /// The peer.
        peer: ProcessId,
    },
    /// Execute a command through the log: answered by one [`Indication::Reply`] or
    /// [`Indication::Refused`].
    Execute {
        /// The request.
        request: RequestId,
        /// The command, as the state machine decodes it.
        command: Bytes,
        /// Ticks until the request is given up.
        patience: Ticks,
    },
    /// Confirm a linearizable read: answered by one [`Indication::Readable`] or
    /// [`Indication::Refused`].
    Read {
        /// The request.
        request: RequestId,
        /// Ticks until the request is given up.
        patience: Ticks,
    },
    /// Read or write a register, without any leader: answered by one [`Indication::Returned`].
    Register {
        /// The request.
        request: RequestId,
        /// The register.
        name: String,
        /// What is asked of it.
        ask: Ask,
        /// Ticks until the request is given up.
        patience: Ticks,
    },
    /// Something is asked of topics.
    Topics(TopicRequest),
    /// Nobody waits for the request any more. There is no answer.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// Give leadership away if held: answered by [`Indication::HandedOver`] once another leads, or
    /// none can.
    HandOver,
    /// Rows that [`Indication::Fetch`] asked for; `None` when they could not be read.
    Rows {
        /// Which fetch.
        ticket: u64,
        /// The rows.
        rows: Option<Vec<Row>>,
    },
}

/// What a stack indicates to the layer above, once it is durable.
#[derive(Clone, Debug)]
pub enum Indication<R, V> {
    /// A command was executed; its reply.
    Reply {
        /// The request.
        request: RequestId,
        /// The answer of the state machine.
        reply: R,
    },
    /// A linearizable read may now look at the view published last.
    Readable {
        /// The request.
        request: RequestId,
    },
    /// A request got no answer.
    Refused {
        /// The request.
        request: RequestId,
        /// Why.
        why: Refusal,
    },
    /// An operation on a register came to its end.
    Returned {
        /// The request.
        request: RequestId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Something is told of topics.
    Topics(TopicIndication),
    /// The state as of now, for readers.
    Publish {
        /// The entries applied.
        applied: u64,
        /// The view.
        view: V,
    },
    /// Rows of the checkpoint are wanted: from `from` on, of revisions before `end`. Answered by
    /// [`Event::Rows`].
    Fetch {
        /// Which fetch.
        ticket: u64,
        /// The first row.
        from: RowKey,
        /// The first revision that is not wanted.
        end: u64,
        /// About how many bytes.
        max_bytes: usize,
    },
    /// Leadership was given away, or cannot be.
    HandedOver,
    /// The state of this process is not that of a majority: no view of it counts any more, and none
    /// follows.
    Diverged,
    /// The decided prefix differs from a peer's. The stack does nothing any more: the process must halt,
    /// and a person must look.
    LogsDiffer(Divergence),
}

/// Why a request got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// No leader is known; a command was surely not executed.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// Too many requests wait here; a command was surely not executed.
    #[error("etcdserver: too many requests")]
    TooMany,
    /// Space is short, and the command would add to what is stored: it was surely not executed. Free
    /// some space, then lower the alarm.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The command is larger than an entry of the log may be: it was surely not executed.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// Time ran out; whether a command was or will be executed is unknown.
    #[error("etcdserver: request timed out")]
    TimedOut,
    /// The state of this process is not that of a majority, and it serves nothing; a command was
    /// surely not executed.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// A command was executed while this process was behind, and its reply is lost: only a session
    /// can tell.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
}

impl From<NotTaken> for Refusal {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::TooMany => Self::TooMany,
            NotTaken::TooLarge => Self::TooLarge,
        }
    }
}

impl Refusal {
    /// Of a command of a process that serves nothing.
    pub(super) fn diverged(given_up: GivenUp) -> Self {
        match given_up {
            GivenUp::NeverSent | GivenUp::NoSpace => Self::Corrupt,
            GivenUp::Unknown => Self::TimedOut,
        }
    }
}

impl From<GivenUp> for Refusal {
    fn from(given_up: GivenUp) -> Self {
        match given_up {
            GivenUp::NeverSent => Self::NoLeader,
            GivenUp::Unknown => Self::TimedOut,
            GivenUp::NoSpace => Self::NoSpace,
        }
    }
}

/// What a process does in the log protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The cluster has not formed yet.
    Forming,
    /// Receives the log, and counts in no majority.
    Learner(Distrust),
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for promises.
    Candidate,
    /// Leads.
    Leader,
}

/// The state of a stack, for people and for the layer above.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the process does.
    pub role: Role,
    /// Which life of the process this is.
    pub incarnation: Incarnation,
    /// Who leads, as far as is known here.
    pub leader: Option<ProcessId>,
    /// The promised ballot.
    pub promised: Ballot,
    /// The ballot in which the log was last accepted.
    pub accepted: Ballot,
    /// The first entry kept in the log.
    pub log_first: u64,
    /// The length of the log.
    pub log_len: u64,
    /// The length of its decided prefix.
    pub decided: u64,
    /// The entries applied to the state machine.
    pub applied: u64,
    /// The entries covered by the last finished checkpoint.
    pub checkpoint: u64,
    /// Whether a view has been published: reads may be served.
    pub serving: bool,
}
