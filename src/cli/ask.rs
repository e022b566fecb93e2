//! Asking a running server: where it is, as whom, and what its refusals mean.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::ValueHint;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LINK};
use http::{Method, StatusCode};
use reqwest::Response;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;

use super::connect::{TrustArguments, unanswered};
use super::output::{plain, remark};
use super::server_url::{self, cause};
use super::settings::Trouble;
use super::{Ended, password};
use crate::outbound::{Url, authority};
use crate::sys::disk;
use crate::upstream::{ClientLogin, client_login};
use crate::web::ErrorAnswer;

/// No connection within this is none.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that says nothing for so long has gone. Counting all that it holds takes a while.
const SILENCE: Duration = Duration::from_secs(600);
/// After this, whoever waits is told what for.
const QUIET: Duration = Duration::from_secs(10);

const USERNAME: &str = "ENTREPOT_USERNAME";
const PASSWORD: &str = "ENTREPOT_PASSWORD";

/// Which server, and as whom.
#[derive(clap::Args)]
pub(super) struct ServerArguments {
    /// The server's address. Without it: $ENTREPOT_SERVER, else the one that `serve` would use
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    server: Option<String>,
    /// Log in with this name. Without it: $ENTREPOT_USERNAME, else what `docker login` wrote down for the server
    #[arg(long, visible_alias = "username", value_name = "NAME", value_hint = ValueHint::Other)]
    user: Option<String>,
    /// Read the password from standard input. Without it: $ENTREPOT_PASSWORD, else a terminal is asked
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    trust: TrustArguments,
}

impl ServerArguments {
    /// Standard input is spoken for.
    pub(super) fn reads_stdin(&self) -> bool {
        self.password_stdin
    }

    pub(super) fn trust(&self) -> &TrustArguments {
        &self.trust
    }

    /// Is a server named, here or in the environment?
    pub(super) fn names_one(&self) -> bool {
        server_url::named(self.server.clone()).is_some()
    }
}

/// A running server, as a command asks it.
pub(super) struct Server {
    /// Without a slash at its end, as people read it.
    name: String,
    url: Url,
    http: reqwest::Client,
    login: Option<Login>,
    waiting: Waiting,
}

/// Has it been said that the server takes its time? Once is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Unsaid,
    Said,
}

struct Login {
    client: ClientLogin,
    /// Where it comes from.
    origin: String,
}

/// Why the server did not do it.
pub(super) enum Refused {
    /// It was not asked, or did not answer; nor will it do anything else.
    Altogether(Trouble),
    /// It answered with an error.
    This { status: StatusCode, reason: String, server: String },
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Altogether(trouble) => trouble,
            Refused::This { status, reason, server } => Self(format!("{server} answered {status}: {reason}")),
        }
    }
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        Trouble::from(refused).into()
    }
}

