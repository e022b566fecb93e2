//! `entrepot user`: edits the users in a password file.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Subcommand;

use super::outcome::{CommandError, ErrorMessage};
use super::output::{Output, plain, remark, say};
use super::remote::{ask_twice, read_password};
use crate::auth::{self, EditError, Edited};
use crate::config::Secret;
use crate::sys::blocking;

#[derive(clap::Args)]
#[command(after_help = "\
FILE is the file that auth.htpasswd.path names in the configuration. A running
server notices changes by itself.

Passwords are hashed with bcrypt, as by `htpasswd -B`. Comments, the order of
the lines, and the mode and owner of the file stay as they are. The file is
replaced, not overwritten: to use it in a container, mount its directory instead
of the file alone.

Examples:
  entrepot user add /etc/entrepot/users alice
  entrepot user add users alice < password.txt
  entrepot user remove users alice")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Adds a user, or changes the password of one
    Add {
        /// The password file. It is created if it does not exist
        file: PathBuf,
        /// The name to log in with. It cannot contain a colon
        name: String,
        /// Reads the password from standard input [default: a prompt on a terminal, else standard input]
        #[arg(long)]
        password_stdin: bool,
    },
    /// Removes a user
    #[command(visible_alias = "rm")]
    Remove {
        /// The password file
        file: PathBuf,
        /// The name of the user
        name: String,
    },
    /// Prints the names of the users, one per line
    #[command(visible_alias = "ls")]
    List {
        /// The password file
        file: PathBuf,
        /// Prints each user as a line of JSON: {"name": "alice"}
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(arguments: Arguments) -> Result<(), CommandError> {
    match arguments.command {
        Command::Add { file, name, password_stdin } => add(file, name, password_stdin).await,
        Command::Remove { file, name } => {
            let user = name.clone();
            edit(file.clone(), move |file| auth::remove_user(file, &user)).await?;
            say(format!("{name} was removed from {}", file.display()))
        }
        Command::List { file, json } => list(file, json).await,
    }
}

async fn add(file: PathBuf, name: String, password_stdin: bool) -> Result<(), CommandError> {
    let asks = !password_stdin && std::io::stdin().is_terminal();
    let password = if asks { ask_twice(&name).await? } else { read_password().await? };
    let (user, password) = (name.clone(), Secret::new(password));
    let edited = edit(file.clone(), move |file| auth::set_password(file, &user, &password)).await?;
    let place = file.display();
    match edited {
        Edited::Made => {
            remark(format!(
                "note: {place} is new, and only you may read it (mode 0600); give it to the user that runs the server, with chown"
            ));
            say(format!("{name} was added to {place}"))
        }
        Edited::Changed => say(format!("{name} has a new password in {place}")),
        Edited::Added | Edited::Removed => say(format!("{name} was added to {place}")),
    }
}

async fn list(file: PathBuf, json: bool) -> Result<(), CommandError> {
    let (names, bad_lines) = blocking(move || (auth::list_users(&file), auth::bad_lines(&file))).await;
    let names = names.map_err(ErrorMessage::new)?;
    bad_lines.iter().for_each(|line| remark(format!("warning: {line}")));
    let mut output = Output::new();
    for name in names {
        match json {
            true => output.line(serde_json::json!({"name": name}))?,
            false => output.line(plain(&name))?,
        }
    }
    output.flush()
}

/// Changes the file, and warns of each line that a server cannot use.
async fn edit(
    file: PathBuf,
    change: impl FnOnce(&std::path::Path) -> Result<Edited, EditError> + Send + 'static,
) -> Result<Edited, CommandError> {
    let (edited, bad_lines) = blocking(move || {
        let edited = change(&file);
        let bad_lines = if edited.is_ok() { auth::bad_lines(&file) } else { Vec::new() };
        (edited, bad_lines)
    })
    .await;
    let edited = edited.map_err(|error| match error {
        EditError::Name(..) | EditError::LongPassword(_) | EditError::Password(_) => {
            CommandError::Usage(error.to_string())
        }
        error => ErrorMessage::new(error).into(),
    })?;
    bad_lines.iter().for_each(|line| remark(format!("warning: {line}")));
    Ok(edited)
}
