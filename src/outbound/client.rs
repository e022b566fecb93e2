//! Sends requests and follows their redirects.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::Url;

use super::address::authority;
use super::body::ResponseBody;
use super::dial::Dial;
use super::error::{ClientError, SendError};
use super::link::{LinkShare, Traffic};
use super::pool::{OpenConnection, Pool, Pools, Recipe};
use super::proxy::Proxies;
use super::redirect;
use super::resolver::NameResolver;
use crate::config::Trust;
use crate::sys::{Clock, Moment};

/// The options of a client.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The configured proxy. Without one, the proxies of the environment are used, but never for loopback addresses.
    pub proxy: Option<&'a str>,
    pub trust: &'a Trust,
    /// The content of the file that `trust` names: certificates in PEM.
    pub authorities: Option<&'a [u8]>,
    /// The client certificate and its key in PEM. The certificate is shown to each server that requests one: the
    /// destination, and a token server, a CDN or a proxy on the way. A server cannot reuse it, since the key is not
    /// sent.
    pub identity: Option<&'a [u8]>,
    pub limits: Limits,
    /// The share of a governed link.
    pub link: Option<LinkShare>,
    pub clock: Clock,
}

/// The limits on waiting. There is no limit on a whole transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The limit for a connection.
    pub connect: Duration,
    /// The limit for the head of the response, redirects included.
    pub first_byte: Duration,
    /// The limit for each chunk of a body.
    pub stall: Duration,
}

/// A request without a body. Its method is GET or HEAD, since it may be repeated and keeps its method in a redirect.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
}

/// A form that is sent by POST.
#[derive(Clone)]
pub struct FormRequest {
    pub url: Url,
    pub headers: HeaderMap,
    pub fields: Vec<(&'static str, String)>,
}

/// The response to a request, after redirects.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The response came from another address than the requested one.
    pub redirected: bool,
    /// The address that the response came from. It may be signed, so it must not be logged.
    pub url: Url,
    /// The time that was lost on connections that turned out to be dead.
    pub lost: Duration,
    pub body: ResponseBody,
}

impl Response {
    /// Returns the text of a header. Bytes that are not UTF-8 are replaced.
    pub fn header(&self, name: &HeaderName) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// One request as it was sent: the first, one after a redirect, or a repetition over a new connection.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    pub method: &'a Method,
    pub url: &'a Url,
    /// The request follows a redirect.
    pub redirected: bool,
    pub outcome: HopOutcome<'a>,
    pub took: Duration,
}

/// The end of a request that was sent.
#[derive(Clone, Copy, Debug)]
pub enum HopOutcome<'a> {
    Answered(StatusCode, &'a HeaderMap),
    /// There was no response.
    Failed,
    /// The request was sent on a reused connection, which was silent while a new one brought the answer.
    DeadConnection,
    /// The same request was answered on another connection first.
    Abandoned,
}

/// Follows a request while it is being sent. A closure that takes a hop is one.
pub trait Observer: Sync {
    /// Called for each request that was sent.
    fn hop(&self, hop: &Hop<'_>);

    /// Called when an answer, which came after this time, redirects to `target`. The target is asked next.
    fn redirected(&self, _target: &Url, _after: Duration) {}
}

impl<F: Fn(&Hop<'_>) + Sync> Observer for F {
    fn hop(&self, hop: &Hop<'_>) {
        self(hop);
    }
}

/// The outgoing client of one destination, with its pool of connections.
#[derive(Clone, Debug)]
pub struct Client {
    pools: Arc<Pools>,
    proxies: Proxies,
    limits: Limits,
    link: Option<LinkShare>,
    clock: Clock,
}

/// A hop that is being sent.
#[derive(Clone, Copy)]
struct Sending<'a> {
    request: &'a Request,
    redirected: bool,
    /// The time when the whole request began.
    began: Moment,
    /// The time when this hop began.
    sent: Moment,
    observe: &'a dyn Observer,
}

