//! `kvorum del`

use std::ffi::OsString;

use clap::Args;

use super::{
    Failure, block_on,
    connection::{self, Connection},
};
use crate::client;

/// Delete a key, or a range of keys
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the number of keys deleted.
  kvorum del greeting            one key
  kvorum del --prefix user/      all keys that begin with user/
  kvorum del a m                 all keys from a up to, and without, m")]
pub(super) struct Del {
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    connection: Connection,
}

/// What stands in a transaction as well.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The key, or the first of a range
    key: OsString,
    /// The first key beyond the range
    #[arg(conflicts_with_all = ["prefix", "from_key"])]
    range_end: Option<OsString>,
    /// All keys that begin with KEY
    #[arg(long, conflicts_with = "from_key")]
    prefix: bool,
    /// All keys from KEY on
    #[arg(long)]
    from_key: bool,
    /// Print what the keys were
    #[arg(long)]
    prev_kv: bool,
}

impl Del {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.refuse_table()?;
        let request = self.request;
        let key = request.key.as_encoded_bytes().to_vec();
        let reply = block_on(async {
            let client = connection.client()?;
            connection::with(client, async |client| Ok(request.apply(client.delete(key)).await?)).await
        })?;
        printer.delete(&reply)
    }
}

impl Request {
    fn apply<C>(&self, mut delete: client::Delete<C>) -> client::Delete<C> {
        if self.prefix {
            delete = delete.prefix();
        }
        if self.from_key {
            delete = delete.from_key();
        }
        if let Some(end) = &self.range_end {
            delete = delete.range(end.as_encoded_bytes());
        }
        if self.prev_kv {
            delete = delete.prev_kv();
        }
        delete
    }

    /// As an operation of a transaction.
    pub(super) fn op(self) -> client::Op {
        let key = self.key.as_encoded_bytes().to_vec();
        self.apply(client::Op::delete(key)).into()
    }
}
