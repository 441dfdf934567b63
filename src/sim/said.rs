//! Frames as their modules read them, for monitors, and in the words of the protocol, for people.

use crate::broadcast::{BroadcastMessage, CrossCheckMessage, Seen};
use crate::consensus::{Accept, Heartbeat, Membership, Paxos};
use crate::kernel::{Component, FrameError, Opened};
use crate::links::LinkMessage;
use crate::register::RegisterMessage;
use bytes::Bytes;
use std::fmt;

/// What a frame says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Said {
    Membership(Membership),
    Heartbeat(Heartbeat),
    Paxos(Paxos),
    Accept(Accept),
    Request(Opened),
    CatchUp(Opened),
    Register(RegisterMessage),
    Link(Opened),
    Broadcast(BroadcastMessage),
    CrossCheck(CrossCheckMessage),
}

impl Said {
    /// Reads a frame.
    pub(super) fn read(bytes: Bytes) -> Result<Self, FrameError> {
        let opened = Opened::check(bytes)?;
        Ok(match opened.component() {
            Component::Members => Self::Membership(opened.message()?),
            Component::Detector => Self::Heartbeat(opened.message()?),
            Component::Consensus => Self::Paxos(opened.message()?),
            Component::Proposal => Self::Accept(opened.message()?),
            Component::TotalOrder => Self::Request(opened),
            Component::CatchUp => Self::CatchUp(opened),
            Component::Register => Self::Register(opened.message()?),
            Component::Link => Self::Link(opened),
            Component::Broadcast => Self::Broadcast(opened.message()?),
            Component::CrossCheck => Self::CrossCheck(opened.message()?),
        })
    }
}

impl Said {
    /// Whether it is a chunk of a promise's suffix, and not the first one.
    pub(super) fn continues_promise(&self) -> bool {
        matches!(self, Self::Paxos(Paxos::Promise { from, at, suffix, .. }) if at > from && !suffix.is_empty())
    }

    /// Whether it is a chunk of an `AcceptSync`, and not the first one.
    pub(super) fn continues_sync(&self) -> bool {
        matches!(self, Self::Paxos(Paxos::AcceptSync { from, at, .. }) if at > from)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Membership(m) => write!(f, "{m:?}"),
            Self::Heartbeat(Heartbeat::Request { round, inc }) => {
                write!(f, "HbRequest(round {round}, inc {inc})")
            }
            Self::Heartbeat(Heartbeat::Reply { round, inc, ballot, prom, leader, happy, .. }) => write!(
                f,
                "HbReply(round {round}, inc {inc}, ballot {ballot}, prom {prom}, leader {leader}, {})",
                if *happy { "happy" } else { "unhappy" }
            ),
            Self::Accept(a) => {
                write!(
                    f,
                    "Accept(n {}, from {}, {}, decided {})",
                    a.n,
                    a.from,
                    Count(a.entries.len()),
                    a.decided
                )
            }
            Self::Paxos(p) => paxos(p, f),
            Self::Request(o) => write!(f, "Request(kind {})", o.kind()),
            Self::CatchUp(o) => write!(f, "CatchUp(kind {})", o.kind()),
            Self::Register(m) => register(m, f),
            Self::Broadcast(m) => broadcast(m, f),
            Self::CrossCheck(CrossCheckMessage::State(s)) => write!(f, "State(applied {})", s.applied),
            Self::CrossCheck(CrossCheckMessage::Differs(s)) => write!(f, "Differs(applied {})", s.applied),
            Self::Link(o) => link(o, f),
        }
    }
}

fn link(frame: &Opened, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match frame.message() {
        Ok(LinkMessage::Data { inc, low, number, .. }) => {
            write!(f, "Data(inc {inc}, low {low}, number {number})")
        }
        Ok(LinkMessage::Ack { inc, of, below, .. }) => write!(f, "Ack(inc {inc}, of {of}, below {below})"),
        Err(_) => write!(f, "Link(kind {})", frame.kind()),
    }
}

