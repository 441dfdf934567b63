//! Histories as files: JSON lines, in the format of the [module](super).

use super::operation::{Call, Operation, Outcome, Reply, Write};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};

/// The longest line that [`read`] takes, in bytes: etcd's largest request, and some.
pub const MAX_LINE: usize = 4 << 20;
/// The longest history that [`read`] takes, in operations.
pub const MAX_OPERATIONS: usize = 4 << 20;

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed.
    #[error("reading line {line} of the history: {source}")]
    Io {
        /// Line number, from 1.
        line: usize,
        /// What the source said.
        source: io::Error,
    },
    /// A line is not JSON, or a field has the wrong type.
    #[error("line {line} of the history is not an operation: {source}")]
    Json {
        /// Line number, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A line is JSON, but its fields contradict one another.
    #[error("line {line} of the history is not an operation: {reason}")]
    Field {
        /// Line number, from 1.
        line: usize,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// More than [`MAX_OPERATIONS`], or a line longer than [`MAX_LINE`].
    #[error("line {line} of the history is beyond the limit of {limit}: split the run")]
    TooLarge {
        /// Line number, from 1.
        line: usize,
        /// The limit, with its unit.
        limit: String,
    },
}

/// One line, as it is written.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Line {
    client: Option<u64>,
    op: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    expected: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Vec<Pair>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<Vec<Pair>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    serializable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<u64>,
    start_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_ns: Option<u64>,
    outcome: Fate,
}

#[derive(Serialize, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Serialize, Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Put,
    Get,
    Delete,
    Cas,
    Txn,
    #[default]
    #[serde(skip)]
    Missing,
}

#[derive(Serialize, Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Fate {
    Ok,
    Fail,
    Unknown,
    #[default]
    #[serde(skip)]
    Missing,
}

/// Tells `null` (the key was absent) from a field that is not there (nothing was said).
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Reads a history.
pub fn read(mut from: impl BufRead) -> Result<Vec<Operation>, ReadError> {
    let mut operations = Vec::new();
    let mut buffer = Vec::new();
    for line in 1.. {
        buffer.clear();
        let got = (&mut from)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut buffer)
            .map_err(|source| ReadError::Io { line, source })?;
        if got == 0 {
            break;
        }
        if got > MAX_LINE {
            return Err(ReadError::TooLarge { line, limit: format!("{MAX_LINE} bytes in a line") });
        }
        if buffer.trim_ascii().is_empty() {
            continue;
        }
        if operations.len() == MAX_OPERATIONS {
            return Err(ReadError::TooLarge { line, limit: format!("{MAX_OPERATIONS} operations") });
        }
        let parsed: Line =
            serde_json::from_slice(&buffer).map_err(|source| ReadError::Json { line, source })?;
        operations.push(parsed.operation().map_err(|reason| ReadError::Field { line, reason })?);
    }
    Ok(operations)
}

