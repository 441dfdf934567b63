use std::process::ExitCode;

use kvorum::cli::Cli;

fn main() -> ExitCode {
    Cli::from_args(std::env::args_os()).run()
}
