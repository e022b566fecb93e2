//! Reads the command line, runs the command, and returns its exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand, ValueHint};

use super::outcome::CommandError;
use super::output::remark;
use super::remote::TrustArguments;
use super::usage_error::in_one_line;
use super::{check, client, completions, du, health, ls, rm, serve, user, warm};

/// The exit code for a wrong command line, as in clap.
const WRONG_USAGE: u8 = 2;

/// The time that running work on the disk gets to finish after the command has ended. `serve` has waited for it before.
const LAST_WORK: Duration = Duration::from_millis(500);

/// A container registry for teams behind slow links: a pull-through mirror and a private registry in one binary.
#[derive(Parser)]
#[command(name = "entrepot", version, about, max_term_width = 100)]
#[command(after_help = "\
`serve` runs the server. `check`, `user`, `client` and `completions` need no
running server. The other commands send requests to one: to the server that
--server or $ENTREPOT_SERVER names, otherwise to the one that `serve` would
start on this machine.

Examples:
  entrepot serve
  entrepot check --print config.yml
  entrepot warm alpine:3.20 --server http://mirror.lan:5000

Exit codes: 0 for success, 1 for a failure, 2 for a wrong command line.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server
    #[command(after_help = "\
Without CONFIG, the server reads the file that $ENTREPOT_CONFIG names, else the
first of these files that exists:

  /etc/entrepot/config.yml
  /etc/distribution/config.yml
  /etc/docker/registry/config.yml

If none exists, the server uses a built-in configuration: it mirrors Docker Hub
and accepts pushes to names that begin with local/.

Ctrl-C or SIGTERM stops the server: running requests may finish. A second signal
cuts them. SIGHUP reads the configuration and the users again; the log names the
changes that need a restart.

Examples:
  entrepot serve
  REGISTRY_HTTP_ADDR=:8080 entrepot serve config.yml")]
    Serve {
        /// The configuration file
        #[arg(value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
    },
    /// Validates a configuration and prints every mistake with its line and the remedy
    #[command(after_help = "\
Examples:
  entrepot check config.yml
  entrepot check --print config.yml
  entrepot check --schema > entrepot.schema.json")]
    Check {
        /// The configuration file [default: the file that `serve` would use]
        #[arg(value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
        /// Prints the effective configuration, with secrets masked
        #[arg(long)]
        print: bool,
        /// Prints the JSON Schema of configurations, for editors
        #[arg(long, conflicts_with_all = ["config", "print"])]
        schema: bool,
    },
    /// Fetches images into a server's cache before they are pulled
    Warm(warm::Arguments),
    /// Lists the repositories on a server, or the tags of one repository
    Ls(ls::Arguments),
    /// Deletes tags, manifests or whole repositories from a server
    Rm(rm::Arguments),
    /// Prints how much disk space each repository on a server takes
    Du(du::Arguments),
    /// Adds, removes and lists the users in a password file (htpasswd)
    User(user::Arguments),
    /// Prints the configuration that a client needs to pull through this mirror
    Client(client::Arguments),
    /// Checks whether a server is ready
    #[command(after_help = "\
Prints the server's answer. The exit code is 0 if the server is ready, otherwise
1. The request takes at most 5 seconds.

Examples:
  entrepot health
  entrepot health http://127.0.0.1:5000")]
    Health {
        /// The server's address [default: $ENTREPOT_SERVER, else the address that `serve` would listen on]
        #[arg(value_hint = ValueHint::Url)]
        url: Option<String>,
        /// The server's address, as the other commands take it
        #[arg(long, value_name = "URL", value_hint = ValueHint::Url, conflicts_with = "url")]
        server: Option<String>,
        #[command(flatten)]
        trust: TrustArguments,
    },
    /// Prints a script with which a shell completes these commands
    Completions(completions::Arguments),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => match in_one_line(&error) {
            Some(message) => return wrong_usage(&message),
            None => error.exit(),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the async runtime: {error}")),
    };
    let result = runtime.block_on(run_command(arguments.command));
    // Work on the disk that hangs must not keep the process from ending.
    runtime.shutdown_timeout(LAST_WORK);
    match result {
        Ok(()) | Err(CommandError::OutputClosed) => ExitCode::SUCCESS,
        Err(CommandError::Failed(message)) => failed(&message.to_string()),
        Err(CommandError::Reported) => ExitCode::FAILURE,
        Err(CommandError::Usage(message)) => wrong_usage(&message),
    }
}

async fn run_command(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Serve { config } => Ok(serve::run(config).await?),
        Command::Check { schema: true, .. } => check::print_schema(),
        Command::Check { config, print, .. } => {
            let show = if print { check::Show::Effective } else { check::Show::Nothing };
            check::run(config.as_deref(), show).await
        }
        Command::Warm(arguments) => warm::run(arguments).await,
        Command::Ls(arguments) => ls::run(arguments).await,
        Command::Rm(arguments) => rm::run(arguments).await,
        Command::Du(arguments) => du::run(arguments).await,
        Command::User(arguments) => user::run(arguments).await,
        Command::Client(arguments) => client::run(arguments).await,
        Command::Health { url, server, trust } => health::run(url.or(server), trust).await,
        Command::Completions(arguments) => completions::run(arguments, Arguments::command()),
    }
}

fn wrong_usage(message: &str) -> ExitCode {
    failed(message);
    ExitCode::from(WRONG_USAGE)
}

fn failed(message: &str) -> ExitCode {
    for line in message.lines() {
        remark(format!("entrepot: {line}"));
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        let error = Arguments::try_parse_from(line.split(' ')).err().unwrap();
        in_one_line(&error).unwrap()
    }

    #[test]
    fn usage_errors_say_the_mistake_and_the_usage_in_one_line() {
        for (line, want) in [
            ("entrepot serve --config a.yml", "unexpected argument '--config' found; usage: entrepot serve [CONFIG]"),
            (
                "entrepot srve",
                "unrecognized subcommand 'srve'; a similar subcommand exists: 'serve'; usage: entrepot <COMMAND>",
            ),
            ("entrepot check --prin", "unexpected argument '--prin' found; a similar argument exists: '--print'"),
            ("entrepot rm", "the following required arguments were not provided: <REPO"),
            ("entrepot completions tcsh", "[possible values: bash"),
        ] {
            let message = message(line);
            assert!(message.contains(want) && !message.contains('\n'), "{line}\n{message}");
        }
    }

    #[test]
    fn help_and_version_are_no_usage_errors() {
        for line in ["entrepot --help", "entrepot rm -h", "entrepot --version", "entrepot"] {
            let error = Arguments::try_parse_from(line.split(' ')).err().unwrap();
            assert!(in_one_line(&error).is_none(), "{line}");
        }
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in
                command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
            {
                assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
