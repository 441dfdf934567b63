//! `kvorum register read|write`

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::{Failure, block_on, connection::Connection, put::read_value};

/// Read or write an atomic register, without any leader
#[derive(Debug, Args)]
#[command(after_help = "\
A register holds one value. Each operation takes effect at one instant, at a majority of the replicas; \
while a leader is being replaced, none of them waits.
  kvorum register write mode maintenance
  kvorum register read mode")]
pub(super) struct Register {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what a register holds; nothing, if it was never written
    Read(Read),
    /// Have a register hold a value
    #[command(after_help = "\
Without VALUE, the value is read from standard input, to its end. The register comes into being when it \
is first written. A write without an answer (exit code 3) is not repeated: others may have written since.")]
    Write(Write),
}

#[derive(Debug, Args)]
struct Read {
    /// The register
    name: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Write {
    /// The register: a name of 1 to 100 bytes
    name: String,
    /// The value; standard input if absent
    value: Option<OsString>,
    #[command(flatten)]
    connection: Connection,
}

impl Register {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        match self.action {
            Action::Read(read) => read.run(before),
            Action::Write(write) => write.run(before),
        }
    }
}

impl Read {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let found = block_on(async { Ok(connection.client()?.register(self.name).read().await?) })?;
        printer.register(found.as_ref())
    }
}

const NO_VALUE: &str =
    "register write needs a value, as an argument or on standard input; for an empty one write ''";

impl Write {
    fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let value = match self.value {
            Some(value) => value.into_encoded_bytes(),
            None => read_value(NO_VALUE)?,
        };
        let stamp = block_on(async { Ok(connection.client()?.register(self.name).write(value).await?) })?;
        printer.written(&stamp)
    }
}
