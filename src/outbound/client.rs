//! Sending requests.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder};

use super::error::{SendError, causes};
use super::proxy::Proxies;
use super::{Body, BuildError, Url, authority, redirect};
use crate::config::Trust;
use crate::sys::{Clock, Moment};

const USER_AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// How a client reaches what it asks.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The configured proxy; without one the environment's apply, but never for loopback addresses.
    pub proxy: Option<&'a str>,
    pub trust: &'a Trust,
    /// The content of the file that `trust` names: certificates as PEM.
    pub authorities: Option<&'a [u8]>,
    /// Our own certificate and its key as PEM, shown to whom asks for one: to the destination, and also to a token server, a
    /// CDN or a proxy that it leads to. What is shown proves who we are and cannot be used again.
    pub identity: Option<&'a [u8]>,
    pub limits: Limits,
    pub clock: Clock,
}

/// How long is waited. There is no limit on a whole transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the head of the answer, redirects included.
    pub first_byte: Duration,
    /// For each further piece of a body.
    pub stall: Duration,
}

/// A request without a body. Only GET and HEAD are sent so: they may be repeated, and keep their method in a redirect.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
}

/// A form that is sent by POST.
#[derive(Clone)]
pub struct Form {
    pub url: Url,
    pub headers: HeaderMap,
    pub fields: Vec<(&'static str, String)>,
}

/// What the last hop of a request answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Another address than the one asked gave this answer.
    pub redirected: bool,
    /// That address. It may be signed: it is not for logs.
    pub url: Url,
    pub body: Body,
}

impl Answer {
    /// The text of a header; what is not UTF-8 is replaced.
    pub fn header(&self, name: &HeaderName) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// One request that was really sent.
#[derive(Debug)]
pub struct Hop<'a> {
    pub method: &'a Method,
    pub url: &'a Url,
    /// It follows a redirect.
    pub redirected: bool,
    /// `None`: there was no answer.
    pub answer: Option<(StatusCode, &'a HeaderMap)>,
    pub took: Duration,
}

/// The outgoing client of one destination, with its pool of connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    proxies: Proxies,
    limits: Limits,
    clock: Clock,
}

impl Client {
    /// Builds it; nothing is asked of the network.
    pub fn new(options: &Options<'_>) -> Result<Self, BuildError> {
        let builder = reqwest::Client::builder()
            // With HTTP/2 four connections to one host are one, and one congestion window.
            .http1_only()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(options.limits.connect)
            .no_proxy();
        let proxies = match options.proxy {
            Some(address) => Proxies::configured(address)?,
            None => Proxies::of_environment(|name| std::env::var(name).ok()),
        };
        let builder = match proxies.rule() {
            Some(rule) => builder.proxy(rule),
            None => builder,
        };
        let builder = identified(trusting(builder, options)?, options)?;
        let http = builder.build().map_err(|error| BuildError::of(&error, options.identity.is_some()))?;
        Ok(Self { http, proxies, limits: options.limits, clock: options.clock.clone() })
    }

