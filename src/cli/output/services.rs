//! What the commands of the abstractions print: for people, or as one line of JSON per reply.

use std::io::{self, Write, stdout};

use serde::Serialize;

use super::{
    Failure, Format, Printer,
    json::{self, base64},
    simple,
};
use crate::client::{Stamp, Written};

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
