//! What the commands of the abstractions print: for people, or as one line of JSON per reply.

use std::collections::BTreeMap;
use std::io::{self, Write, stdout};

use serde::Serialize;

use super::{
    Failure, Format, Printer,
    json::{self, base64},
    simple,
};
use crate::client::{
    BoundSet, Delivery, Outcome, Published, Reason, Stamp, TransactionStatus, Vote, Written,
};

impl Printer {
    /// Before a command runs whose reply has two formats only.
    pub(in crate::cli) fn simple_or_json(&self) -> Result<(), Failure> {
        let name = match self.format {
            Format::Simple | Format::Json => return Ok(()),
            Format::Fields => "fields",
            Format::Table => "table",
        };
        Err(Failure::Usage(format!("{name} is not an output format of this command; use simple or json")))
    }

    pub(in crate::cli) fn register(&self, found: Option<&Written>) -> Result<(), Failure> {
        self.say(
            &Register {
                value: found.map(|written| Base64(&written.value)),
                stamp: found.map(|written| written.stamp.into()),
            },
            |out| found.map_or(Ok(()), |written| simple::line(out, &written.value, self.hex)),
        )
    }

    pub(in crate::cli) fn written(&self, stamp: &Stamp) -> Result<(), Failure> {
        let json = Register { value: None, stamp: Some((*stamp).into()) };
        self.say(&json, |out| writeln!(out, "OK"))
    }

    pub(in crate::cli) fn decision(&self, decision: &[u8]) -> Result<(), Failure> {
        self.say(&Decision { decision: Base64(decision) }, |out| simple::line(out, decision, self.hex))
    }

    /// Bounds, a line each.
    pub(in crate::cli) fn bounds(&self, bounds: &BoundSet) -> Result<(), Failure> {
        let bounds = [
            ("instances", bounds.instances),
            ("decision-bytes", bounds.decision_bytes),
            ("decisions-bytes", bounds.decisions_bytes),
            ("transactions", bounds.transactions),
            ("participants", bounds.participants),
            ("finished", bounds.finished),
            ("topics", bounds.topics),
            ("topic-entries", bounds.topic_entries),
            ("topic-bytes", bounds.topic_bytes),
            ("publication-bytes", bounds.publication_bytes),
            ("publishers", bounds.publishers),
        ];
        let json: BTreeMap<&str, u64> = bounds.iter().filter_map(|(name, n)| Some((*name, (*n)?))).collect();
        self.say(&json, |out| {
            let known = bounds.iter().filter_map(|(name, n)| Some((name, (*n)?)));
            known.into_iter().try_for_each(|(name, n)| writeln!(out, "{name:<18} {n}"))
        })
    }

    /// A transaction, a line for each participant after its own.
    pub(in crate::cli) fn transaction(&self, status: &TransactionStatus) -> Result<(), Failure> {
        self.say(&Transaction::from(status), |out| {
            writeln!(out, "{}: {}", status.name, or_open(status.outcome.as_ref()))?;
            status.participants.iter().try_for_each(|p| {
                let vote = p.vote.as_ref().map_or("has not voted".into(), |vote| format!("votes {vote}"));
                let done = if p.acknowledged { ", has acknowledged" } else { "" };
                writeln!(out, "  {} {vote}{done}", p.name)
            })
        })
    }

    /// A transaction whose outcome a participant has not acknowledged.
    pub(in crate::cli) fn owed(&self, status: &TransactionStatus) -> Result<(), Failure> {
        self.say(&Transaction::from(status), |out| {
            writeln!(out, "{}: {}", status.name, or_open(status.outcome.as_ref()))
        })
    }

    pub(in crate::cli) fn outcome(&self, outcome: &Outcome) -> Result<(), Failure> {
        self.say(&OutcomeJson::from(outcome), |out| writeln!(out, "{outcome}"))
    }

    pub(in crate::cli) fn done(&self) -> Result<(), Failure> {
        self.say(&Done {}, |out| writeln!(out, "OK"))
    }