    /// Sends a request and follows its redirects. `observe` is told of every request that is really sent.
    pub async fn send(&self, mut request: Request, observe: &(dyn Fn(&Hop<'_>) + Sync)) -> Result<Answer, SendError> {
        let began = self.clock.moment();
        let origin = request.url.clone();
        for hop in 0..=redirect::MOST {
            let response = self.hop(&request, hop > 0, began, observe).await?;
            if !redirect::is_redirect(response.status()) {
                return Ok(self.answer(response, &request.url, hop > 0));
            }
            let host = authority(&request.url);
            let target = redirect::target(&origin, &request.url, response.headers());
            let target = target.map_err(|reason| refused(host, reason))?;
            redirect::withhold(&mut request.headers, &origin, &target);
            request.url = target;
        }
        Err(refused(authority(&request.url), format!("more than {} redirects", redirect::MOST)))
    }

    /// Sends a form. A redirect is not followed: what is in the form is meant for this address alone.
    pub async fn submit(&self, form: Form, observe: &(dyn Fn(&Hop<'_>) + Sync)) -> Result<Answer, SendError> {
        let began = self.clock.moment();
        let mut encoded = form.url.clone();
        encoded.set_query(None);
        encoded.query_pairs_mut().extend_pairs(&form.fields);
        let body = encoded.query().unwrap_or_default().to_owned();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let sending = self.http.post(form.url.clone()).headers(form.headers).header(CONTENT_TYPE, kind).body(body);
        let result = self.once(&form.url, sending, began).await;
        let answer = result.as_ref().ok().map(|response| (response.status(), response.headers()));
        let took = self.clock.since(began);
        observe(&Hop { method: &Method::POST, url: &form.url, redirected: false, answer, took });
        Ok(self.answer(result?, &form.url, false))
    }

    fn answer(&self, mut response: reqwest::Response, url: &Url, redirected: bool) -> Answer {
        Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            redirected,
            url: url.clone(),
            body: Body::new(response, authority(url), self.limits.stall),
        }
    }

    /// One hop. A kept-alive connection may have died unseen, so what breaks before an answer is tried a second time.
    async fn hop(
        &self,
        request: &Request,
        redirected: bool,
        began: Moment,
        observe: &(dyn Fn(&Hop<'_>) + Sync),
    ) -> Result<reqwest::Response, SendError> {
        let mut again = true;
        loop {
            let sent = self.clock.moment();
            let sending = self.http.request(request.method.clone(), request.url.clone());
            let sending = sending.headers(request.headers.clone());
            let result = self.once(&request.url, sending, began).await;
            let answer = result.as_ref().ok().map(|response| (response.status(), response.headers()));
            let took = self.clock.since(sent);
            observe(&Hop { method: &request.method, url: &request.url, redirected, answer, took });
            match result {
                Err(SendError::Broken { .. }) if again => again = false,
                result => return result,
            }
        }
    }

    async fn once(&self, url: &Url, sending: RequestBuilder, began: Moment) -> Result<reqwest::Response, SendError> {
        let (host, proxy) = (authority(url), self.proxies.name(url));
        let left = self.limits.first_byte.saturating_sub(self.clock.since(began));
        match tokio::time::timeout(left, sending.send()).await {
            Ok(Ok(response)) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(SendError::refused_by_proxy(host, proxy.as_deref()))
            }
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(SendError::of_request(host, proxy.as_deref(), &error)),
            Err(_) => Err(SendError::Timeout { host, waited: self.limits.first_byte }),
        }
    }
}

fn identified(builder: ClientBuilder, options: &Options<'_>) -> Result<ClientBuilder, BuildError> {
    let Some(pem) = options.identity else { return Ok(builder) };
    let identity = Identity::from_pem(pem).map_err(|error| BuildError::Identity(causes(&error)))?;
    Ok(builder.identity(identity))
}

fn trusting(builder: ClientBuilder, options: &Options<'_>) -> Result<ClientBuilder, BuildError> {
    match options.trust {
        Trust::System => Ok(builder),
        Trust::Anything => Ok(builder.tls_danger_accept_invalid_certs(true)),
        Trust::Also(file) => {
            let missing = || BuildError::Authority(file.display().to_string());
            let certificates = Certificate::from_pem_bundle(options.authorities.unwrap_or_default());
            let certificates = certificates.ok().filter(|found| !found.is_empty()).ok_or_else(missing)?;
            Ok(builder.tls_certs_merge(certificates))
        }
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
        Options { proxy: None, trust, authorities: None, identity: None, limits, clock: Clock::system() }
    }

    #[test]
    fn builds_without_a_network_and_refuses_what_cannot_work() {
        assert!(Client::new(&options(&Trust::System)).is_ok());
        assert!(Client::new(&options(&Trust::Anything)).is_ok());
        let also = Trust::Also("ca.pem".into());
        for pem in [None, Some(&b""[..]), Some(b"nothing"), Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n")] {
            let refused = Client::new(&Options { authorities: pem, ..options(&also) });
            assert!(matches!(refused, Err(BuildError::Authority(_))), "{pem:?}");
        }
        let proxy = Some("me:secret@p:3128");
        let refused = Client::new(&Options { proxy, ..options(&Trust::System) }).unwrap_err();
        assert!(!refused.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn the_environment_never_proxies_loopback() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let nobody = |name: &str| name.ends_with("_proxy").then(|| "http://127.0.0.1:9".to_owned());
        let proxies = Proxies::of_environment(|name| nobody(name).filter(|_| name != "no_proxy"));
        let client = reqwest::Client::builder().no_proxy().proxy(proxies.rule().unwrap()).build().unwrap();
        let asked = client.get(address).send();
        tokio::select! {
            _ = asked => unreachable!("the listener does not answer, and the proxy refuses"),
            accepted = listener.accept() => assert!(accepted.is_ok()),
        }
    }
}
