//! Tokens: fetched once for all who wait, kept until shortly before they expire.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::account::{Account, Password};
use super::endpoint::Bearer;
use super::login::Login;
use super::meter::{Kind, Meter};
use super::{UpstreamError, header};
use crate::outbound::{Answer, Client, Form, Hop, Request, SendError, authority};
use crate::state::SingleFlight;
use crate::sys::{Clock, Moment, Tasks};

/// A token server's answer has at most so many bytes.
const MAX_ANSWER: usize = 1 << 20;
/// So many tokens are kept, one for each repository in use.
const MOST: u64 = 10_000;
/// How long a token lives that does not say so (distribution-spec's token authentication).
const DEFAULT_LIFE: f64 = 60.0;
const LONGEST_LIFE: f64 = 24.0 * 60.0 * 60.0;
/// The part of its life that a token is used for: clocks differ, and a request takes a while to arrive.
const USED: f64 = 0.85;

const CLIENT: &str = "entrepot";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    pub(super) bearer: Bearer,
    /// `repository:NAME:pull`.
    pub(super) scope: String,
    /// With our name and password, or as nobody.
    pub(super) named: bool,
}

/// A token, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Token(Arc<Issued>);

#[derive(Debug)]
struct Issued {
    grant: Grant,
    /// `Bearer …`, marked as sensitive, so that nothing prints it.
    header: HeaderValue,
    fetched: Moment,
    life: Duration,
}

impl Token {
    pub(super) fn header(&self) -> &HeaderValue {
        &self.0.header
    }
}

/// The tokens of one upstream.
#[derive(Debug)]
pub(super) struct Tokens {
    server: Arc<Server>,
    flights: SingleFlight<Grant, Result<Token, UpstreamError>>,
}

/// What a fetch needs; it outlives the callers.
#[derive(Debug)]
struct Server {
    client: Client,
    account: Arc<Account>,
    meter: Arc<Meter>,
    clock: Clock,
    kept: moka::future::Cache<Grant, Token>,
}

impl Tokens {
    pub(super) fn new(client: Client, account: Arc<Account>, meter: Arc<Meter>, clock: Clock, tasks: Tasks) -> Self {
        let kept = moka::future::Cache::new(MOST);
        let server = Server { client, account, meter, clock, kept };
        Self { server: Arc::new(server), flights: SingleFlight::new(tasks) }
    }

    /// A token that is still good, if one is kept.
    pub(super) async fn kept(&self, grant: &Grant) -> Option<Token> {
        self.server.good(grant).await
    }

    /// Keeps this token no longer: it was rejected. What has been fetched in its place stays.
    pub(super) async fn forget(&self, rejected: &Token) {
        let grant = &rejected.0.grant;
        if self.server.kept.get(grant).await.is_some_and(|kept| Arc::ptr_eq(&kept.0, &rejected.0)) {
            self.server.kept.invalidate(grant).await;
        }
    }

    /// A token, fetched unless somebody just did.
    pub(super) async fn fetch(&self, grant: Grant) -> Result<Token, UpstreamError> {
        let server = Arc::clone(&self.server);
        let host = authority(&grant.bearer.realm);
        let asked = grant.clone();
        let flight = self.flights.run(grant, move || async move {
            // A fetch may have ended after the caller looked for a token and before it came here.
            match server.good(&asked).await {
                Some(token) => Ok(token),
                None => server.fetch(asked).await,
            }
        });
        let interrupted =
            |_| UpstreamError::Protocol { host, reason: "the request for a token was interrupted".to_owned() };
        flight.await.map_err(interrupted)?.value
    }
}

impl Server {
    async fn good(&self, grant: &Grant) -> Option<Token> {
        let token = self.kept.get(grant).await?;
        (self.clock.since(token.0.fetched) < token.0.life).then_some(token)
    }