/// Writes a history, one operation per line, in the order given.
pub fn write<'a>(
    operations: impl IntoIterator<Item = &'a Operation>,
    mut to: impl io::Write,
) -> io::Result<()> {
    for operation in operations {
        serde_json::to_writer(&mut to, &Line::from(operation))?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

fn need<T>(value: Option<T>, field: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("the field `{field}` is missing"))
}

fn text(value: Option<Option<String>>) -> Result<String, String> {
    need(value, "value")?.ok_or_else(|| "`value` of a write is text, not null".to_owned())
}

impl Line {
    fn operation(self) -> Result<Operation, String> {
        let ok = match self.outcome {
            Fate::Ok => true,
            Fate::Fail | Fate::Unknown => false,
            Fate::Missing => return Err("the field `outcome` is missing (ok, fail or unknown)".to_owned()),
        };
        let start_ns = need(self.start_ns, "start_ns")?;
        if ok {
            let end = need(self.end_ns, "end_ns")?;
            if end < start_ns {
                return Err(format!("it ends at {end} before it starts at {start_ns}"));
            }
        }
        let (call, reply) = match self.op {
            Kind::Missing => {
                return Err("the field `op` is missing (put, get, delete, cas or txn)".to_owned());
            }
            Kind::Put => (Call::Put { key: need(self.key, "key")?, value: text(self.value)? }, Reply::Put),
            Kind::Get => {
                let call = Call::Get { key: need(self.key, "key")?, serializable: self.serializable };
                let value = if ok { need(self.value, "value")? } else { None };
                (call, Reply::Get(value))
            }
            Kind::Delete => (Call::Delete { key: need(self.key, "key")? }, Reply::Delete(self.deleted)),
            Kind::Cas => {
                let call = Call::Cas {
                    key: need(self.key, "key")?,
                    expected: need(self.expected, "expected")?,
                    value: text(self.value)?,
                };
                (call, Reply::Cas(if ok { need(self.succeeded, "succeeded")? } else { false }))
            }
            Kind::Txn => {
                let reads = self.reads.unwrap_or_default();
                let writes: Vec<Write> = self
                    .writes
                    .unwrap_or_default()
                    .into_iter()
                    .map(|pair| Write { key: pair.key, value: pair.value })
                    .collect();
                let keys: std::collections::BTreeSet<&str> = writes.iter().map(|w| w.key.as_str()).collect();
                if keys.len() < writes.len() {
                    return Err("a txn writes a key twice".to_owned());
                }
                let (reads, values) = reads.into_iter().map(|pair| (pair.key, pair.value)).unzip();
                (Call::Txn { reads, writes }, Reply::Txn(values))
            }
        };
        let outcome = match self.outcome {
            Fate::Ok => Outcome::Ok { reply, revision: self.revision, replica: self.replica },
            Fate::Fail => Outcome::Fail,
            Fate::Unknown | Fate::Missing => Outcome::Unknown,
        };
        Ok(Operation { client: need(self.client, "client")?, call, start_ns, end_ns: self.end_ns, outcome })
    }
}

impl From<&Operation> for Line {
    fn from(operation: &Operation) -> Line {
        let mut line = Line {
            client: Some(operation.client),
            revision: operation.revision(),
            replica: operation.replica(),
            start_ns: Some(operation.start_ns),
            end_ns: operation.end_ns,
            outcome: match operation.outcome {
                Outcome::Ok { .. } => Fate::Ok,
                Outcome::Fail => Fate::Fail,
                Outcome::Unknown => Fate::Unknown,
            },
            ..Line::default()
        };
        match &operation.call {
            Call::Put { key, value } => {
                line.op = Kind::Put;
                line.key = Some(key.clone());
                line.value = Some(Some(value.clone()));
            }
            Call::Get { key, serializable } => {
                line.op = Kind::Get;
                line.key = Some(key.clone());
                line.serializable = *serializable;
            }
            Call::Delete { key } => {
                line.op = Kind::Delete;
                line.key = Some(key.clone());
            }
            Call::Cas { key, expected, value } => {
                line.op = Kind::Cas;
                line.key = Some(key.clone());
                line.expected = Some(expected.clone());
                line.value = Some(Some(value.clone()));
            }
            Call::Txn { reads, writes } => {
                line.op = Kind::Txn;
                line.reads = Some(reads.iter().map(|key| Pair { key: key.clone(), value: None }).collect());
                line.writes = Some(
                    writes.iter().map(|w| Pair { key: w.key.clone(), value: w.value.clone() }).collect(),
                );
            }
        }
        match operation.reply() {
            None | Some(Reply::Put) => {}
            Some(Reply::Get(value)) => line.value = Some(value.clone()),
            Some(Reply::Delete(deleted)) => line.deleted = *deleted,
            Some(Reply::Cas(succeeded)) => line.succeeded = Some(*succeeded),
            Some(Reply::Txn(values)) => {
                for (pair, value) in line.reads.iter_mut().flatten().zip(values) {
                    pair.value.clone_from(value);
                }
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"client":1,"op":"put","key":"a","value":"x","revision":2,"start_ns":1,"end_ns":2,"outcome":"ok"}
{"client":2,"op":"get","key":"a","value":"x","serializable":true,"revision":2,"replica":0,"start_ns":3,"end_ns":4,"outcome":"ok"}
{"client":2,"op":"get","key":"b","value":null,"start_ns":3,"end_ns":4,"outcome":"ok"}
{"client":3,"op":"delete","key":"a","deleted":true,"start_ns":3,"end_ns":4,"outcome":"ok"}
{"client":3,"op":"cas","key":"a","expected":null,"value":"y","succeeded":false,"start_ns":5,"end_ns":6,"outcome":"ok"}
{"client":3,"op":"cas","key":"a","expected":"x","value":"y","start_ns":5,"outcome":"unknown"}
{"client":3,"op":"txn","reads":[{"key":"a","value":null}],"writes":[{"key":"b","value":"z"}],"start_ns":5,"end_ns":9,"outcome":"ok"}
{"client":3,"op":"put","key":"a","value":"z","start_ns":5,"end_ns":9,"outcome":"fail"}
"#;

    fn refused(line: &str) -> String {
        read(format!("\n{line}\n").as_bytes()).expect_err("it must be refused").to_string()
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let operations = read(LINES.as_bytes()).unwrap();
        assert_eq!(operations.len(), 8);
        let mut out = Vec::new();
        write(&operations, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), LINES);
    }

    #[test]
    fn errors_name_the_line_and_the_field() {
        assert!(refused("{").starts_with("line 2 of the history is not an operation"));
        assert!(refused(r#"{"client":1,"op":"put","outcome":"ok"}"#).contains("`start_ns` is missing"));
        let cas = r#"{"client":1,"op":"cas","key":"a","value":"b","start_ns":1,"end_ns":2,"outcome":"ok"}"#;
        assert!(refused(cas).contains("`expected` is missing"));
        let get = r#"{"client":1,"op":"get","key":"a","start_ns":1,"end_ns":2,"outcome":"ok"}"#;
        assert!(refused(get).contains("`value` is missing"));
        let backwards =
            r#"{"client":1,"op":"get","key":"a","value":null,"start_ns":3,"end_ns":2,"outcome":"ok"}"#;
        assert!(refused(backwards).contains("ends at 2 before it starts at 3"));
        let endless = r#"{"client":1,"op":"get","key":"a","value":null,"start_ns":3,"outcome":"ok"}"#;
        assert!(refused(endless).contains("`end_ns` is missing"));
        assert!(refused(r#"{"op":"bump","start_ns":3,"outcome":"ok"}"#).contains("unknown variant `bump`"));
        assert!(refused(r#"{"start_ns":3,"outcome":"fail"}"#).contains("`op` is missing"));
    }

    #[test]
    fn a_line_without_end_is_refused_in_bounded_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(read(endless), Err(ReadError::TooLarge { line: 1, .. })));
    }
}
