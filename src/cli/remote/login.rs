//! The login for a server: from the arguments, the environment, or `docker login`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::password::{ask_password, read_password};
use super::server_url::host_names;
use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::outbound::Url;
use crate::sys::disk;
use crate::upstream::{ClientLogin, client_login};

const USERNAME: &str = "ENTREPOT_USERNAME";
pub(super) const PASSWORD: &str = "ENTREPOT_PASSWORD";

/// A login and its origin.
pub(super) struct ServerLogin {
    pub(super) client: ClientLogin,
    /// The argument, variable or file that the login comes from, for messages.
    pub(super) origin: String,
}

/// Returns the login that the arguments or the environment give, if any. Asks for the password if only a name is given.
pub(super) async fn given_login(
    user: Option<String>,
    password_stdin: bool,
    server: &str,
) -> Result<Option<ServerLogin>, CommandError> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (user, origin) = match user {
        Some(user) => (Some(user), "--user".to_owned()),
        None => (variable(USERNAME), format!("${USERNAME}")),
    };
    let Some(user) = user else {
        let message = format!("--password-stdin needs a name: give --user NAME, or set ${USERNAME}");
        return if password_stdin { Err(CommandError::Usage(message)) } else { Ok(None) };
    };
    let secret = match variable(PASSWORD) {
        _ if password_stdin => read_password().await?,
        Some(secret) => secret,
        None if std::io::stdin().is_terminal() => ask_password(format!("Password of {user} at {server}: ")).await?,
        None => {
            let message = format!("{origin} needs a password: set ${PASSWORD}, or pipe it in with --password-stdin");
            return Err(CommandError::Usage(message));
        }
    };
    Ok(Some(ServerLogin { client: ClientLogin::new(&user, &secret), origin }))
}

/// Returns the login that `docker login` stored for this server, if any.
pub(super) async fn docker_login(name: &str, url: &Url) -> Result<Option<ServerLogin>, ErrorMessage> {
    let file = docker_config();
    let origin = file.display().to_string();
    let found = client_login(&file, &host_names(url)).await.map_err(|reason| {
        ErrorMessage(format!("{name} wants a login, and {origin} cannot be used: {reason}; give --user NAME instead"))
    })?;
    Ok(found.map(|client| ServerLogin { client, origin }))
}

/// Returns the path of docker's configuration: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn docker_config() -> PathBuf {
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|directory| !directory.is_empty());
    let directory = directory.map_or_else(|| disk::expand_home("~/.docker".as_ref()), PathBuf::from);
    directory.join("config.json")
}
