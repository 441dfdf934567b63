//! What a client asked, and what it was told.

use std::fmt;

/// A request of a client. Keys and values are text, so that a history can be read by people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Writes a value.
    Put {
        /// Key written.
        key: String,
        /// Value written.
        value: String,
    },
    /// Reads a value.
    Get {
        /// Key read.
        key: String,
        /// A read of whatever state the replica has: it may be stale, but never invented.
        serializable: bool,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Key removed.
        key: String,
    },
    /// Writes `value` if the key has the `expected` one, in one step.
    Cas {
        /// Key compared and written.
        key: String,
        /// The value compared with; `None` compares with "absent".
        expected: Option<String>,
        /// The value written where the comparison holds.
        value: String,
    },
    /// Reads, then writes, in one step.
    Txn {
        /// Keys read; they see the state before the writes.
        reads: Vec<String>,
        /// Keys written, each at most once.
        writes: Vec<Write>,
    },
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Key written.
    pub key: String,
    /// Value written; `None` deletes the key.
    pub value: Option<String>,
}

/// The answer to a [`Call`], of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value is written.
    Put,
    /// The value read; `None` where the key was absent.
    Get(Option<String>),
    /// Whether there was something to delete, where the client was told.
    Delete(Option<bool>),
    /// Whether the comparison held, and so the value was written.
    Cas(bool),
    /// The values read, in the order of the request.
    Txn(Vec<Option<String>>),
}

/// What became of a call, as far as its client can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Executed and answered.
    Ok {
        /// The answer.
        reply: Reply,
        /// Header revision of the answer, where the client was told.
        revision: Option<u64>,
        /// The replica that answered, where the client knows.
        replica: Option<u64>,
    },
    /// Surely not executed, now or later.
    Fail,
    /// Executed, or not, or later: nobody told the client.
    Unknown,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u64,
    /// What it asked.
    pub call: Call,
    /// When it sent the request, in nanoseconds.
    pub start_ns: u64,
    /// When it had the answer, or gave up; `None` if it never did either.
    pub end_ns: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What an operation did to the store's revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It raised the revision by one.
    Made,
    /// It left the store as it was.
    None,
    /// A delete that did not say whether there was something to delete.
    Unsaid,
}

impl Call {
    /// The keys that the call names, repeated if it names them twice.
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Call::Put { key, .. } | Call::Get { key, .. } | Call::Delete { key } | Call::Cas { key, .. } => {
                vec![key]
            }
            Call::Txn { reads, writes } => {
                reads.iter().map(String::as_str).chain(writes.iter().map(|w| w.key.as_str())).collect()
            }
        }
    }

    /// What the call writes if it takes effect, per key.
    pub(super) fn writes(&self) -> Vec<(&str, Option<&str>)> {
        match self {
            Call::Put { key, value } | Call::Cas { key, value, .. } => vec![(key, Some(value))],
            Call::Get { .. } => vec![],
            Call::Delete { key } => vec![(key, None)],
            Call::Txn { writes, .. } => writes.iter().map(|w| (w.key.as_str(), w.value.as_deref())).collect(),
        }
    }

    /// Whether the reply is of the call's kind.
    pub(super) fn fits(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Call::Put { .. }, Reply::Put)
            | (Call::Get { .. }, Reply::Get(_))
            | (Call::Delete { .. }, Reply::Delete(_))
            | (Call::Cas { .. }, Reply::Cas(_)) => true,
            (Call::Txn { reads, .. }, Reply::Txn(values)) => reads.len() == values.len(),
            (_, Reply::Put | Reply::Get(_) | Reply::Delete(_) | Reply::Cas(_) | Reply::Txn(_)) => false,
        }
    }
}