/// A response, and the connection that it came over.
struct Delivered {
    response: reqwest::Response,
    pool: Arc<Pool>,
    is_reused: bool,
    lost: Duration,
}

impl Client {
    /// Builds the client without using the network.
    pub fn new(options: &Options<'_>) -> Result<Self, ClientError> {
        let proxies = match options.proxy {
            Some(address) => Proxies::configured(address)?,
            None => Proxies::of_environment(|name| std::env::var(name).ok()),
        };
        let recipe = Recipe {
            proxies: proxies.clone(),
            trust: options.trust.clone(),
            authorities: options.authorities.map(<[u8]>::to_vec),
            identity: options.identity.map(<[u8]>::to_vec),
            connect: options.limits.connect,
            resolver: NameResolver::new(options.clock.clone()),
        };
        let pools = Arc::new(Pools::new(recipe)?);
        let (link, clock) = (options.link.clone(), options.clock.clone());
        Ok(Self { pools, proxies, limits: options.limits, link, clock })
    }

    /// Sends a request and follows its redirects.
    pub async fn send(&self, mut request: Request, observe: &dyn Observer) -> Result<Response, SendError> {
        let began = self.clock.moment();
        let origin = request.url.clone();
        let mut lost = Duration::ZERO;
        for hop in 0..=redirect::MOST {
            let sent = self.clock.moment();
            let delivered = self.hop(Sending { request: &request, redirected: hop > 0, began, sent, observe }).await?;
            lost += delivered.lost;
            if !redirect::is_redirect(delivered.response.status()) {
                return Ok(self.response(Delivered { lost, ..delivered }, &request.url, hop > 0));
            }
            let host = authority(&request.url);
            let target = redirect::target(&origin, &request.url, delivered.response.headers());
            let target = target.map_err(|reason| refused(host, reason))?;
            redirect::withhold(&mut request.headers, &origin, &target);
            observe.redirected(&target, self.clock.since(sent));
            request.url = target;
        }
        Err(refused(authority(&request.url), format!("more than {} redirects", redirect::MOST)))
    }

    /// Sends a form. Redirects are not followed, since the fields are meant for this address alone. The form has a
    /// connection of its own: it must not be sent twice, so a dead connection could not be told from a slow server.
    pub async fn submit(&self, form: FormRequest, observe: &dyn Observer) -> Result<Response, SendError> {
        let began = self.clock.moment();
        let mut encoded = form.url.clone();
        encoded.set_query(None);
        encoded.query_pairs_mut().extend_pairs(&form.fields);
        let body = encoded.query().unwrap_or_default().to_owned();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let pool = self.pools.current().await;
        let http = self.pools.unpooled().await.unwrap_or_else(|| pool.http.clone());
        let sending = http.post(form.url.clone()).headers(form.headers).header(CONTENT_TYPE, kind).body(body);
        let result = self.once(&form.url, sending.send(), began).await;
        let took = self.clock.since(began);
        let outcome = outcome_of(&result);
        observe.hop(&Hop { method: &Method::POST, url: &form.url, redirected: false, outcome, took });
        let delivered = Delivered { response: result?, pool, is_reused: false, lost: Duration::ZERO };
        Ok(self.response(delivered, &form.url, false))
    }

    /// Returns true if a limit of the governed link holds now, so that all bodies arrive slowly.
    pub fn is_limited_now(&self) -> bool {
        self.link.as_ref().is_some_and(LinkShare::is_limited_now)
    }

