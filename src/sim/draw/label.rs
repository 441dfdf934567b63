//! Messages and stores in the few words that fit beside an arrow.

use crate::broadcast::TotalOrderMessage;
use crate::consensus::{Heartbeat, Membership, Paxos};
use crate::kernel::Opened;
use crate::register::RegisterMessage;
use crate::sim::facts::Facts;
use crate::sim::said::Said;
use crate::sim::trace::Subject;
use bytes::Bytes;

/// What a message says, and whether a picture is about such messages at all.
pub(super) struct Label {
    pub(super) text: String,
    pub(super) kind: Kind,
    pub(super) about: Subject,
}

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Heartbeat,
    Membership,
    /// What a run would come to the same without, mostly: requests on their way, catching up.
    Aside,
    /// Ballots, logs, registers.
    Protocol,
}

/// The entries from one index to another, or none.
fn range(from: u64, entries: usize) -> String {
    match entries as u64 {
        0 => "no entries".into(),
        1 => format!("entry {from}"),
        n => format!("entries {from}–{}", from + n - 1),
    }
}

/// What a frame says.
pub(super) fn label(bytes: &Bytes) -> Label {
    let said = match Said::read(bytes.clone()) {
        Ok(said) => said,
        Err(error) => return Label { text: error.to_string(), kind: Kind::Aside, about: Subject::Log },
    };
    let about = match &said {
        Said::Register(_) => Subject::Registers,
        Said::Link(_) | Said::Broadcast(_) => Subject::Topics,
        Said::Heartbeat(_)
        | Said::Membership(_)
        | Said::Accept(_)
        | Said::Paxos(_)
        | Said::Request(_)
        | Said::CatchUp(_)
        | Said::CrossCheck(_) => Subject::Log,
    };
    let (kind, text) = match said {
        Said::Heartbeat(Heartbeat::Request { round, .. }) => (Kind::Heartbeat, format!("heartbeat {round}?")),
        Said::Heartbeat(Heartbeat::Reply { round, happy, .. }) => {
            (Kind::Heartbeat, format!("heartbeat {round}{}", if happy { "" } else { ", unhappy" }))
        }
        Said::Membership(Membership::Hello { inc, set, .. }) => {
            let knows = if set.is_empty() { "" } else { ", knows all" };
            (Kind::Membership, format!("Hello inc {inc}{knows}"))
        }
        Said::Membership(Membership::Amnesia { reason, .. }) => {
            (Kind::Membership, format!("your votes do not count: {reason:?}"))
        }
        Said::Accept(a) => (Kind::Protocol, format!("Accept n {}, {}", a.n, range(a.from, a.entries.len()))),
        Said::Paxos(p) => paxos(&p),
        Said::Register(m) => (Kind::Protocol, register(&m)),
        Said::Request(o) => (Kind::Aside, request(&o)),
        Said::CatchUp(o) => (Kind::Aside, format!("catch-up (kind {})", o.kind())),
        other @ (Said::Link(_) | Said::Broadcast(_) | Said::CrossCheck(_)) => {
            (Kind::Aside, other.to_string())
        }
    };
    Label { text, kind, about }
}

fn request(o: &Opened) -> String {
    match o.message() {
        Ok(TotalOrderMessage::Forward { entries }) => match entries.len() {
            1 => "Forward a command".into(),
            n => format!("Forward {n} commands"),
        },
        Ok(TotalOrderMessage::ReadAsk { number, .. }) => format!("ReadAsk {number}"),
        Ok(TotalOrderMessage::ReadAt { number, index, .. }) => format!("ReadAt {number}, index {index}"),
        Err(error) => error.to_string(),
    }
}

fn paxos(p: &Paxos) -> (Kind, String) {
    let text = match p {
        Paxos::PrepareReq => return (Kind::Aside, "who leads?".into()),
        Paxos::Durable { .. } => return (Kind::Aside, "durable".into()),
        Paxos::Prepare { n, acc, len, .. } => format!("Prepare n {n}, accRnd {acc}, length {len}"),
        Paxos::Promise { n, acc, len, suffix, .. } if suffix.is_empty() => {
            format!("Promise n {n}, accRnd {acc}, length {len}")
        }
        Paxos::Promise { n, acc, at, suffix, .. } => {
            format!("Promise n {n}, accRnd {acc}, {}", range(*at, suffix.len()))
        }
        Paxos::Behind { n, decided } => format!("Behind n {n}, {decided} decided"),
        Paxos::AcceptSync { n, at, entries, .. } => {
            format!("AcceptSync n {n}, at {at}: {}", range(*at, entries.len()))
        }
        Paxos::Accepted { n, len, gap } => {
            format!("Accepted n {n}, length {len}{}", if *gap { ", gap" } else { "" })
        }
        Paxos::Decide { n, decided } => format!("Decide n {n}, length {decided}"),
        Paxos::Nack { prom } => format!("Nack, prom {prom}"),
        Paxos::ReadIndex { n, round, .. } => format!("ReadIndex n {n}, round {round}"),
        Paxos::ReadAck { n, round, .. } => format!("ReadAck n {n}, round {round}"),
        Paxos::HandOver { n } => format!("HandOver n {n}"),
        Paxos::Diverged { n, index, .. } => format!("Diverged n {n}, at {index}"),
    };
    (Kind::Protocol, text)
}

fn register(m: &RegisterMessage) -> String {
    match m {
        RegisterMessage::Query { id, name, .. } => format!("Query {name} ({id})"),
        RegisterMessage::State { id, cell: None, .. } => format!("State: nothing ({id})"),
        RegisterMessage::State { id, cell: Some(cell), .. } => {
            format!("State: {} at {} ({id})", String::from_utf8_lossy(&cell.value), cell.tag)
        }
        RegisterMessage::Impose { id, name, cell } => {
            format!("Impose {name} := {} at {} ({id})", String::from_utf8_lossy(&cell.value), cell.tag)
        }
        RegisterMessage::Imposed { id } => format!("Imposed ({id})"),
    }
}

/// What became durable, and whether ballots or the log are part of it.
pub(super) fn stored(before: &Facts, after: &Facts, batch: &str) -> (String, bool) {
    let mut parts = Vec::new();
    if before.prom != after.prom {
        parts.push(format!("prom {}", after.prom));
    }
    if before.acc != after.acc {
        parts.push(format!("accRnd {}", after.acc));
    }
    if before.len != after.len {
        parts.push(format!("log length {}", after.len));
    }
    let telling = !parts.is_empty();
    if before.formed != after.formed {
        parts.push("the cluster has formed".into());
    }
    if before.inc != after.inc {
        parts.push(format!("incarnation {}", after.inc));
    }
    if before.decided != after.decided {
        parts.push(format!("decided {}", after.decided));
    }
    if parts.is_empty() && batch.len() < 60 {
        parts.push(batch.into());
    }
    (parts.join(", "), telling)
}