impl Operation {
    /// The answer, where there was one.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Outcome::Ok { reply, .. } => Some(reply),
            Outcome::Fail | Outcome::Unknown => None,
        }
    }

    /// The header revision of the answer, where there was one.
    pub fn revision(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Ok { revision, .. } => *revision,
            Outcome::Fail | Outcome::Unknown => None,
        }
    }

    /// The replica that answered, where it is known.
    pub fn replica(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Ok { replica, .. } => *replica,
            Outcome::Fail | Outcome::Unknown => None,
        }
    }

    /// Whether it is a read that may be stale.
    pub fn is_serializable(&self) -> bool {
        matches!(self.call, Call::Get { serializable: true, .. })
    }

    /// The instant before which it took effect, if it did: infinity unless it was answered.
    pub(super) fn deadline(&self) -> u64 {
        match self.outcome {
            Outcome::Ok { .. } => self.end_ns.unwrap_or(u64::MAX),
            Outcome::Fail | Outcome::Unknown => u64::MAX,
        }
    }

    /// What an answered operation did to the store's revision.
    pub(super) fn change(&self) -> Change {
        match (&self.call, self.reply()) {
            (_, None) => Change::Unsaid,
            (_, Some(Reply::Put | Reply::Delete(Some(true)) | Reply::Cas(true))) => Change::Made,
            (_, Some(Reply::Get(_) | Reply::Delete(Some(false)) | Reply::Cas(false))) => Change::None,
            (_, Some(Reply::Delete(None))) => Change::Unsaid,
            (call, Some(Reply::Txn(_))) => {
                let writes = call.writes();
                match writes.iter().any(|(_, value)| value.is_some()) {
                    true => Change::Made,
                    false if writes.is_empty() => Change::None,
                    false => Change::Unsaid,
                }
            }
        }
    }

    /// Whether it may have written what its call says: not where it surely failed, nor where its
    /// comparison did not hold.
    pub(super) fn may_write(&self) -> bool {
        match &self.outcome {
            Outcome::Ok { reply, .. } => !matches!(reply, Reply::Cas(false) | Reply::Delete(Some(false))),
            Outcome::Fail => false,
            Outcome::Unknown => true,
        }
    }
}

struct Shown<'a>(Option<&'a str>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value:?}"),
            None => write!(f, "absent"),
        }
    }
}

/// The call and its answer in a few words: `get a: "c1-1"`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.call {
            Call::Put { key, value } => write!(f, "put {key} = {value:?}")?,
            Call::Get { key, serializable } => {
                write!(f, "get {key}{}", if *serializable { " (serializable)" } else { "" })?;
            }
            Call::Delete { key } => write!(f, "delete {key}")?,
            Call::Cas { key, expected, value } => {
                write!(f, "cas {key} from {} to {value:?}", Shown(expected.as_deref()))?;
            }
            Call::Txn { reads, writes } => {
                write!(f, "txn")?;
                let answers = match self.reply() {
                    Some(Reply::Txn(values)) => values.as_slice(),
                    _ => &[],
                };
                for (i, key) in reads.iter().enumerate() {
                    match answers.get(i) {
                        Some(value) => write!(f, " {key}: {},", Shown(value.as_deref()))?,
                        None => write!(f, " {key}?,")?,
                    }
                }
                for w in writes {
                    write!(f, " {key} = {value},", key = w.key, value = Shown(w.value.as_deref()))?;
                }
            }
        }
        match &self.outcome {
            Outcome::Fail => write!(f, "  [failed]"),
            Outcome::Unknown => write!(f, "  [fate unknown]"),
            Outcome::Ok { reply, .. } => match reply {
                Reply::Put | Reply::Txn(_) | Reply::Delete(None) => Ok(()),
                Reply::Get(value) => write!(f, ": {}", Shown(value.as_deref())),
                Reply::Delete(Some(true)) => write!(f, ": deleted"),
                Reply::Delete(Some(false)) => write!(f, ": nothing there"),
                Reply::Cas(true) => write!(f, ": succeeded"),
                Reply::Cas(false) => write!(f, ": not equal"),
            },
        }
    }
}