    pub(in crate::cli) fn published(&self, published: &Published) -> Result<(), Failure> {
        let Published { context, position, origin, sequence } = published;
        let ordered = *origin > 0; // not in total order
        let json = PublishedJson {
            position: Some(*position).filter(|_| !ordered),
            origin: Some(*origin).filter(|_| ordered),
            sequence: Some(*sequence).filter(|_| ordered),
            context: Some(hex(&context.0)).filter(|token| !token.is_empty()),
        };
        self.say(&json, |out| writeln!(out, "OK"))
    }

    pub(in crate::cli) fn delivery(&self, delivery: &Delivery, cursors: bool) -> Result<(), Failure> {
        let Delivery { payload, position, cursor, context, origin, sequence } = delivery;
        let ordered = *origin > 0; // not in total order
        let json = DeliveryJson {
            payload: Base64(payload),
            position: *position,
            cursor: hex(&cursor.0),
            context: Some(hex(&context.0)).filter(|token| !token.is_empty()),
            origin: Some(*origin).filter(|_| ordered),
            sequence: Some(*sequence).filter(|_| ordered),
        };
        self.say(&json, |out| {
            if cursors {
                write!(out, "{}\t", hex(&cursor.0))?;
            }
            simple::line(out, payload, self.hex)
        })
    }

    fn say(
        &self,
        json: &impl Serialize,
        simple: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        let made = match self.format {
            Format::Json => json::line(json).map(|line| out = line),
            // Others than simple were refused before the call was made.
            Format::Simple | Format::Fields | Format::Table => simple(&mut out),
        };
        made.and_then(|()| stdout().write_all(&out)).map_err(Failure::Output)
    }
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        base64(self.0, serializer)
    }
}

#[derive(Serialize)]
struct Register<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<StampJson>,
}

#[derive(Serialize)]
struct StampJson {
    number: u64,
    writer: u64,
}

impl From<Stamp> for StampJson {
    fn from(Stamp { number, writer }: Stamp) -> Self {
        Self { number, writer }
    }
}

fn or_open(outcome: Option<&Outcome>) -> String {
    outcome.map_or_else(|| "undecided".into(), ToString::to_string)
}

fn hex(token: &[u8]) -> String {
    token.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Serialize)]
struct Decision<'a> {
    decision: Base64<'a>,
}

#[derive(Serialize)]
struct Done {}

#[derive(Serialize)]
struct PublishedJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

#[derive(Serialize)]
struct DeliveryJson<'a> {
    payload: Base64<'a>,
    position: u64,
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
}

#[derive(Serialize)]
struct Transaction<'a> {
    name: &'a str,
    begun: u64,
    timeout_millis: u128,
    participants: Vec<Participant<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeJson<'a>>,
}

#[derive(Serialize)]
struct Participant<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vote: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    acknowledged: bool,
}

#[derive(Serialize)]
struct OutcomeJson<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<'a> From<&'a TransactionStatus> for Transaction<'a> {
    fn from(status: &'a TransactionStatus) -> Self {
        let participants = status.participants.iter().map(|p| {
            let (vote, reason) = match &p.vote {
                None => (None, None),
                Some(Vote::Yes) => (Some("yes"), None),
                Some(Vote::No(reason)) => (Some("no"), Some(reason.to_string())),
            };
            Participant { name: &p.name, vote, reason, acknowledged: p.acknowledged }
        });
        Self {
            name: &status.name,
            begun: status.begun,
            timeout_millis: status.timeout.as_millis(),
            participants: participants.collect(),
            outcome: status.outcome.as_ref().map(Into::into),
        }
    }
}

impl<'a> From<&'a Outcome> for OutcomeJson<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let (outcome, by, reason) = match outcome {
            Outcome::Committed => ("committed", None, None),
            Outcome::Aborted { by, reason } => ("aborted", by.as_deref(), Some(Reason::to_string(reason))),
        };
        Self { outcome, by, reason }
    }
}