    fn response(&self, delivered: Delivered, url: &Url, redirected: bool) -> Response {
        let Delivered { mut response, pool, is_reused, lost } = delivered;
        let (pools, clock) = (Arc::clone(&self.pools), self.clock.clone());
        let connection = OpenConnection { pools, pool, clock, is_reused, waiting: None };
        let link = self.link.as_ref().map(|link| link.begin(Traffic::client()));
        Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            redirected,
            url: url.clone(),
            lost,
            body: ResponseBody::new(response, authority(url), self.limits.stall, connection).governed_by(link),
        }
    }

    /// Sends one hop. A reused connection may have died unnoticed. So a request that breaks before its response is sent
    /// again over a new connection. A request on a reused connection that stays silent is sent over a new one too, and the
    /// first response counts.
    async fn hop(&self, hop: Sending<'_>) -> Result<Delivered, SendError> {
        let pool = self.pools.current().await;
        let (dial, http) = (Arc::new(Dial::default()), pool.http.clone());
        let mut first = pin!(self.attempt(hop, &http, &dial));
        let limit = self.pools.suspect_after(&authority(&hop.request.url)).min(self.left(hop.began) / 2);
        let result = match tokio::time::timeout(limit, first.as_mut()).await {
            Err(_) if dial.is_reused() => return self.race(hop, &pool, first).await,
            Err(_) => first.await,
            Ok(result) => result,
        };
        let is_reused = dial.is_reused();
        match result {
            Ok(response) => Ok(Delivered { response, pool, is_reused, lost: Duration::ZERO }),
            Err(error @ SendError::Broken { .. }) => {
                let lost = self.clock.since(hop.sent);
                let delivered = if is_reused {
                    self.send_anew(hop, &pool, &Arc::default()).await
                } else {
                    self.repeat(hop, pool).await
                };
                delivered.unwrap_or(Err(error)).map(|delivered| Delivered { lost, ..delivered })
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the response to a request on a reused connection that is silent, and sends the request over a new
    /// connection too. The first response counts.
    async fn race(
        &self,
        hop: Sending<'_>,
        pool: &Arc<Pool>,
        first: impl Future<Output = Result<reqwest::Response, SendError>> + Unpin,
    ) -> Result<Delivered, SendError> {
        let began = self.clock.moment();
        let on_reused =
            |response| Delivered { response, pool: Arc::clone(pool), is_reused: true, lost: Duration::ZERO };
        let lost = self.clock.since(hop.sent);
        let after_silence = |delivered| Delivered { lost, ..delivered };
        let dial = Arc::default();
        let second = pin!(self.send_anew(hop, pool, &dial));
        match select(first, second).await {
            Either::Left((Ok(response), _)) => {
                if dial.is_connected() {
                    self.note(hop, HopOutcome::Abandoned, began);
                }
                Ok(on_reused(response))
            }
            Either::Left((Err(error), second)) => second.await.unwrap_or(Err(error)).map(after_silence),
            Either::Right((Some(Ok(delivered)), _)) => {
                let host = authority(&hop.request.url);
                tracing::info!(%host, "a connection that was kept open is dead; all idle connections are given up");
                self.note(hop, HopOutcome::DeadConnection, hop.sent);
                Ok(after_silence(delivered))
            }
            // The new connection failed too, and its error says more than silence does.
            Either::Right((Some(Err(error)), first)) => first.await.map(on_reused).map_err(|_| error),
            Either::Right((None, first)) => first.await.map(on_reused),
        }
    }

    /// Sends a hop over a new connection, and leaves the old pool if a response arrives. `None` if no new pool can be
    /// made.
    async fn send_anew(
        &self,
        hop: Sending<'_>,
        old: &Arc<Pool>,
        dial: &Arc<Dial>,
    ) -> Option<Result<Delivered, SendError>> {
        let pool = self.pools.successor(old).await?;
        let response = match self.attempt(hop, &pool.http, dial).await {
            Ok(response) => response,
            Err(error) => return Some(Err(error)),
        };
        self.pools.retire(old);
        Some(Ok(Delivered { response, pool, is_reused: false, lost: Duration::ZERO }))
    }

    /// Sends a hop once more after a new connection broke. The pool stays in use.
    async fn repeat(&self, hop: Sending<'_>, pool: Arc<Pool>) -> Option<Result<Delivered, SendError>> {
        let http = self.pools.unpooled().await?;
        let response = self.attempt(hop, &http, &Arc::default()).await;
        Some(response.map(|response| Delivered { response, pool, is_reused: false, lost: Duration::ZERO }))
    }

    async fn attempt(
        &self,
        hop: Sending<'_>,
        http: &reqwest::Client,
        dial: &Arc<Dial>,
    ) -> Result<reqwest::Response, SendError> {
        let (sent, request) = (self.clock.moment(), hop.request);
        let sending = http.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        let result = dial.watch(self.once(&request.url, sending.send(), hop.began)).await;
        if result.is_ok() {
            self.pools.answered(&authority(&request.url), self.clock.since(sent));
        }
        self.note(hop, outcome_of(&result), sent);
        result
    }

    fn note(&self, hop: Sending<'_>, outcome: HopOutcome<'_>, sent: Moment) {
        let Sending { request, redirected, observe, .. } = hop;
        let took = self.clock.since(sent);
        observe.hop(&Hop { method: &request.method, url: &request.url, redirected, outcome, took });
    }

    async fn once(
        &self,
        url: &Url,
        sending: impl Future<Output = reqwest::Result<reqwest::Response>>,
        began: Moment,
    ) -> Result<reqwest::Response, SendError> {
        let (host, proxy) = (authority(url), self.proxies.name(url));
        match tokio::time::timeout(self.left(began), sending).await {
            Ok(Ok(response)) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(SendError::refused_by_proxy(host, proxy.as_deref()))
            }
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(SendError::of_request(host, proxy.as_deref(), &error)),
            Err(_) => Err(SendError::Timeout { host, waited: self.limits.first_byte }),
        }
    }

    /// Returns the time that is left for the head of the response.
    fn left(&self, began: Moment) -> Duration {
        self.limits.first_byte.saturating_sub(self.clock.since(began))
    }
}

fn outcome_of(result: &Result<reqwest::Response, SendError>) -> HopOutcome<'_> {
    match result {
        Ok(response) => HopOutcome::Answered(response.status(), response.headers()),
        Err(_) => HopOutcome::Failed,
    }
}

