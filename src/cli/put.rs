//! `kvorum put`

use std::{
    ffi::OsString,
    io::{IsTerminal, Read, stdin},
    os::unix::ffi::OsStringExt,
};

use clap::Args;

use super::{
    Failure, block_on,
    connection::{self, Connection},
};
use crate::client;

/// Set a key
#[derive(Debug, Args)]
#[command(after_help = "\
Without VALUE, the value is read from standard input, to its end:
  kvorum put config < config.toml

A value that begins with a dash follows two dashes:
  kvorum put key -- -1")]
pub(super) struct Put {
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    connection: Connection,
}

/// What stands in a transaction as well.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The key
    key: OsString,
    /// The value; standard input if absent
    #[arg(conflicts_with = "ignore_value")]
    value: Option<OsString>,
    /// Attach the key to this lease, an id in hexadecimal
    #[arg(long, value_parser = lease, default_value = "0", hide_default_value = true)]
    lease: i64,
    /// Print what the key was before
    #[arg(long)]
    prev_kv: bool,
    /// Keep the value that the key has
    #[arg(long)]
    ignore_value: bool,
    /// Keep the lease that the key has
    #[arg(long)]
    ignore_lease: bool,
}

impl Put {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.refuse_table()?;
        let mut request = self.request;
        if request.value.is_none() && !request.ignore_value {
            request.value = Some(OsString::from_vec(read_value(NO_VALUE)?));
        }
        let Some((key, value, options)) = request.parts() else {
            return Err(Failure::Usage(NO_VALUE.into()));
        };
        let reply = block_on(async {
            let client = connection.client()?;
            connection::with(client, async |client| Ok(options.apply(client.put(key, value)).await?)).await
        })?;
        printer.put(&reply)
    }
}

/// Separated, so that a call and an operation are built alike.
struct Options {
    lease: i64,
    prev_kv: bool,
    ignore_value: bool,
    ignore_lease: bool,
}

impl Options {
    fn apply<C>(&self, mut put: client::Put<C>) -> client::Put<C> {
        if self.lease != 0 {
            put = put.lease(self.lease);
        }
        if self.prev_kv {
            put = put.prev_kv();
        }
        if self.ignore_value {
            put = put.ignore_value();
        }
        if self.ignore_lease {
            put = put.ignore_lease();
        }
        put
    }
}

impl Request {
    /// Key, value, options; None if there is no value.
    fn parts(self) -> Option<(Vec<u8>, Vec<u8>, Options)> {
        let Self { key, value, lease, prev_kv, ignore_value, ignore_lease } = self;
        let value = match value {
            Some(value) => value.into_encoded_bytes(),
            None if ignore_value => Vec::new(),
            None => return None,
        };
        Some((key.into_encoded_bytes(), value, Options { lease, prev_kv, ignore_value, ignore_lease }))
    }

    /// As an operation of a transaction; None if there is no value.
    pub(super) fn op(self) -> Option<client::Op> {
        let (key, value, options) = self.parts()?;
        Some(options.apply(client::Op::put(key, value)).into())
    }
}

const NO_VALUE: &str = "put needs a value, as an argument or on standard input; for an empty one write ''";

/// What stands on standard input; without anything there, a usage error with this text.
pub(super) fn read_value(missing: &str) -> Result<Vec<u8>, Failure> {
    if stdin().is_terminal() {
        eprintln!("reading the value from the terminal; end it with Ctrl-D");
    }
    let mut value = Vec::new();
    let read = stdin().lock().read_to_end(&mut value);
    read.map_err(|e| Failure::Other(format!("cannot read the value from standard input: {e}")))?;
    if value.is_empty() {
        return Err(Failure::Usage(missing.into()));
    }
    Ok(value)
}

/// A lease id in hexadecimal.
fn lease(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    i64::from_str_radix(digits, 16).map_err(|_| format!("bad lease ID {text:?}, expecting ID in hexadecimal"))
}
