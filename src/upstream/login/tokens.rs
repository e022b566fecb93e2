//! Fetches tokens, once for all callers that wait for the same token, and caches them until shortly before they expire.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::account::{Account, PasswordUse};
use super::registry_login::RegistryLogin;
use crate::outbound::{Client, FormRequest, Hop, Request, Response, SendError, authority};
use crate::state::SingleFlight;
use crate::sys::{Clock, Machine, Moment};
use crate::upstream::endpoint::{BearerRealm, Meter, RequestKind, challenges};
use crate::upstream::error::{LimitedBy, UpstreamError};
use crate::upstream::failed_server::FailedServer;
use crate::upstream::header;
use crate::upstream::words::UpstreamWords;

/// The most bytes of a token server's answer.
const MAX_ANSWER: usize = 1 << 20;
/// The most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 << 10;
/// The longest wait for the whole body of a refusal.
const LONGEST_REFUSAL: Duration = Duration::from_secs(5);
/// A registry's answers carry it, and so do those of a token server that is part of one.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The most tokens that are cached: one for each repository in use.
const MAX_CACHED: u64 = 10_000;
/// The lifetime in seconds of a token that states none (the token authentication of distribution).
const DEFAULT_LIFE: f64 = 60.0;
const LONGEST_LIFE: f64 = 24.0 * 60.0 * 60.0;
/// The part of its lifetime for which a token is used. Clocks differ, and a request takes time to arrive.
const USED: f64 = 0.85;

const CLIENT: &str = "entrepot";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request for a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct TokenRequest {
    pub(in crate::upstream) bearer: BearerRealm,
    /// `repository:NAME:pull`.
    pub(in crate::upstream) scope: String,
    /// The request carries the account's login.
    pub(in crate::upstream) named: bool,
}

/// A token, ready to be sent.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Token(Arc<Issued>);

#[derive(Debug)]
struct Issued {
    request: TokenRequest,
    /// The value `Bearer …`. It is marked as sensitive, so that it is not printed.
    header: HeaderValue,
    fetched: Moment,
    life: Duration,
}

impl Token {
    pub(in crate::upstream) fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// Returns true if it was requested for this right.
    pub(in crate::upstream) fn is_for(&self, scope: &str) -> bool {
        self.0.request.scope == scope
    }

    /// Returns true if it was requested with the account's login.
    pub(in crate::upstream) fn is_named(&self) -> bool {
        self.0.request.named
    }
}

/// The tokens of one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct Tokens {
    server: Arc<TokenServer>,
    flights: SingleFlight<TokenRequest, Result<Token, UpstreamError>>,
}

/// The parts that a fetch uses. It is shared, since a fetch may outlive its callers.
#[derive(Debug)]
struct TokenServer {
    client: Client,
    account: Arc<Account>,
    meter: Arc<Meter>,
    clock: Clock,
    cache: moka::future::Cache<TokenRequest, Token>,
}

impl Tokens {
    pub(in crate::upstream) fn new(
        client: Client,
        account: Arc<Account>,
        meter: Arc<Meter>,
        machine: &Machine,
    ) -> Self {
        let cache = moka::future::Cache::new(MAX_CACHED);
        let server = TokenServer { client, account, meter, clock: machine.clock.clone(), cache };
        Self { server: Arc::new(server), flights: SingleFlight::new(machine.tasks.clone()) }
    }

    /// Returns the cached token for this request, if it is still valid.
    pub(in crate::upstream) async fn cached(&self, request: &TokenRequest) -> Option<Token> {
        self.server.cached(request).await
    }

    /// Removes a rejected token from the cache. A token that was fetched in its place stays.
    pub(in crate::upstream) async fn forget(&self, rejected: &Token) {
        let request = &rejected.0.request;
        if self.server.cache.get(request).await.is_some_and(|cached| Arc::ptr_eq(&cached.0, &rejected.0)) {
            self.server.cache.invalidate(request).await;
        }
    }

    /// Fetches a token, together with all other callers that want the same one.
    pub(in crate::upstream) async fn fetch(&self, request: TokenRequest) -> Result<Token, UpstreamError> {
        let server = Arc::clone(&self.server);
        let host = FailedServer::token_server(&authority(&request.bearer.realm));
        let wanted = request.clone();
        let flight = self.flights.run(request, move || async move {
            // Another fetch may have ended between the caller's look into the cache and this one.
            match server.cached(&wanted).await {
                Some(token) => Ok(token),
                None => server.fetch(wanted).await.map_err(UpstreamError::of_token_server),
            }
        });
        let interrupted =
            |_| UpstreamError::Protocol { host, reason: "the request for a token was interrupted".to_owned() };
        flight.await.map_err(interrupted)?.value
    }
}

impl TokenServer {
    async fn cached(&self, request: &TokenRequest) -> Option<Token> {
        let token = self.cache.get(request).await?;
        (self.clock.since(token.0.fetched) < token.0.life).then_some(token)
    }

