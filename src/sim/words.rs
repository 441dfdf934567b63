//! What clients ask and are told, in words.

use super::registers::Number;
use super::service::{self, Up};
use super::sizes;
use super::trace::{Note, Subject};
use crate::broadcast::{Either, Record, TopicIndication, TopicRequest};
use crate::kernel::ProcessId;
use crate::ledger;
use crate::register::{self, Ask};
use crate::stack::{Event, Indication};
use bytes::Bytes;

/// What a client asks.
pub(super) fn asked(event: &Event) -> (Subject, String) {
    match event {
        Event::Execute { request, command, .. } => {
            let of_ledger = command.get(1..).and_then(ledger::Command::decode).is_some();
            let about = if of_ledger { Subject::Ledger } else { Subject::Log };
            (about, format!("{} (request {request})", service::command_words(command)))
        }
        Event::Read { request, .. } => (Subject::Log, format!("read (request {request})")),
        Event::Cancel { request } => (Subject::Log, format!("cancel (request {request})")),
        Event::Frame { .. }
        | Event::Tick
        | Event::Connected { .. }
        | Event::Refused { .. }
        | Event::HandOver
        | Event::Rows { .. } => (Subject::Log, String::new()),
        Event::Topics(request) => (Subject::Topics, of_topics(request)),
        Event::Register { request, name, ask: Ask::Read, .. } => {
            (Subject::Registers, format!("read register {name} ({})", Number(*request)))
        }
        Event::Register { request, name, ask: Ask::Write(value), .. } => {
            (Subject::Registers, format!("write {} to register {name} ({})", lossy(value), Number(*request)))
        }
    }
}

fn of_topics(request: &TopicRequest) -> String {
    match request {
        TopicRequest::Publish { request, topic, payload, .. } => {
            format!("publish {} on {topic} (request {request})", lossy(payload))
        }
        TopicRequest::Subscribe { topic, .. } => format!("subscribe to {topic}"),
        TopicRequest::Unsubscribe { .. } => "unsubscribe".into(),
        TopicRequest::Acknowledge { request, position, .. } => {
            format!("acknowledge position {position} (request {request})")
        }
    }
}

/// What a process tells.
pub(super) fn told(at: ProcessId, indication: &Up) -> Note {
    let (about, text) = match indication {
        Indication::Reply { request, reply } => {
            let about = match reply {
                Either::First(_) => Subject::Log,
                Either::Second(_) => Subject::Ledger,
            };
            (about, format!("answers request {request}: {}", service::reply_words(reply)))
        }
        Indication::Readable { request } => (Subject::Log, format!("answers request {request}: it may read")),
        Indication::Refused { request, why } => (Subject::Log, format!("answers request {request}: {why}")),
        Indication::Returned { request, outcome } => {
            (Subject::Registers, format!("returns {}: {}", Number(*request), returned(outcome)))
        }
        Indication::Topics(told) => (Subject::Topics, by_topics(told)),
        Indication::Diverged => {
            (Subject::Log, "serves nothing any more: its state is not that of a majority".into())
        }
        Indication::LogsDiffer(divergence) => (Subject::Log, format!("halts: {divergence}")),
        Indication::Publish { .. } | Indication::Fetch { .. } | Indication::HandedOver => {
            (Subject::Log, String::new())
        }
    };
    Note::Told { at, about, text: text.into() }
}

fn returned(outcome: &register::Outcome) -> String {
    match outcome {
        Ok(None) => "nothing was ever written".into(),
        Ok(Some(cell)) => format!("{} at {}", lossy(&cell.value), cell.tag),
        Err(failed) => failed.to_string(),
    }
}

fn by_topics(told: &TopicIndication) -> String {
    match told {
        TopicIndication::Published { request, outcome: Ok(published) } => {
            format!("confirms publication {} (request {request})", published.id)
        }
        TopicIndication::Published { request, outcome: Err(why) } => {
            format!("answers request {request}: {why}")
        }
        TopicIndication::Delivered { records, .. } if records.is_empty() => "has nothing to deliver".into(),
        TopicIndication::Delivered { first, records, .. } => {
            let text: Vec<String> = records.iter().map(record).collect();
            format!("delivers from position {first}: {}", text.join(", "))
        }
        TopicIndication::Subscribed { outcome, .. } => format!("has a subscriber: {outcome:?}"),
        TopicIndication::Redelivered { outcome, .. } => {
            format!("delivers to its subscriber: {outcome:?}")
        }
        TopicIndication::Acknowledged { request, outcome } => {
            format!("takes acknowledgement {request}: {outcome:?}")
        }
        TopicIndication::Unsubscribed { outcome, .. } => format!("has a subscriber less: {outcome:?}"),
    }
}

fn record(record: &Record) -> String {
    match record {
        Record::Delivery(d) => format!("{} {} on {}", d.id, lossy(&d.payload), d.topic),
        Record::Gap { origin, from, to } => format!("a gap of {origin}, {from}..{to}"),
    }
}

fn lossy(bytes: &Bytes) -> std::borrow::Cow<'_, str> {
    sizes::shown(bytes)
}
