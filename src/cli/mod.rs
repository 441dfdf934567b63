//! The commands of the `kvorum` program, one file each.
//!
//! To add one: a file with its arguments and a `run`, and a variant of `Command`.

mod bounds;
mod cluster;
mod commit;
mod compact;
mod completions;
mod connection;
mod consensus;
mod del;
mod endpoint;
mod environment;
mod get;
mod member;
mod output;
mod put;
mod quote;
mod register;
mod serve;
mod sim;
mod small;
mod topic;
mod txn;
mod unsupported;
mod verify;
mod workload;

use std::{ffi::OsString, io, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{self, Fate};
use connection::Connection;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("KVORUM_COMMIT"), ")");

const AFTER_HELP: &str = "\
Try it:
  kvorum serve &
  kvorum put greeting hello
  kvorum get greeting
  kvorum get --prefix '' --keys-only
  kvorum endpoint status -w table

Every flag can also be given in the environment: a flag of `serve`, and one that stands before the
command, as KVORUM_FLAG (KVORUM_ENDPOINTS); others as KVORUM_COMMAND_FLAG (KVORUM_GET_PREFIX).
Keys and values go to standard output, everything else to standard error.

Exit codes:
  0  it worked
  1  it failed; a write was surely not executed
  2  the command line, or what was read in its place, is wrong
  3  a write was not answered: it may or may not have been executed
  4  verify: not decided within its limits; decision, commit outcome: there is none yet
  5  serve: the replica halted";

/// A crash-recovery replicated key-value store that speaks the etcd v3 API.
#[derive(Debug, Parser)]
#[command(name = "kvorum", version = VERSION, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Cluster(cluster::Cluster),
    Put(put::Put),
    Get(get::Get),
    Del(del::Del),
    Txn(txn::Txn),
    Compact(compact::Compact),
    Endpoint(endpoint::Endpoint),
    Member(member::Member),
    Publish(topic::Publish),
    Subscribe(topic::Subscribe),
    Propose(consensus::Propose),
    Decision(consensus::Decision),
    Register(register::Register),
    Commit(commit::Commit),
    Bounds(bounds::Bounds),
    Workload(workload::Workload),
    Sim(sim::Sim),
    Verify(verify::Verify),
    Completions(completions::Completions),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line, or what was read in its place, is wrong.
    #[error("{0}")]
    Usage(String),
    /// A call of the client failed.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The output could not be written.
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
    /// What was asked for is not there yet.
    #[error("{0}")]
    NotYet(String),
    /// A check reached its limits first.
    #[error("not decided within the limits: this is no pass")]
    Undecided,
    /// A replica halted.
    #[error("{0}")]
    Halted(String),
    /// Anything else; the text says what to do next.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Client(client::Error::Endpoint { .. }) => 2,
            Self::Client(error) => match error.fate() {
                Fate::NotExecuted => 1,
                Fate::Unknown => 3,
            },
            // Whoever reads has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) | Self::Other(_) => 1,
            Self::Undecided | Self::NotYet(_) => 4,
            Self::Halted(_) => 5,
        }
    }
}

impl Cli {
    /// Parses the command line; one that is wrong, or asks for help, ends the program.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Self {
        Self::try_from_args(args).unwrap_or_else(|error| {
            if !error.use_stderr() {
                error.exit(); // help and version, which were asked for
            }
            eprintln!("{}", one_line(&error));
            std::process::exit(error.exit_code())
        })
    }

    fn try_from_args<S: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::definition();
        let mut matches = command.try_get_matches_from_mut(args)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }

    /// With the variables of the environment.
    fn definition() -> clap::Command {
        environment::bind(Self::command())
    }

    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        let Self { connection, command } = self;
        let result = match command {
            Command::Serve(command) => command.run(),
            Command::Cluster(command) => command.run(),
            Command::Put(command) => command.run(connection),
            Command::Get(command) => command.run(connection),
            Command::Del(command) => command.run(connection),
            Command::Txn(command) => command.run(connection),
            Command::Compact(command) => command.run(connection),
            Command::Endpoint(command) => command.run(connection),
            Command::Member(command) => command.run(connection),
            Command::Publish(command) => command.run(connection),
            Command::Subscribe(command) => command.run(connection),
            Command::Propose(command) => command.run(connection),
            Command::Decision(command) => command.run(connection),
            Command::Register(command) => command.run(connection),
            Command::Commit(command) => command.run(connection),
            Command::Bounds(command) => command.run(connection),
            Command::Workload(command) => command.run(connection),
            Command::Sim(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Completions(command) => command.run(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                let code = failure.code();
                if code != 0 {
                    eprintln!("Error: {failure}");
                }
                ExitCode::from(code)
            }
        }
    }
}

/// What is wrong with a command line, without the usage that clap repeats after it.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said = said.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let said = said.collect::<Vec<_>>().join(" ").replace(" tip: ", "; ");
    format!("{said}; try --help")
}

/// Runs a command that needs no more than one thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Other(format!("cannot start the runtime: {e}")))?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::definition().debug_assert();
    }

    #[test]
    fn connection_flags_stand_before_or_after_the_command() {
        for line in [
            "kvorum --endpoints a:1,b:2 get k",
            "kvorum get --endpoints a:1,b:2 k",
            "kvorum get k --endpoints=a:1,b:2",
        ] {
            let cli = Cli::try_from_args(line.split(' ')).unwrap();
            let Command::Get(get) = cli.command else { panic!("{line}") };
            assert_eq!(get.connection.or(cli.connection).endpoints(), ["a:1", "b:2"], "{line}");
        }
    }

    #[test]
    fn contradictory_flags_are_refused() {
        for line in [
            "get k --prefix --from-key",
            "get k end --prefix",
            "get k --keys-only --count-only",
            "get k --order sideways",
            "get k --consistency x",
            "put k v --ignore-value",
            "put k v --lease zz",
            "del k end --from-key",
            "compact",
            "nonsense",
            "get k --nonsense",
        ] {
            let error = Cli::try_from_args(["kvorum"].into_iter().chain(line.split(' '))).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn exit_codes_tell_unknown_fate_from_failure() {
        let code = |error: client::Error| Failure::from(error).code();
        assert_eq!(code(client::Error::SessionExpired), 3);
        let fate = Fate::NotExecuted;
        let code_of_refusal = code(client::Error::Refused {
            code: tonic::Code::NotFound,
            message: "etcdserver: requested lease not found".into(),
            fate,
        });
        assert_eq!(code_of_refusal, 1);
    }
}