fn refused(host: String, reason: String) -> SendError {
    tracing::warn!(%host, "{reason}");
    SendError::Refused { host, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(trust: &Trust) -> Options<'_> {
        let second = Duration::from_secs(1);
        let limits = Limits { connect: second, first_byte: second, stall: second };
        Options { proxy: None, trust, authorities: None, identity: None, limits, link: None, clock: Clock::system() }
    }

    #[test]
    fn client_is_built_without_a_network_and_refuses_bad_options() {
        assert!(Client::new(&options(&Trust::System)).is_ok());
        assert!(Client::new(&options(&Trust::Anything)).is_ok());
        let also = Trust::Also("ca.pem".into());
        for pem in [None, Some(&b""[..]), Some(b"nothing"), Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n")] {
            let refused = Client::new(&Options { authorities: pem, ..options(&also) });
            assert!(matches!(refused, Err(ClientError::Authority(_))), "{pem:?}");
        }
        let proxy = Some("me:secret@p:3128");
        let refused = Client::new(&Options { proxy, ..options(&Trust::System) }).unwrap_err();
        assert!(!refused.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn proxies_of_the_environment_are_not_used_for_loopback() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let closed_port = |name: &str| name.ends_with("_proxy").then(|| "http://127.0.0.1:9".to_owned());
        let proxies = Proxies::of_environment(|name| closed_port(name).filter(|_| name != "no_proxy"));
        let client = reqwest::Client::builder().no_proxy().proxy(proxies.rule().unwrap()).build().unwrap();
        let asked = client.get(address).send();
        tokio::select! {
            _ = asked => unreachable!("the listener does not answer, and the proxy refuses"),
            accepted = listener.accept() => assert!(accepted.is_ok()),
        }
    }
}