fn register(m: &RegisterMessage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match m {
        RegisterMessage::Query { id, name, .. } => write!(f, "Query({name}, operation {id})"),
        RegisterMessage::State { id, cell: None, .. } => write!(f, "State(nothing, operation {id})"),
        RegisterMessage::State { id, cell: Some(cell), .. } => {
            write!(f, "State({}, operation {id})", cell.tag)
        }
        RegisterMessage::Impose { id, name, cell } => {
            write!(f, "Impose({name} := {}, operation {id})", cell.tag)
        }
        RegisterMessage::Imposed { id } => write!(f, "Imposed(operation {id})"),
    }
}

fn broadcast(m: &BroadcastMessage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match m {
        BroadcastMessage::Relay { messages } => {
            let names: Vec<String> = messages.iter().map(|m| m.id.to_string()).collect();
            write!(f, "Relay({})", names.join(", "))
        }
        BroadcastMessage::Have { counts, rows, .. } => {
            let rows: Vec<String> = rows.iter().map(|row| row_words(row)).collect();
            write!(f, "Have({}{})", rows.join(" "), if *counts { "" } else { ", counts nowhere" })
        }
        BroadcastMessage::Told { end } => write!(f, "Told(deliveries below {end})"),
    }
}

/// What one process holds of each origin: a watermark, and what lies above it.
fn row_words(row: &[Seen]) -> String {
    let of = |seen: &Seen| match seen.end() == seen.low() {
        true => seen.low().to_string(),
        false => format!("{}+{}", seen.low(), seen.end() - seen.low()),
    };
    format!("[{}]", row.iter().map(of).collect::<Vec<_>>().join(" "))
}

fn paxos(p: &Paxos, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match p {
        Paxos::PrepareReq => write!(f, "PrepareReq"),
        Paxos::Prepare { n, acc, len, decided, held, .. } => {
            let has = held.map_or_else(String::new, |held| format!(", has up to {}", held.upto));
            write!(f, "Prepare(n {n}, accRnd {acc}, len {len}, decided {decided}{has})")
        }
        Paxos::Promise { n, sess, acc, len, decided, at, suffix, held, .. } => {
            let has = if *held > 0 { format!(", has up to {held}") } else { String::new() };
            write!(
                f,
                "Promise(n {n}, sess {}.{}, accRnd {acc}, len {len}, decided {decided}, from {at}, {}{has})",
                sess.inc,
                sess.number,
                Count(suffix.len())
            )
        }
        Paxos::Behind { n, decided } => write!(f, "Behind(n {n}, decided {decided})"),
        Paxos::AcceptSync { n, sess, at, entries, end, decided, .. } => write!(
            f,
            "AcceptSync(n {n}, sess {}.{}, from {at}, {} up to {end}, decided {decided})",
            sess.inc,
            sess.number,
            Count(entries.len())
        ),
        Paxos::Accepted { n, len, gap, .. } => {
            write!(f, "Accepted(n {n}, len {len}{})", if *gap { ", gap" } else { "" })
        }
        Paxos::Decide { n, decided } => write!(f, "Decide(n {n}, {decided})"),
        Paxos::Nack { prom } => write!(f, "Nack(prom {prom})"),
        Paxos::ReadIndex { n, inc, round } => write!(f, "ReadIndex(n {n}, inc {inc}, round {round})"),
        Paxos::ReadAck { n, inc, round } => write!(f, "ReadAck(n {n}, inc {inc}, round {round})"),
        Paxos::HandOver { n } => write!(f, "HandOver(n {n})"),
        Paxos::Diverged { n, index, .. } => write!(f, "Diverged(n {n}, at {index})"),
        Paxos::Durable { inc, prom, acc, len } => {
            write!(f, "Durable(inc {inc}, prom {prom}, accRnd {acc}, len {len})")
        }
    }
}

struct Count(usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "no entries"),
            1 => write!(f, "1 entry"),
            n => write!(f, "{n} entries"),
        }
    }
}
