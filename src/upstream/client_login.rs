//! The login that the user of this machine has for a registry: what `docker login` wrote. For commands, which ask once and end.

use std::path::Path;
use std::time::Duration;

use http::HeaderValue;

use super::docker_config::{self, DockerConfig, Found, Site};
use super::login::Login;
use crate::sys::process::{self, Patience};
use crate::sys::{blocking, disk};

const PATIENCE: Patience = Patience { time: Duration::from_secs(10), output: 64 << 10 };

/// A name, and the value of `Authorization` that proves it; marked as sensitive, so that nothing prints it.
#[derive(Clone, Debug)]
pub struct ClientLogin {
    pub user: String,
    pub authorization: HeaderValue,
}

impl ClientLogin {
    pub fn new(user: &str, password: &str) -> Self {
        let login = Login::password(user, password);
        let authorization = login.basic().cloned().expect("a login with a password has this header");
        Self { user: user.to_owned(), authorization }
    }
}

/// Looks for the login of the first of these hosts (`HOST:PORT`) that docker's configuration file has one for, or a helper that it
/// names. Neither the file nor an entry need exist; an error says why what is there cannot be used.
pub async fn client_login(file: &Path, hosts: &[String]) -> Result<Option<ClientLogin>, String> {
    let path = file.to_owned();
    let content = blocking(move || disk::optional(disk::read_named(&path, disk::NAMED_BYTES)))
        .await
        .map_err(|error| error.to_string())?;
    let Some(content) = content else { return Ok(None) };
    let sites: Vec<Site> = hosts.iter().map(|host| Site::of(host)).collect();
    for place in DockerConfig::parse(&content)?.find(&sites)? {
        let login = match place {
            Found::Login(login) => Some(login),
            Found::Helper { name, key } => ask(&format!("docker-credential-{name}"), &key).await?,
        };
        if let Some(login) = login {
            let authorization = login.basic().cloned();
            let authorization = authorization.ok_or("it has an identity token, which Entrepot does not take")?;
            return Ok(Some(ClientLogin { user: login.username().to_owned(), authorization }));
        }
    }
    Ok(None)
}

async fn ask(program: &str, key: &str) -> Result<Option<Login>, String> {
    let finished = process::run(program, "get", key, PATIENCE).await;
    let said = finished
        .map_err(|error| error.to_string())
        .and_then(|finished| docker_config::answer(finished.success, &finished.output));
    said.map_err(|reason| format!("the helper {program}: {reason} (try: echo {key} | {program} get)"))
}
