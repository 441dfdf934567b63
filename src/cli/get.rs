//! `kvorum get`

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::{Failure, block_on, connection::Connection, output::Values};
use crate::client::{self, Order, SortBy};

/// Read a key, or a range of keys
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvorum get greeting                    one key
  kvorum get --prefix user/              all keys that begin with user/
  kvorum get a m                         all keys from a up to, and without, m
  kvorum get --prefix '' --limit 10      the first ten of all keys
  kvorum get greeting --rev 5            as it was at revision 5")]
pub(super) struct Get {
    #[command(flatten)]
    request: Request,
    /// Print values only, with -w simple
    #[arg(long)]
    print_value_only: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
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
    /// As of this revision
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// At most so many keys
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    limit: i64,
    /// What to sort by
    #[arg(long, value_enum, ignore_case = true)]
    sort_by: Option<Target>,
    /// Which way to sort
    #[arg(long, value_enum, ignore_case = true)]
    order: Option<Direction>,
    /// Keys without their values
    #[arg(long, conflicts_with = "count_only")]
    keys_only: bool,
    /// The number of keys only
    #[arg(long)]
    count_only: bool,
    /// Which reads may be old
    #[arg(long, value_enum, default_value = "l")]
    consistency: Consistency,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Target {
    Create,
    Key,
    Modify,
    Value,
    Version,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Direction {
    Ascend,
    Descend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Consistency {
    /// Linearizable: sees every write acknowledged before
    L,
    /// Serializable: what the replica has; faster, needs no majority, may be old
    S,
}

impl Get {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.refuse_table()?;
        let shown = match (self.print_value_only, self.request.count_only) {
            (true, _) if !printer.is_simple() => {
                return Err(Failure::Usage("--print-value-only is for `-w simple` only".into()));
            }
            (true, _) => Values::Only,
            (false, true) => Values::Count,
            (false, false) => Values::WithKeys,
        };
        let request = self.request;
        let key = request.key.as_encoded_bytes().to_vec();
        let reply = block_on(async { Ok(request.apply(connection.client()?.get(key)).await?) })?;
        printer.get(&reply, shown)
    }
}

impl Request {
    fn apply<C>(&self, mut get: client::Get<C>) -> client::Get<C> {
        if self.prefix {
            get = get.prefix();
        }
        if self.from_key {
            get = get.from_key();
        }
        if let Some(end) = &self.range_end {
            get = get.range(end.as_encoded_bytes());
        }
        if self.sort_by.is_some() || self.order.is_some() {
            let by = match self.sort_by.unwrap_or(Target::Key) {
                Target::Create => SortBy::CreateRevision,
                Target::Key => SortBy::Key,
                Target::Modify => SortBy::ModRevision,
                Target::Value => SortBy::Value,
                Target::Version => SortBy::Version,
            };
            let order = match self.order.unwrap_or(Direction::Ascend) {
                Direction::Ascend => Order::Ascending,
                Direction::Descend => Order::Descending,
            };
            get = get.sort(by, order);
        }
        if self.keys_only {
            get = get.keys_only();
        }
        if self.count_only {
            get = get.count_only();
        }
        if self.consistency == Consistency::S {
            get = get.serializable();
        }
        get.rev(self.rev).limit(self.limit)
    }

    /// As an operation of a transaction.
    pub(super) fn op(self) -> client::Op {
        let key = self.key.as_encoded_bytes().to_vec();
        self.apply(client::Op::get(key)).into()
    }
}
