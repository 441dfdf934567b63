//! `kvorum propose` and `kvorum decision`

use std::ffi::OsString;

use clap::Args;

use super::{Failure, block_on, connection::Connection, put::read_value};

/// Propose a value to an instance of consensus, and print the decision
#[derive(Debug, Args)]
#[command(after_help = "\
Of all values proposed to an instance one is decided, the same for everyone, for ever. What is printed \
may be another's:
  kvorum propose coordinator/7 \"$(hostname)\"
Without VALUE, the value is read from standard input, to its end. Proposing again is safe.")]
pub(super) struct Propose {
    /// The instance: a name of 1 to 256 bytes
    instance: String,
    /// The value; standard input if absent
    value: Option<OsString>,
    #[command(flatten)]
    connection: Connection,
}

/// Print the decision of an instance of consensus
#[derive(Debug, Args)]
#[command(after_help = "Exits with 4 if there is none yet.")]
pub(super) struct Decision {
    /// The instance
    instance: String,
    /// Wait for it, for as long as --command-timeout
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    connection: Connection,
}

const NO_VALUE: &str =
    "propose needs a value, as an argument or on standard input; for an empty one write ''";

impl Propose {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let value = match self.value {
            Some(value) => value.into_encoded_bytes(),
            None => read_value(NO_VALUE)?,
        };
        let decision =
            block_on(async { Ok(connection.client()?.consensus(self.instance).propose(value).await?) })?;
        printer.decision(&decision)
    }
}

impl Decision {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let decision = block_on(async {
            let instance = connection.client()?.consensus(&self.instance);
            Ok(if self.wait { instance.decision().await? } else { instance.decided().await? })
        })?;
        match decision {
            Some(decision) => printer.decision(&decision),
            None => Err(Failure::NotYet(format!("instance {:?} has no decision yet", self.instance))),
        }
    }
}
