//! `entrepot user`: the users of a password file.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Subcommand;

use super::output::{Output, remark, say};
use super::settings::Trouble;
use super::{Ended, password};
use crate::auth::{self, EditError, Edited};
use crate::config::Secret;
use crate::sys::blocking;

#[derive(clap::Args)]
#[command(after_help = "\
The file is the one of auth.htpasswd.path. A running server reads it again by itself. Passwords are hashed with bcrypt, as by
`htpasswd -B`; comments, order, mode and owner of the file stay. It is replaced, not written over: into a container mount its
directory, not the file alone.

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
    /// Add a user, or give one another password
    Add {
        /// The password file; made where there is none
        file: PathBuf,
        /// Whoever logs in with it; no colon can be in it
        name: String,
        /// Read the password from standard input, as is done anyway where that is no terminal
        #[arg(long)]
        password_stdin: bool,
    },
    /// Take a user out
    #[command(visible_alias = "rm")]
    Remove { file: PathBuf, name: String },
    /// Name the users, one a line
    #[command(visible_alias = "ls")]
    List {
        file: PathBuf,
        /// A line of JSON for each: {"name": "alice"}
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
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

async fn add(file: PathBuf, name: String, password_stdin: bool) -> Result<(), Ended> {
    let typed = !password_stdin && std::io::stdin().is_terminal();
    let password = if typed { password::ask_twice(&name).await? } else { password::read().await? };
    let (user, password) = (name.clone(), Secret::new(password));
    let edited = edit(file.clone(), move |file| auth::set_password(file, &user, &password)).await?;
    let place = file.display();
    match edited {
        Edited::Made => {
            remark(format!(
                "note: {place} is new, and only you may read it (mode 0600): give it to the user that the server runs as, with chown"
            ));
            say(format!("{name} was added to {place}"))
        }
        Edited::Changed => say(format!("{name} was in {place}, and has another password now")),
        Edited::Added | Edited::Removed => say(format!("{name} was added to {place}")),
    }
}

async fn list(file: PathBuf, json: bool) -> Result<(), Ended> {
    let names = blocking(move || auth::list_users(&file)).await.map_err(Trouble::new)?;
    let mut output = Output::new();
    for name in names {
        match json {
            true => output.line(serde_json::json!({"name": name}))?,
            false => output.line(super::output::plain(&name))?,
        }
    }
    output.flush()
}

/// Changes the file, and says what is wrong in it all the same: a server would go on with what it knew before.
async fn edit(
    file: PathBuf,
    change: impl FnOnce(&std::path::Path) -> Result<Edited, EditError> + Send + 'static,
) -> Result<Edited, Ended> {
    let (edited, complaint) = blocking(move || {
        let edited = change(&file);
        let complaint = edited.is_ok().then(|| auth::first_bad_line(&file)).flatten();
        (edited, complaint)
    })
    .await;
    let edited = edited.map_err(|error| match error {
        EditError::Name(..) | EditError::LongPassword(_) | EditError::Password(_) => Ended::Usage(error.to_string()),
        error => Trouble::new(error).into(),
    })?;
    if let Some(complaint) = complaint {
        remark(format!("warning: a server refuses this file: {complaint}"));
    }
    Ok(edited)
}