    async fn fetch(&self, request: TokenRequest) -> Result<Token, UpstreamError> {
        // The token's lifetime began before its response arrived, so it is counted from the request.
        let fetched = self.clock.moment();
        let mut response = self.ask(&request).await?;
        let host = FailedServer::token_server(response.body.host());
        self.refusal(&request, &mut response).await?;
        let body = response.body.collect(MAX_ANSWER).await.map_err(|error| match error {
            SendError::TooLarge { .. } => {
                let reason = format!("its answer to a request for a token has more than {MAX_ANSWER} bytes");
                UpstreamError::Protocol { host: host.clone(), reason }
            }
            other => other.into(),
        })?;
        self.meter.received(RequestKind::Token, body.len());
        let malformed =
            |reason: &str| UpstreamError::Protocol { host: host.clone(), reason: format!("its answer {reason}") };
        // Some servers write a byte order mark, which JSON does not allow.
        let json = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
        let parsed: TokenJson = serde_json::from_slice(json).map_err(|_| malformed("is not the JSON of a token"))?;
        let life = parsed.life();
        let text = parsed.text().ok_or_else(|| malformed("holds no token"))?;
        let header = HeaderValue::from_str(&format!("Bearer {text}")).ok();
        let mut header = header.ok_or_else(|| malformed("holds no token"))?;
        header.set_sensitive(true);
        let token = Token(Arc::new(Issued { request: request.clone(), header, fetched, life }));
        self.cache.insert(request, token.clone()).await;
        Ok(token)
    }

    /// Returns the token server's response. If it refuses the login and there is a newer one, asks once more with that.
    async fn ask(&self, request: &TokenRequest) -> Result<Response, SendError> {
        let login = if request.named { self.account.login().await } else { None };
        let response = self.send(request, login.as_deref()).await?;
        if let (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(refused)) = (response.status, login)
            && let Some(other) = self.account.instead_of(&refused).await
        {
            return self.send(request, Some(&other)).await;
        }
        Ok(response)
    }

    async fn send(&self, request: &TokenRequest, login: Option<&RegistryLogin>) -> Result<Response, SendError> {
        let observe = |hop: &Hop<'_>| self.meter.hop(RequestKind::Token, hop);
        match login.and_then(RegistryLogin::identity_token) {
            Some(token) => self.client.submit(token_form(request, token.reveal()), &observe).await,
            None => self.client.send(token_query(request, login), &observe).await,
        }
    }

    /// Returns the error that the token server's answer means, with its words.
    async fn refusal(&self, request: &TokenRequest, response: &mut Response) -> Result<(), UpstreamError> {
        let mut read = None;
        let Err(error) = self.meaning(request, response, &mut read).await else { return Ok(()) };
        if read.is_none() && is_json(response) {
            read = response.body.start(MAX_REFUSAL, LONGEST_REFUSAL).await.ok().flatten();
        }
        let words = read.and_then(|body| UpstreamWords::of_error(&body));
        let login = if request.named && words.is_some() { self.account.login().await } else { None };
        Err(error.saying(words.filter(|words| !login.is_some_and(|login| login.is_in(words.as_str())))))
    }

    async fn meaning(
        &self,
        request: &TokenRequest,
        response: &mut Response,
        read: &mut Option<Bytes>,
    ) -> Result<(), UpstreamError> {
        let host = FailedServer::token_server(response.body.host());
        let status = response.status.as_u16();
        let is_refused = matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let is_vouched = !is_refused || is_of_token_server(response, read).await?;
        match response.status {
            _ if response.status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED if !is_vouched && asks_for_login(&response.headers) => {
                let password = if request.named { PasswordUse::Sent } else { PasswordUse::Withheld };
                Err(self.account.denied(&host.to_string(), status, password).of_login_page())
            }
            _ if !is_vouched => {
                let kind = response.header(&CONTENT_TYPE).unwrap_or_else(|| "no Content-Type".to_owned());
                let reason = format!(
                    "it answered {status} with {kind}, and not as a token server answers: a proxy or a captive portal is in \
                     its place"
                );
                Err(UpstreamError::Foreign { host, reason })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let password = if request.named { PasswordUse::Sent } else { PasswordUse::Withheld };
                Err(self.account.denied(&host.to_string(), status, password))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let limited = LimitedBy::Other;
                Err(UpstreamError::TooManyRequests {
                    host,
                    limited,
                    retry_after: self.retry_after(response),
                    said: None,
                })
            }
            _ => Err(UpstreamError::Status { host, status, retry_after: self.retry_after(response), said: None }),
        }
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        response.header(&RETRY_AFTER).and_then(|text| header::retry_after(&text, self.clock.now()))
    }
}

