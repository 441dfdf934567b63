//! What the modules of the replicated log say to each other.

use crate::kernel::{Ballot, Component, Early, Incarnation, MAX_COUNT, Message, Slot, is_range};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Names one promise of one incarnation of a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The incarnation that promised.
    pub inc: Incarnation,
    /// Counts its promises.
    pub number: u64,
}

/// What a candidate has of the suffix of a promise, which comes in chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The promise.
    pub sess: Session,
    /// The index behind the last entry that it has.
    pub upto: u64,
}

/// Sequence Paxos: prepare, accept, reads. Lengths and indices count entries from the start of the
/// log; `decided` is the length of the decided prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Paxos {
    /// After a boot, a reconnect, or catching up, to whoever leads: answered with its `Prepare`.
    PrepareReq,
    /// A candidate asks for a promise, and says what it has.
    Prepare {
        /// Its ballot.
        n: Ballot,
        /// The ballot in which its log was last accepted.
        acc: Ballot,
        /// The length of its log.
        len: u64,
        /// Its decided prefix.
        decided: u64,
        /// The hash of that prefix.
        hash: u64,
        /// What the receiver has acknowledged in `n`, by which it sees whether it still has it.
        acked: u64,
        /// The receiver's boot, as it was told to the sender: who does not know it knows nothing of what
        /// the receiver acknowledged.
        boot: u64,
        /// What it has of the suffix of the receiver's promise: the next chunk is wanted.
        held: Option<Held>,
    },
    /// The promise to accept nothing below `n`, with what the candidate lacks.
    Promise {
        /// The ballot promised.
        n: Ballot,
        /// This promise.
        sess: Session,
        /// The ballot in which the promiser's log was last accepted.
        acc: Ballot,
        /// The length of the promiser's log.
        len: u64,
        /// Its decided prefix.
        decided: u64,
        /// The hash of that prefix.
        hash: u64,
        /// Where the suffix starts: at the smaller of both decided prefixes, and it reaches up to `len`, if the
        /// promiser's (acc, len) is the greater; else at `len`.
        from: u64,
        /// The index of the first entry of `suffix`.
        at: u64,
        /// A chunk of the suffix.
        suffix: Vec<Bytes>,
        /// The index behind the last entry that the promiser has staged of the `AcceptSync` that
        /// answers this promise; 0 if none: the next chunk is wanted.
        held: u64,
    },
    /// Instead of a promise, or of an answer to one: the receiver lacks decided entries that are too
    /// many for that, or no longer in the log. It learns them first. Only what is decided can be
    /// learned: where nothing of what the receiver lacks is decided, this is never the answer, however
    /// much it is.
    Behind {
        /// The ballot.
        n: Ballot,
        /// The decided prefix of the one who answers.
        decided: u64,
    },
    /// A chunk of the log that the new leader adopted, from this promiser's decided prefix on.
    AcceptSync {
        /// The leader's ballot.
        n: Ballot,
        /// The promise that it answers.
        sess: Session,
        /// Where the run of chunks starts.
        from: u64,
        /// The index of the first of `entries`.
        at: u64,
        /// The entries of this chunk.
        entries: Vec<Bytes>,
        /// Where it ends: what follows goes in an `Accept`.
        end: u64,
        /// The leader's decided prefix.
        decided: u64,
        /// Length and hash of that prefix, as far as it reaches up to `end`.
        prefix: (u64, u64),
    },
    /// The durable length of a log accepted in ballot `n`. Cumulative.
    Accepted {
        /// The ballot.
        n: Ballot,
        /// The length.
        len: u64,
        /// Whether an `Accept` left a gap: the leader sends again from `len`.
        gap: bool,
    },
    /// The decided prefix grew.
    Decide {
        /// The leader's ballot.
        n: Ballot,
        /// The decided prefix.
        decided: u64,
    },
    /// A ballot is below one that was promised.
    Nack {
        /// The ballot promised.
        prom: Ballot,
    },
    /// The leader asks whether it still leads.
    ReadIndex {
        /// Its ballot.
        n: Ballot,
        /// Its incarnation.
        inc: Incarnation,
        /// The round of asking.
        round: u64,
    },
    /// Yes, as far as this process knows. Confirms every round up to its own.
    ReadAck {
        /// The ballot asked for.
        n: Ballot,
        /// The leader's incarnation.
        inc: Incarnation,
        /// The round.
        round: u64,
    },
    /// The leader gives its leadership away: the receiver may stand at once.
    HandOver {
        /// The ballot that ends.
        n: Ballot,
    },
    /// The decided prefixes of the two differ: one of the disks was rolled back unnoticed (rule 13).
    Diverged {
        /// The ballot of the message that showed it; zero if none.
        n: Ballot,
        /// A length of the decided prefix at which the two differ.
        index: u64,
        /// The hash of the sender's prefix of that length; none where its log is shorter.
        hash: Option<u64>,
    },
    /// To oneself: this much is durable.
    Durable {
        /// The incarnation that stored it.
        inc: Incarnation,
        /// The promise.
        prom: Ballot,
        /// The ballot in which the log was accepted.
        acc: Ballot,
        /// The length of the log.
        len: u64,
    },
}

