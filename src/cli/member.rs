//! `kvorum member list`

use clap::{Args, Subcommand};

use super::{Failure, block_on, connection::Connection};

/// The members of the cluster
#[derive(Debug, Args)]
pub(super) struct Member {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the members
    #[command(after_help = "\
With -w simple, a line is: id, status, name, peer addresses, client addresses, is learner.")]
    List {
        #[command(flatten)]
        connection: Connection,
    },
}

impl Member {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let Action::List { connection } = self.action;
        let connection = connection.or(before);
        let members = block_on(async { Ok(connection.client()?.members().await?) })?;
        connection.printer().members(&members)
    }
}
