//! A running server, as a command sees it: requests, pages, and the meaning of its refusals.

use std::pin::pin;
use std::time::Duration;

use clap::ValueHint;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LINK};
use http::{Method, StatusCode};
use reqwest::Response;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;

use super::login::{PASSWORD, ServerLogin, docker_login, given_login};
use super::server_url::{base_url, chosen_server, host_names, is_loopback, parse_url};
use super::trust::{TrustArguments, no_answer};
use crate::cli::outcome::{CommandError, ErrorMessage, root_cause};
use crate::cli::output::{plain, remark};
use crate::outbound::{Url, authority};
use crate::web::ErrorAnswer;

/// The time to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time to wait for the next bytes of an answer. Counting everything in a large store takes a while.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
/// The time after which the user is told that the command is waiting.
const WAIT_NOTICE: Duration = Duration::from_secs(10);

/// The paths that a proxy in front of the server must pass for the commands.
pub(in crate::cli) const PROXY_PATHS: &str =
    "a proxy in front must pass /v2/ (clients), /api/v1/ (the commands) and /readyz (`health`)";

/// The arguments that choose a server and a login.
#[derive(clap::Args)]
pub(in crate::cli) struct ServerArguments {
    /// The server's address [default: $ENTREPOT_SERVER, else the address that `serve` would listen on]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    server: Option<String>,
    /// The name to log in with [default: $ENTREPOT_USERNAME, else the login that `docker login` stored]
    #[arg(long, visible_alias = "username", value_name = "NAME", value_hint = ValueHint::Other)]
    user: Option<String>,
    /// Reads the password from standard input [default: $ENTREPOT_PASSWORD, else a prompt on a terminal]
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    trust: TrustArguments,
}

impl ServerArguments {
    /// Returns true if the password is read from standard input.
    pub(in crate::cli) fn reads_stdin(&self) -> bool {
        self.password_stdin
    }

    /// Returns arguments that name this server, and no login.
    pub(in crate::cli) fn of(server: Option<String>, trust: TrustArguments) -> Self {
        Self { server, user: None, password_stdin: false, trust }
    }

    pub(in crate::cli) fn trust(&self) -> &TrustArguments {
        &self.trust
    }

    /// Returns true if the arguments or the environment name a server.
    pub(in crate::cli) fn names_server(&self) -> bool {
        chosen_server(self.server.clone()).is_some()
    }
}

/// A running server and the login for it.
pub(in crate::cli) struct RemoteServer {
    /// The address for messages, without a slash at the end.
    name: String,
    url: Url,
    http: reqwest::Client,
    login: Option<ServerLogin>,
    notice: WaitNotice,
}

/// Whether the user was told that the command is waiting. Once is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitNotice {
    Due,
    Given,
}

/// The reason why a request failed.
pub(in crate::cli) enum RequestError {
    /// The server cannot be used at all: no answer, no valid login, or another program. Further requests would fail too.
    Server(ErrorMessage),
    /// The server answered this one request with an error.
    Refused { status: StatusCode, reason: String, server: String },
}

impl From<RequestError> for ErrorMessage {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Server(message) => message,
            RequestError::Refused { status, reason, server } => Self(format!("{server} answered {status}: {reason}")),
        }
    }
}

impl From<RequestError> for CommandError {
    fn from(error: RequestError) -> Self {
        ErrorMessage::from(error).into()
    }
}

impl RemoteServer {
    /// Prepares the HTTP client and the login. No request is sent yet.
    pub(in crate::cli) async fn open(arguments: ServerArguments) -> Result<Self, CommandError> {
        let base = base_url(chosen_server(arguments.server)).await?;
        let url = parse_url(&base)?;
        let name = url.as_str().trim_end_matches('/').to_owned();
        let login = given_login(arguments.user, arguments.password_stdin, &name).await?;
        let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
        let builder = builder.redirect(Policy::none());
        let builder = if is_loopback(&url) { builder.no_proxy() } else { builder };
        let http = arguments.trust.client(builder, &url).await?;
        Ok(Self { name, url, http, login, notice: WaitNotice::Due })
    }