impl Paxos {
    /// The ballots that it names.
    pub fn ballots(&self) -> [Ballot; 2] {
        match *self {
            Self::PrepareReq => [Ballot::ZERO; 2],
            Self::Prepare { n, acc, .. } | Self::Promise { n, acc, .. } => [n, acc],
            Self::Durable { prom, acc, .. } => [prom, acc],
            Self::Nack { prom: n }
            | Self::Behind { n, .. }
            | Self::AcceptSync { n, .. }
            | Self::Accepted { n, .. }
            | Self::Decide { n, .. }
            | Self::ReadIndex { n, .. }
            | Self::ReadAck { n, .. }
            | Self::HandOver { n }
            | Self::Diverged { n, .. } => [n; 2],
        }
    }

    /// Whether the lengths that it names can be those of one log. Nothing else is ever said, and what
    /// is counted on from them must fit.
    pub fn is_consistent(&self) -> bool {
        match self {
            Self::Prepare { n, acc, len, decided, .. } => acc <= n && decided <= len && *len <= MAX_COUNT,
            Self::Promise { n, acc, len, decided, from, at, suffix, .. } => {
                let within = is_range(*at, suffix.len()) && at + suffix.len() as u64 <= *len;
                acc <= n && decided <= len && *len <= MAX_COUNT && from <= at && within
            }
            Self::AcceptSync { from, at, entries, end, .. } => {
                from <= at && is_range(*at, entries.len()) && *end <= MAX_COUNT
            }
            Self::PrepareReq
            | Self::Behind { .. }
            | Self::Accepted { .. }
            | Self::Decide { .. }
            | Self::Nack { .. }
            | Self::ReadIndex { .. }
            | Self::ReadAck { .. }
            | Self::HandOver { .. }
            | Self::Diverged { .. }
            | Self::Durable { .. } => true,
        }
    }
}

impl Message for Paxos {
    const COMPONENT: Component = Component::Consensus;

    fn kind(&self) -> u8 {
        match self {
            Self::PrepareReq => 1,
            Self::Prepare { .. } => 2,
            Self::Promise { .. } => 3,
            Self::Behind { .. } => 4,
            Self::AcceptSync { .. } => 5,
            Self::Accepted { .. } => 6,
            Self::Decide { .. } => 7,
            Self::Nack { .. } => 8,
            Self::ReadIndex { .. } => 9,
            Self::ReadAck { .. } => 10,
            Self::HandOver { .. } => 11,
            Self::Durable { .. } => 12,
            Self::Diverged { .. } => 13,
        }
    }

    fn slot(&self) -> Slot {
        match self {
            Self::Accepted { .. }
            | Self::Decide { .. }
            | Self::Nack { .. }
            | Self::ReadIndex { .. }
            | Self::ReadAck { .. } => Slot::Newest,
            Self::PrepareReq
            | Self::Prepare { .. }
            | Self::Promise { .. }
            | Self::Behind { .. }
            | Self::AcceptSync { .. }
            | Self::HandOver { .. }
            | Self::Diverged { .. }
            | Self::Durable { .. } => Slot::Window,
        }
    }
}