    async fn fetch(&self, grant: Grant) -> Result<Token, UpstreamError> {
        // Its life began before the answer was here.
        let fetched = self.clock.moment();
        let answer = self.ask(&grant).await?;
        let host = answer.body.host().to_owned();
        self.refusal(&grant, &answer)?;
        let body = answer.body.collect(MAX_ANSWER).await?;
        self.meter.received(Kind::Token, body.len());
        let malformed = |reason: &str| {
            let reason = format!("its token server's answer {reason}");
            UpstreamError::Protocol { host: host.clone(), reason }
        };
        let parsed: Response = serde_json::from_slice(&body).map_err(|_| malformed("is not the JSON of a token"))?;
        let life = parsed.life();
        let text = parsed.token.or(parsed.access_token).unwrap_or_default();
        let header = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| !text.is_empty());
        let mut header = header.ok_or_else(|| malformed("holds no token"))?;
        header.set_sensitive(true);
        let token = Token(Arc::new(Issued { grant: grant.clone(), header, fetched, life }));
        self.kept.insert(grant, token.clone()).await;
        Ok(token)
    }

    /// The token server's answer; where it refuses our login and there is a newer one, its answer to that.
    async fn ask(&self, grant: &Grant) -> Result<Answer, SendError> {
        let login = if grant.named { self.account.login().await } else { None };
        let answer = self.send(grant, login.as_deref()).await?;
        if let (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(refused)) = (answer.status, login)
            && let Some(other) = self.account.instead_of(&refused).await
        {
            return self.send(grant, Some(&other)).await;
        }
        Ok(answer)
    }

    async fn send(&self, grant: &Grant, login: Option<&Login>) -> Result<Answer, SendError> {
        let observe = |hop: &Hop<'_>| self.meter.hop(Kind::Token, hop);
        match login.and_then(Login::identity_token) {
            Some(token) => self.client.submit(form(grant, token.reveal()), &observe).await,
            None => self.client.send(request(grant, login), &observe).await,
        }
    }

    fn refusal(&self, grant: &Grant, answer: &Answer) -> Result<(), UpstreamError> {
        let host = answer.body.host();
        let status = answer.status.as_u16();
        match answer.status {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let password = if grant.named { Password::Offered } else { Password::Withheld };
                Err(self.account.denied(host, status, password))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after =
                    answer.header(&RETRY_AFTER).and_then(|text| header::retry_after(&text, self.clock.now()));
                Err(UpstreamError::TooManyRequests { host: host.to_owned(), retry_after })
            }
            _ => Err(UpstreamError::Status { host: host.to_owned(), status }),
        }
    }
}

/// `GET realm?service=…&scope=…` (distribution-spec's token authentication).
fn request(grant: &Grant, login: Option<&Login>) -> Request {
    let mut url = grant.bearer.realm.clone();
    let mut query = url.query_pairs_mut();
    if let Some(service) = &grant.bearer.service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &grant.scope).append_pair("client_id", CLIENT);
    let mut headers = HeaderMap::from_iter([(ACCEPT, JSON)]);
    if let Some((login, basic)) = login.and_then(|login| Some((login, login.basic()?))) {
        query.append_pair("account", login.username());
        headers.insert(AUTHORIZATION, basic.clone());
    }
    drop(query);
    Request { method: Method::GET, url, headers }
}

/// `POST realm` with `grant_type=refresh_token` (distribution-spec's token authentication by OAuth 2).
fn form(grant: &Grant, token: &str) -> Form {
    let service = grant.bearer.service.clone().map(|service| ("service", service));
    let rest = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", token.to_owned()),
        ("scope", grant.scope.clone()),
        ("client_id", CLIENT.to_owned()),
    ];
    let fields = rest.into_iter().chain(service).collect();
    Form { url: grant.bearer.realm.clone(), headers: HeaderMap::from_iter([(ACCEPT, JSON)]), fields }
}

/// What a token server says. Older ones call it `token`, OAuth 2 ones `access_token`, and some write numbers as text.
#[derive(Deserialize)]
struct Response {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
}

impl Response {
    fn life(&self) -> Duration {
        let said = match &self.expires_in {
            Some(Value::Number(seconds)) => seconds.as_f64(),
            Some(Value::String(seconds)) => seconds.parse().ok(),
            _ => None,
        };
        let seconds = said.filter(|seconds| seconds.is_finite() && *seconds > 0.0).unwrap_or(DEFAULT_LIFE);
        Duration::from_secs_f64(seconds.min(LONGEST_LIFE) * USED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_token_is_used() {
        for (json, seconds) in [
            (r#"{"token":"a"}"#, 51.0),
            (r#"{"token":"a","expires_in":300}"#, 255.0),
            (r#"{"token":"a","expires_in":"300"}"#, 255.0),
            (r#"{"token":"a","expires_in":0}"#, 51.0),
            (r#"{"token":"a","expires_in":-5}"#, 51.0),
            (r#"{"token":"a","expires_in":null}"#, 51.0),
            (r#"{"token":"a","expires_in":1e300}"#, LONGEST_LIFE * USED),
        ] {
            let response: Response = serde_json::from_str(json).unwrap();
            assert_eq!(response.life().as_secs_f64(), seconds, "{json}");
        }
    }
}
