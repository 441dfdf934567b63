//! What a boot found.

use std::fmt;
use std::path::PathBuf;

/// What a boot found in the data directory: one clear line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing: a new store.
    Fresh,
    /// The store of a process that had shut down.
    Clean,
    /// The store of a process that had crashed.
    Recovered {
        /// How many log entries it holds.
        entries: u64,
        /// Whether a write was cut short; it had not been acknowledged.
        torn: bool,
    },
    /// A store that has lost acknowledged data. It is set aside, and a new one with a new disk id
    /// takes its place, which can only be a learner's.
    Damaged {
        /// What is wrong with it.
        reason: String,
        /// Where it is now; `None` if it was gone.
        aside: Option<PathBuf>,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Fresh => f.write_str("fresh: a new store"),
            Verdict::Clean => f.write_str("clean start"),
            Verdict::Recovered { entries, torn } => {
                let torn = if *torn { ", the last write was cut short" } else { "" };
                write!(f, "recovered after a crash: {entries} log entries{torn}")
            }
            Verdict::Damaged { reason, aside: Some(aside) } => {
                write!(
                    f,
                    "damaged: {reason}; the store is set aside at {}, this disk starts empty as a learner",
                    aside.display()
                )
            }
            Verdict::Damaged { reason, aside: None } => {
                write!(f, "damaged: {reason}; this disk starts empty as a learner")
            }
        }
    }
}