/// The leader's proposal: entries at the end of its log.
///
/// It may leave before the leader's own store of the entries is durable:
///
/// ```text
/// leader     adopts n, durable ─ appends e ─ Accept(n, e) ──────────── crash, e forgotten
/// follower                                      └ appends e, durable ─ Accepted(n)
/// ```
///
/// The follower's vote counts for what the *follower* holds. The leader's own vote waits for its
/// own sync, and the ballot in which e was proposed ends with the crash (rule 1: nothing is
/// resumed), so that nobody proposes another value at (n, index of e).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accept {
    /// The leader's ballot.
    pub n: Ballot,
    /// The index of the first entry.
    pub from: u64,
    /// The entries.
    pub entries: Vec<Bytes>,
    /// The leader's decided prefix, as far as it has announced it.
    pub decided: u64,
}

impl Message for Accept {
    const COMPONENT: Component = Component::Proposal;

    fn kind(&self) -> u8 {
        1
    }

    fn slot(&self) -> Slot {
        Slot::Window
    }
}

impl Early for Accept {}

/// Heartbeats of the leader detector.
///
/// They pass by the journal, so that a slow disk alone elects nobody. They may, since they state
/// only facts that are durable already:
///
/// ```text
/// p     stores prom := 7 ─────────────── synced ─ heartbeat says prom 7
///                └ heartbeat still says prom 5, which was true when it was synced, and still binds
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Heartbeat {
    /// Asks for a reply.
    Request {
        /// The round of asking.
        round: u64,
        /// The asker's incarnation.
        inc: Incarnation,
    },
    /// The state of one process as far as it is durable.
    Reply {
        /// The round that it answers.
        round: u64,
        /// The incarnation that asked.
        asker: Incarnation,
        /// The incarnation that answers.
        inc: Incarnation,
        /// The ballot in which it leads or stands; zero if it does neither.
        ballot: Ballot,
        /// Its durable promise.
        prom: Ballot,
        /// The ballot of the leader that it trusts; zero if none.
        leader: Ballot,
        /// Whether it is content with its leader.
        happy: bool,
    },
}

impl Heartbeat {
    /// The ballots that it names.
    pub fn ballots(&self) -> [Ballot; 3] {
        match *self {
            Self::Request { .. } => [Ballot::ZERO; 3],
            Self::Reply { ballot, prom, leader, .. } => [ballot, prom, leader],
        }
    }
}

impl Message for Heartbeat {
    const COMPONENT: Component = Component::Detector;

    fn kind(&self) -> u8 {
        match self {
            Self::Request { .. } => 1,
            Self::Reply { .. } => 2,
        }
    }

    fn slot(&self) -> Slot {
        Slot::Newest
    }
}

impl Early for Heartbeat {}

/// Who is a member: forming the cluster, and recognising disks that lost their memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Membership {
    /// Who this is: sent to everyone until the cluster has formed, and after every boot.
    Hello {
        /// Hash of the initial configuration.
        configuration: u64,
        /// The sender's disk.
        disk: u64,
        /// The incarnation of the boot that it tells: its last, or the first one since then that nobody
        /// has recorded.
        inc: Incarnation,
        /// The number drawn at that boot.
        boot: u64,
        /// The boot that the sender lives in, whichever it tells.
        life: Life,
        /// The set of disks that it has stored, by process; empty before it knows all.
        set: Vec<u64>,
        /// Whether an answer is wanted.
        ask: bool,
        /// In an answer: the number of the life that was durably recorded.
        ack: Option<u64>,
    },
    /// The receiver's votes do not count, and why.
    Amnesia {
        /// The number of the life that is meant.
        life: u64,
        /// What is wrong.
        reason: Distrust,
    },
}

/// One life of a process, from a boot to a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Life {
    /// Its incarnation.
    pub inc: Incarnation,
    /// The number drawn at its boot.
    pub number: u64,
    /// The last commit of the disk before it.
    pub mark: u64,
}

/// Why a process counts in no majority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Distrust {
    /// Its disk is not the one that the cluster was formed with.
    OtherDisk,
    /// A later boot of it has been recorded, or a later commit of its disk was seen: it was rolled back.
    RolledBack,
    /// Its log is shorter than what it had acknowledged.
    Forgot,
    /// Its own storage came up damaged.
    Damaged,
    /// Its data directory is a copy.
    Copied,
    /// Its state is not that of a majority after the same entries: it serves nothing, either.
    Diverged,
}

impl Message for Membership {
    const COMPONENT: Component = Component::Members;

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Amnesia { .. } => 2,
        }
    }

    fn slot(&self) -> Slot {
        Slot::Newest
    }
}