impl Server {
    /// Nothing is asked yet.
    pub(super) async fn open(arguments: ServerArguments) -> Result<Self, Ended> {
        let base = server_url::base(server_url::named(arguments.server)).await?;
        let url = server_url::parse(&base)?;
        let name = url.as_str().trim_end_matches('/').to_owned();
        let login = login(arguments.user, arguments.password_stdin, &name).await?;
        let builder = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE);
        let builder = builder.redirect(Policy::none());
        let builder = if server_url::is_loopback(&url) { builder.no_proxy() } else { builder };
        let http = arguments.trust.client(builder, &url).await?;
        Ok(Self { name, url, http, login, waiting: Waiting::Unsaid })
    }

    /// Its address.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// It wanted to know who asks.
    pub(super) fn wants_login(&self) -> bool {
        self.login.is_some()
    }

    /// An image as the server knows it: without the server's own address, which docker wants before it.
    pub(super) fn own<'n>(&self, image: &'n str) -> &'n str {
        let hosts = hosts(&self.url);
        let rest = hosts.iter().find_map(|host| image.strip_prefix(host.as_str())?.strip_prefix('/'));
        rest.unwrap_or(image)
    }

    /// An object, and where the next page of it is.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<(T, Option<String>), Refused> {
        let answer = self.send(Method::GET, path, None).await?;
        let next = answer.headers().get(LINK).and_then(|link| next(link.to_str().ok()?));
        let body = self.patiently(answer.bytes()).await.map_err(|error| self.broken(&cause(&error)))?;
        Ok((self.parse(&body)?, next))
    }

    /// Reads the JSON of an answer.
    pub(super) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Refused> {
        serde_json::from_slice(body).map_err(|error| {
            let name = &self.name;
            Refused::Altogether(Trouble(format!(
                "{name}: the answer cannot be read: {error}; is the server of this version?"
            )))
        })
    }

    /// Asks; an answer other than 200 is an error. `path` begins after the server's address; `order` is JSON.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        order: Option<Vec<u8>>,
    ) -> Result<Response, Refused> {
        let mut answer = self.once(method.clone(), path, order.clone()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.login.is_none() {
            self.login = self.look_for_login().await?;
            if self.login.is_some() {
                answer = self.once(method, path, order).await?;
            }
        }
        if answer.status() == StatusCode::OK { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    /// The connection broke in the middle of an answer.
    pub(super) fn broken(&self, reason: &str) -> Refused {
        Refused::Altogether(Trouble(format!("{}: the connection broke ({reason}); run the command again", self.name)))
    }

    /// Waits, and says so once if it takes long.
    async fn patiently<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        if self.waiting == Waiting::Unsaid {
            if let Ok(answer) = tokio::time::timeout(QUIET, answer.as_mut()).await {
                return answer;
            }
            remark(format!("{} has not answered for {} s; waiting", self.name, QUIET.as_secs()));
            self.waiting = Waiting::Said;
        }
        answer.await
    }

    async fn once(&mut self, method: Method, path: &str, order: Option<Vec<u8>>) -> Result<Response, Refused> {
        let mut request = self.http.request(method, format!("{}{path}", self.name));
        if let Some(order) = order {
            request = request.header(CONTENT_TYPE, "application/json").body(order);
        }
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login.client.authorization.clone());
        }
        let answer = self.patiently(request.send()).await;
        answer.map_err(|error| Refused::Altogether(unanswered(&self.name, &self.url, &error)))
    }

    /// What docker has for this server. On this machine it may be called by either name.
    async fn look_for_login(&self) -> Result<Option<Login>, Refused> {
        let file = docker_config();
        let hosts = hosts(&self.url);
        let origin = file.display().to_string();
        let found = client_login(&file, &hosts).await.map_err(|reason| {
            let name = &self.name;
            Refused::Altogether(Trouble(format!(
                "{name} wants a login, and {origin} cannot be used: {reason}; give --user NAME instead"
            )))
        })?;
        Ok(found.map(|client| Login { client, origin }))
    }

    async fn refused(&self, answer: Response) -> Refused {
        let (status, name) = (answer.status(), &self.name);
        let body = answer.bytes().await.unwrap_or_default();
        let errors = serde_json::from_slice::<ErrorAnswer>(&body).map(|answer| answer.errors).unwrap_or_default();
        let explained = errors.first().map(|error| plain(&error.message));
        let says_why = explained.is_some();
        let reason =
            explained.unwrap_or_else(|| "it says no more than that; is it an Entrepot of this version?".to_owned());
        match (status, &self.login) {
            (StatusCode::UNAUTHORIZED, None) => {
                let host = authority(&self.url);
                Refused::Altogether(Trouble(format!(
                    "{name} wants a login: run `docker login {host}`, or give --user NAME and its password in ${PASSWORD} \
                     ({reason})"
                )))
            }
            (StatusCode::UNAUTHORIZED, Some(Login { client, origin })) => {
                let user = plain(&client.user);
                Refused::Altogether(Trouble(format!("{name} refuses the login of {user}, from {origin}: {reason}")))
            }
            // Of a server that is none of ours nothing else is to be had either.
            _ if !says_why => Refused::Altogether(Trouble(format!("{name} answered {status}: {reason}"))),
            _ => Refused::This { status, reason, server: name.clone() },
        }
    }
}

/// Name and password, where they were given. A password is no argument: whoever lists processes would read it.
async fn login(user: Option<String>, from_stdin: bool, server: &str) -> Result<Option<Login>, Ended> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (user, origin) = match user {
        Some(user) => (Some(user), "--user".to_owned()),
        None => (variable(USERNAME), format!("${USERNAME}")),
    };
    let Some(user) = user else {
        let message = format!("--password-stdin needs a name: give --user NAME, or set ${USERNAME}");
        return if from_stdin { Err(Ended::Usage(message)) } else { Ok(None) };
    };
    let secret = match variable(PASSWORD) {
        _ if from_stdin => password::read().await?,
        Some(secret) => secret,
        None if std::io::stdin().is_terminal() => password::ask(format!("Password of {user} at {server}: ")).await?,
        None => {
            let message = format!("{origin} needs a password: set ${PASSWORD}, or pipe it in with --password-stdin");
            return Err(Ended::Usage(message));
        }
    };
    Ok(Some(Login { client: ClientLogin::new(&user, &secret), origin }))
}

/// How docker may call the server. On this machine it has several names.
fn hosts(url: &Url) -> Vec<String> {
    let mut hosts = vec![authority(url)];
    if server_url::is_loopback(url) {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}{port}")));
    }
    hosts
}

/// Docker's own: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn docker_config() -> PathBuf {
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|directory| !directory.is_empty());
    let directory = directory.map_or_else(|| disk::expand_home("~/.docker".as_ref()), PathBuf::from);
    directory.join("config.json")
}

/// The path and query in `<URL>; rel="next"`. Where else it leads is not followed: a login would go with it.
fn next(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then_some(())?;
    let api = target.find("/api/v1/")?;
    Some(target[api..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page() {
        for (link, want) in [
            ("</api/v1/repositories?last=a&n=2>; rel=\"next\"", Some("/api/v1/repositories?last=a&n=2")),
            ("<https://r.lan/x/api/v1/repositories?last=a>; rel=\"next\"", Some("/api/v1/repositories?last=a")),
            ("</api/v1/repositories>; rel=\"prev\"", None),
            ("<https://evil.example/>; rel=\"next\"", None),
            ("", None),
        ] {
            assert_eq!(next(link).as_deref(), want, "{link}");
        }
    }
}