/// Returns true if a refusal has a sign of a token server: the header of distribution's API, the JSON of an error, or a challenge
/// without a web page. A 401 without a body counts too: a proxy or a portal in the place of the token server would send a page.
async fn is_of_token_server(response: &mut Response, read: &mut Option<Bytes>) -> Result<bool, UpstreamError> {
    let kind = response.header(&CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let is_challenge = asks_for_login(&response.headers) && !kind.contains("html");
    if is_challenge || response.headers.contains_key(API_VERSION) {
        return Ok(true);
    }
    let body = response.body.start(MAX_REFUSAL, LONGEST_REFUSAL).await?;
    let is_bare = |body: &[u8]| response.status == StatusCode::UNAUTHORIZED && body.is_empty();
    read.clone_from(&body);
    Ok(body.is_some_and(|body| is_bare(&body) || is_refusal(&body)))
}

/// Returns true if a challenge has a scheme that registries use.
fn asks_for_login(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter();
    let fields: Vec<_> = fields.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    !challenges(fields.iter().map(AsRef::as_ref)).is_empty()
}

/// Returns true if the body is labelled as JSON.
fn is_json(response: &Response) -> bool {
    response.header(&CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase().contains("json")
}

/// Returns true for the JSON of a refusal. Docker Hub writes `details`, OAuth 2 servers write `error`.
fn is_refusal(body: &[u8]) -> bool {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    ["errors", "error", "details", "detail", "code"].iter().any(|field| parsed.get(field).is_some())
}

/// Builds `GET realm?service=…&scope=…` (the token authentication of distribution).
fn token_query(request: &TokenRequest, login: Option<&RegistryLogin>) -> Request {
    let mut url = request.bearer.realm.clone();
    let mut query = url.query_pairs_mut();
    if let Some(service) = &request.bearer.service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &request.scope).append_pair("client_id", CLIENT);
    let mut headers = HeaderMap::from_iter([(ACCEPT, JSON)]);
    if let Some((login, basic)) = login.and_then(|login| Some((login, login.basic()?))) {
        query.append_pair("account", login.username());
        headers.insert(AUTHORIZATION, basic.clone());
    }
    drop(query);
    Request { method: Method::GET, url, headers }
}

/// Builds `POST realm` with `grant_type=refresh_token` (the token authentication of distribution, by OAuth 2).
fn token_form(request: &TokenRequest, token: &str) -> FormRequest {
    let service = request.bearer.service.clone().map(|service| ("service", service));
    let rest = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", token.to_owned()),
        ("scope", request.scope.clone()),
        ("client_id", CLIENT.to_owned()),
    ];
    let fields = rest.into_iter().chain(service).collect();
    FormRequest { url: request.bearer.realm.clone(), headers: HeaderMap::from_iter([(ACCEPT, JSON)]), fields }
}

/// The JSON of a token server. Older servers write `token` and OAuth 2 servers `access_token`; some write numbers as
/// text.
#[derive(Deserialize)]
struct TokenJson {
    token: Option<Value>,
    access_token: Option<Value>,
    expires_in: Option<Value>,
}

impl TokenJson {
    /// Returns the token: whichever of the two fields is a text that is not blank.
    fn text(&self) -> Option<&str> {
        let fields = [&self.token, &self.access_token];
        fields.into_iter().flatten().filter_map(Value::as_str).map(str::trim).find(|text| !text.is_empty())
    }

    fn life(&self) -> Duration {
        let stated = match &self.expires_in {
            Some(Value::Number(seconds)) => seconds.as_f64(),
            Some(Value::String(seconds)) => seconds.parse().ok(),
            _ => None,
        };
        let seconds = stated.filter(|seconds| seconds.is_finite() && *seconds > 0.0).unwrap_or(DEFAULT_LIFE);
        Duration::from_secs_f64(seconds.min(LONGEST_LIFE) * USED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_field_holds_the_token() {
        for (json, want) in [
            (r#"{"token":"a"}"#, Some("a")),
            (r#"{"access_token":"b"}"#, Some("b")),
            (r#"{"token":"","access_token":"b"}"#, Some("b")),
            (r#"{"token":null,"access_token":"b"}"#, Some("b")),
            (r#"{"token":"a","access_token":""}"#, Some("a")),
            (r#"{"token":"","access_token":""}"#, None),
            (r#"{"token":" ","access_token":"b"}"#, Some("b")),
            (r#"{"token":5,"access_token":"b"}"#, Some("b")),
            (r#"{"token":["a"],"access_token":"b"}"#, Some("b")),
            (r#"{"token":{"a":"b"}}"#, None),
            (r#"{"token":"a\n"}"#, Some("a")),
            ("{}", None),
        ] {
            let parsed: TokenJson = serde_json::from_str(json).unwrap();
            assert_eq!(parsed.text(), want, "{json}");
        }
    }

    #[test]
    fn token_is_used_for_most_of_its_lifetime() {
        for (json, seconds) in [
            (r#"{"token":"a"}"#, 51.0),
            (r#"{"token":"a","expires_in":300}"#, 255.0),
            (r#"{"token":"a","expires_in":"300"}"#, 255.0),
            (r#"{"token":"a","expires_in":0}"#, 51.0),
            (r#"{"token":"a","expires_in":-5}"#, 51.0),
            (r#"{"token":"a","expires_in":null}"#, 51.0),
            (r#"{"token":"a","expires_in":1e300}"#, LONGEST_LIFE * USED),
        ] {
            let parsed: TokenJson = serde_json::from_str(json).unwrap();
            assert_eq!(parsed.life().as_secs_f64(), seconds, "{json}");
        }
    }
}
