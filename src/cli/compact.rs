//! `kvorum compact`

use clap::Args;

use super::{
    Failure, block_on,
    connection::{self, Connection},
    output,
};

/// Forget what was superseded before a revision
#[derive(Debug, Args)]
#[command(
    visible_alias = "compaction",
    after_help = "\
The newest version of every key stays, and REVISION itself can still be read.
  kvorum compact 1000"
)]
pub(super) struct Compact {
    /// The revision, not above the current one
    revision: i64,
    /// Wait until the space has been given back
    #[arg(long)]
    physical: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Compact {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let Self { revision, physical, connection } = self;
        let connection = connection.or(before);
        block_on(async {
            let client = connection.client()?;
            connection::with(client, async |client| {
                let call = if physical {
                    client.compact_physical(revision).await
                } else {
                    client.compact(revision).await
                };
                Ok(call?)
            })
            .await
        })?;
        output::line(format_args!("compacted revision {revision}"))
    }
}
