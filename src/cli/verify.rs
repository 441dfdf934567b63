//! `kvorum verify`

use std::{fs, io, path::PathBuf};

use clap::Args;

use super::{Failure, output};
use crate::history::{self, Limits, Operation, ReadError, Verdict};

/// Check a recorded history of client operations
#[derive(Debug, Args)]
#[command(after_help = "\
Decides whether a store that is linearizable and has revisions can have given these answers, and \
otherwise prints the property that is violated and the fewest operations that show it. The file has \
one JSON object per line: client, op, key, value, revision, start_ns, end_ns, outcome. Its format is \
in the documentation of the module kvorum::history.
  scripts/chaos --seconds 60 --history run.jsonl; kvorum verify run.jsonl

Exit codes:
  0  every property holds
  1  a property is violated
  2  the file is not a history, or is empty
  4  not decided within the limits, which is no pass")]
pub(super) struct Verify {
    /// The history; - for standard input
    file: PathBuf,
    /// Configurations of the search after which it gives up, over all keys
    #[arg(long, value_name = "N", default_value_t = Limits::default().configurations)]
    limit: u64,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let history = self.read()?;
        if history.is_empty() {
            let name = self.file.display();
            return Err(Failure::Usage(format!(
                "{name}: there are no operations in it, so nothing to verify"
            )));
        }
        let report = history::verify(&history, &Limits { configurations: self.limit, ..Limits::default() });
        output::line(format_args!("{report}"))?;
        match report.verdict() {
            Verdict::Holds => Ok(()),
            Verdict::Violated => Err(Failure::Other("the history is not that of a correct store".into())),
            Verdict::Undecided => Err(Failure::Undecided),
        }
    }

    fn read(&self) -> Result<Vec<Operation>, Failure> {
        let name = self.file.display();
        let wrong = |error: ReadError| Failure::Usage(format!("{name}: {error}"));
        if self.file.as_os_str() == "-" {
            return history::read(io::stdin().lock()).map_err(wrong);
        }
        let file = fs::File::open(&self.file).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        history::read(io::BufReader::new(file)).map_err(wrong)
    }
}