    /// Returns the server's address for messages.
    pub(in crate::cli) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::cli) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns true if a login was given or the server asked for one.
    pub(in crate::cli) fn wants_login(&self) -> bool {
        self.login.is_some()
    }

    /// Removes the server's own address from the start of an image's name. Docker needs it there; the server does not.
    pub(in crate::cli) fn strip_host<'n>(&self, image: &'n str) -> &'n str {
        let hosts = host_names(&self.url);
        let rest = hosts.iter().find_map(|host| image.strip_prefix(host.as_str())?.strip_prefix('/'));
        rest.unwrap_or(image)
    }

    /// Requests a JSON object. Returns the object and the path of its next page.
    pub(in crate::cli) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
    ) -> Result<(T, Option<String>), RequestError> {
        let answer = self.send(Method::GET, path, None).await?;
        let next = answer.headers().get(LINK).and_then(|link| next_page(link.to_str().ok()?));
        let body = self.wait_for(answer.bytes()).await.map_err(|error| self.broken(&root_cause(&error)))?;
        Ok((self.parse(&body)?, next))
    }

    /// Parses the JSON of an answer.
    pub(in crate::cli) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, RequestError> {
        serde_json::from_slice(body).map_err(|error| {
            let name = &self.name;
            RequestError::Server(ErrorMessage(format!(
                "{name}: cannot read the answer: {error}; is it an Entrepot of this version? If it is, {PROXY_PATHS}"
            )))
        })
    }

    /// Sends a request. `path` begins after the server's address; `json` is the body. An answer other than 200 is an error. If the
    /// server wants a login and none was given, the request is repeated with the login that docker has for the server.
    pub(in crate::cli) async fn send(
        &mut self,
        method: Method,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> Result<Response, RequestError> {
        let mut answer = self.send_once(method.clone(), path, json.clone()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.login.is_none() {
            self.login = docker_login(&self.name, &self.url).await.map_err(RequestError::Server)?;
            if self.login.is_some() {
                answer = self.send_once(method, path, json).await?;
            }
        }
        if answer.status() == StatusCode::OK { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    /// Returns the error for a connection that broke in the middle of an answer.
    pub(in crate::cli) fn broken(&self, reason: &str) -> RequestError {
        RequestError::Server(ErrorMessage(format!(
            "{}: the connection broke ({reason}); run the command again",
            self.name
        )))
    }

    /// Awaits an answer, and tells the user once if it takes long.
    async fn wait_for<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        if self.notice == WaitNotice::Due {
            if let Ok(answer) = tokio::time::timeout(WAIT_NOTICE, answer.as_mut()).await {
                return answer;
            }
            remark(format!("{} has not answered for {} s; waiting", self.name, WAIT_NOTICE.as_secs()));
            self.notice = WaitNotice::Given;
        }
        answer.await
    }

    async fn send_once(&mut self, method: Method, path: &str, json: Option<Vec<u8>>) -> Result<Response, RequestError> {
        let mut request = self.http.request(method, format!("{}{path}", self.name));
        if let Some(json) = json {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login.client.authorization.clone());
        }
        let answer = self.wait_for(request.send()).await;
        answer.map_err(|error| RequestError::Server(no_answer(&self.name, &self.url, &error)))
    }

    /// Turns an answer other than 200 into an error.
    async fn refused(&self, answer: Response) -> RequestError {
        let (status, name) = (answer.status(), &self.name);
        let body = answer.bytes().await.unwrap_or_default();
        let errors = serde_json::from_slice::<ErrorAnswer>(&body).map(|answer| answer.errors).unwrap_or_default();
        let explanation = errors.first().map(|error| plain(&error.message));
        let is_explained = explanation.is_some();
        let reason = explanation.unwrap_or_else(|| {
            format!("the answer gives no reason; is it an Entrepot of this version? If it is, {PROXY_PATHS}")
        });
        match (status, &self.login) {
            (StatusCode::UNAUTHORIZED, None) => {
                let host = authority(&self.url);
                RequestError::Server(ErrorMessage(format!(
                    "{name} wants a login: run `docker login {host}`, or give --user NAME and its password in ${PASSWORD} \
                     ({reason})"
                )))
            }
            (StatusCode::UNAUTHORIZED, Some(ServerLogin { client, origin })) => {
                let user = plain(&client.user);
                RequestError::Server(ErrorMessage(format!(
                    "{name} refuses the login of {user}, from {origin}: {reason}"
                )))
            }
            // The program behind this address is not an Entrepot. No other request would succeed.
            _ if !is_explained => RequestError::Server(ErrorMessage(format!("{name} answered {status}: {reason}"))),
            _ => RequestError::Refused { status, reason, server: name.clone() },
        }
    }
}

/// Returns the path and query of the next page in a header `Link: <URL>; rel="next"`. A host in the URL is ignored: the login
/// would be sent there.
fn next_page(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then_some(())?;
    let api = target.find("/api/v1/")?;
    Some(target[api..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_is_a_path_on_the_same_server() {
        for (link, want) in [
            ("</api/v1/repositories?last=a&n=2>; rel=\"next\"", Some("/api/v1/repositories?last=a&n=2")),
            ("<https://r.lan/x/api/v1/repositories?last=a>; rel=\"next\"", Some("/api/v1/repositories?last=a")),
            ("</api/v1/repositories>; rel=\"prev\"", None),
            ("<https://evil.example/>; rel=\"next\"", None),
            ("", None),
        ] {
            assert_eq!(next_page(link).as_deref(), want, "{link}");
        }
    }
}
