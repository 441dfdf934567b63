//! Every flag as a variable of the environment.

use clap::{Arg, Command, builder::BoolishValueParser};

use super::connection;

/// Gives every flag its variable. A flag that changes what a command does is named with the command,
/// so that a variable meant for `get --prefix` never widens a `del`.
pub(super) fn bind(command: Command) -> Command {
    bind_under(command, "KVORUM", true)
}

fn bind_under(command: Command, path: &str, root: bool) -> Command {
    let mut command = command.mut_args(|arg| {
        // The connection has its variables before the command, where they yield to any flag.
        let again = !root && arg.get_help_heading() == Some(connection::HEADING);
        if again || arg.get_env().is_some() { arg } else { bind_flag(arg, path) }
    });
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        // What one runs as a service is configured as etcd is: KVORUM_NAME, not KVORUM_SERVE_NAME.
        let path = if name == "serve" { path.to_owned() } else { format!("{path}_{}", variable(&name)) };
        command = command.mut_subcommand(name, |sub| bind_under(sub, &path, false));
    }
    command
}

fn bind_flag(arg: Arg, path: &str) -> Arg {
    let Some(long) = arg.get_long() else { return arg };
    if matches!(long, "help" | "version") {
        return arg;
    }
    // Lives as long as the program, of which there is one.
    let name: &'static str = Box::leak(format!("{path}_{}", variable(long)).into_boxed_str());
    let flag = matches!(arg.get_action(), clap::ArgAction::SetTrue);
    let arg = arg.env(name).hide_env_values(true);
    if flag { arg.value_parser(BoolishValueParser::new()) } else { arg }
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::super::Cli;

    #[test]
    fn flags_are_named_with_their_command_and_the_connection_without() {
        let cli = Cli::definition();
        let env = |command: &clap::Command, flag: &str| {
            let arg = command.get_arguments().find(|a| a.get_long() == Some(flag)).unwrap();
            arg.get_env().map(|name| name.to_str().unwrap().to_owned())
        };
        assert_eq!(env(&cli, "endpoints").as_deref(), Some("KVORUM_ENDPOINTS"));
        let get = cli.find_subcommand("get").unwrap();
        assert_eq!(env(get, "keys-only").as_deref(), Some("KVORUM_GET_KEYS_ONLY"));
        assert_eq!(env(get, "endpoints"), None);
        let del = cli.find_subcommand("del").unwrap();
        assert_ne!(env(get, "prefix"), env(del, "prefix"));
    }
}
