//! `kvorum completions`

use std::io::{Write, stdout};

use clap::Args;
use clap_complete::{Shell, generate};

use super::{Cli, Failure};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvorum completions bash > ~/.local/share/bash-completion/completions/kvorum
  kvorum completions zsh  > ~/.zfunc/_kvorum
  kvorum completions fish > ~/.config/fish/completions/kvorum.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::definition(), "kvorum", &mut script);
        stdout().write_all(&script).map_err(Failure::Output)
    }
}
