//! Arguments into wiring into an exit code.
//!
//! Floor 7: may import everything. Here the parts are put together; what they do stands below.

mod ask;
mod check;
mod client;
mod completions;
mod connect;
mod du;
mod examine;
mod health;
pub mod logging;
mod ls;
mod output;
mod password;
mod rm;
mod serve;
mod server_url;
mod settings;
mod storage_root;
mod usage;
mod user;
mod warm;
mod welcome;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueHint};

use settings::{Settings, Trouble};

/// As clap has it.
const WRONG_USAGE: u8 = 2;

/// How long work on the disk may still take when everything else has ended.
const LAST_WORK: Duration = Duration::from_secs(5);

/// A pull-through mirror and a private registry in one binary.
#[derive(Parser)]
#[command(name = "entrepot", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve {
        /// Configuration file. Without it: $ENTREPOT_CONFIG, /etc/entrepot/config.yml, /etc/distribution/config.yml,
        /// /etc/docker/registry/config.yml, else a built-in mirror of Docker Hub with a local namespace
        #[arg(value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
    },
    /// Validate a configuration: every mistake with its line and what to write instead
    Check {
        /// Configuration file; without it the one that `serve` would use
        #[arg(value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
        /// Show the effective configuration, secrets masked
        #[arg(long)]
        print: bool,
        /// Print the JSON Schema of configurations, for editors
        #[arg(long, conflicts_with_all = ["config", "print"])]
        schema: bool,
    },
    /// Bring images into a running server's cache before anybody pulls them
    Warm(warm::Arguments),
    /// Show what a running server holds: repositories, or the tags of one
    Ls(ls::Arguments),
    /// Delete a tag, a manifest or a whole repository from a running server
    Rm(rm::Arguments),
    /// Show what a running server's disk is taken by
    Du(du::Arguments),
    /// Edit a password file (htpasswd): add, remove and list users
    User(user::Arguments),
    /// Print what a client's configuration needs to pull through this mirror
    Client(client::Arguments),
    /// Ask a running server whether it is ready: exit code 0 or 1, and the reason
    Health {
        /// The server's address, like http://127.0.0.1:5000; without it $ENTREPOT_SERVER, else the one that `serve` would use
        #[arg(value_hint = ValueHint::Url)]
        url: Option<String>,
        /// The same, as the other commands take it
        #[arg(long, value_name = "URL", value_hint = ValueHint::Url, conflicts_with = "url")]
        server: Option<String>,
        #[command(flatten)]
        trust: connect::TrustArguments,
    },
    /// Print a script that lets a shell complete these commands
    Completions(completions::Arguments),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => match usage::in_one_line(&error) {
            Some(message) => return wrong_usage(&message),
            None => error.exit(),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the async runtime cannot be started: {error}")),
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Serve { config } => Ok(serve::run(Settings::load(config.as_deref()).await?).await?),
            Command::Check { schema: true, .. } => check::schema(),
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
            Command::Completions(arguments) => completions::run(arguments),
        }
    });
    // Work on the disk that hangs must not keep the process from ending.
    runtime.shutdown_timeout(LAST_WORK);
    match outcome {
        Ok(()) | Err(Ended::Unread) => ExitCode::SUCCESS,
        Err(Ended::Failed(trouble)) => failed(&trouble.to_string()),
        Err(Ended::Told) => ExitCode::FAILURE,
        Err(Ended::Usage(message)) => wrong_usage(&message),
    }
}

/// How a command ended that did not do what was asked.
enum Ended {
    Failed(Trouble),
    /// What failed was said when it did.
    Told,
    /// It makes no sense; nothing was begun.
    Usage(String),
    /// Whoever read what it printed has had enough: a pipe was closed.
    Unread,
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble)
    }
}

fn wrong_usage(message: &str) -> ExitCode {
    failed(message);
    ExitCode::from(WRONG_USAGE)
}

fn failed(message: &str) -> ExitCode {
    for line in message.lines() {
        output::remark(format!("entrepot: {line}"));
    }
    ExitCode::FAILURE
}
