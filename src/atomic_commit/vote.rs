//! What participants say, and what comes of it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a participant says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Vote {
    /// It can commit, and will if it is told to.
    Yes,
    /// It cannot.
    No(Reason),
}

/// Why a participant cannot commit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reason {
    /// The result would contradict itself.
    Integrity,
    /// Another transaction is in the way.
    Concurrency,
    /// Its disk failed.
    Disk,
    /// It suspects that another participant has crashed, since that was silent for too long.
    Suspected,
    /// Something else.
    Other(String),
}

/// What comes of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Every participant voted yes.
    Committed,
    /// One voted no, or the time ran out.
    Aborted {
        /// Who voted no; nobody, where the time ran out.
        by: Option<String>,
        /// Its reason; where the time ran out, those that had not voted are suspected.
        reason: Reason,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integrity => "integrity",
            Self::Concurrency => "concurrency",
            Self::Disk => "disk error",
            Self::Suspected => "crash suspected",
            Self::Other(text) => text,
        })
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(reason) => write!(f, "no ({reason})"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::Aborted { by: Some(by), reason } => write!(f, "aborted by {by} ({reason})"),
            Self::Aborted { by: None, reason } => write!(f, "aborted: its time ran out ({reason})"),
        }
    }
}
