//! Looks up the login that `docker login` stored for a registry on this machine. It serves commands, which ask once and
//! end.

use std::path::Path;
use std::time::Duration;

use http::HeaderValue;

use super::docker_config::{self, DockerConfig, LoginPlace, RegistryKeys};
use super::registry_login::RegistryLogin;
use crate::sys::process::{self, ProgramLimits};
use crate::sys::{blocking, disk};

const LIMITS: ProgramLimits = ProgramLimits { time: Duration::from_secs(10), output: 64 << 10 };

/// A user name with its `Authorization` header. The header is marked as sensitive, so that it is not printed.
#[derive(Clone, Debug)]
pub struct ClientLogin {
    pub user: String,
    pub authorization: HeaderValue,
}

impl ClientLogin {
    pub fn new(user: &str, password: &str) -> Self {
        let login = RegistryLogin::password(user, password);
        let authorization = login.basic().cloned().expect("a login with a password has this header");
        Self { user: user.to_owned(), authorization }
    }
}

/// Returns the login of the first of these hosts (`HOST:PORT`) that docker's configuration file, or a helper that the
/// file names, has a login for. A missing file or entry is no error; the error says why an existing one cannot be used.
pub async fn client_login(file: &Path, hosts: &[String]) -> Result<Option<ClientLogin>, String> {
    let path = file.to_owned();
    let content = blocking(move || disk::optional(disk::read_named(&path, disk::NAMED_BYTES)))
        .await
        .map_err(|error| error.to_string())?;
    let Some(content) = content else { return Ok(None) };
    let sites: Vec<RegistryKeys> = hosts.iter().map(|host| RegistryKeys::of(host)).collect();
    for place in DockerConfig::parse(&content)?.find(&sites)? {
        let login = match place {
            LoginPlace::Login(login) => Some(login),
            LoginPlace::Helper { name, key } => ask(&format!("docker-credential-{name}"), &key).await?,
        };
        if let Some(login) = login {
            let authorization = login.basic().cloned();
            let authorization = authorization.ok_or("it has an identity token, which Entrepot does not take")?;
            return Ok(Some(ClientLogin { user: login.username().to_owned(), authorization }));
        }
    }
    Ok(None)
}

async fn ask(program: &str, key: &str) -> Result<Option<RegistryLogin>, String> {
    let finished = process::run(program, "get", key, LIMITS).await;
    let answer = finished
        .map_err(|error| error.to_string())
        .and_then(|finished| docker_config::answer(finished.success, &finished.output));
    answer.map_err(|reason| format!("the helper {program}: {reason} (try: echo {key} | {program} get)"))
}
