//! Sends requests and follows their redirects.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder, Url};

use super::address::authority;
use super::body::ResponseBody;
use super::error::{ClientError, SendError, causes};
use super::proxy::Proxies;
use super::redirect;
use crate::config::Trust;
use crate::sys::{Clock, Moment};

const USER_AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

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
    pub body: ResponseBody,
}

impl Response {
    /// Returns the text of a header. Bytes that are not UTF-8 are replaced.
    pub fn header(&self, name: &HeaderName) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// One request as it was sent, either the first or one after a redirect.
#[derive(Debug)]
pub struct Hop<'a> {
    pub method: &'a Method,
    pub url: &'a Url,
    /// The request follows a redirect.
    pub redirected: bool,
    /// `None` if there was no response.
    pub response: Option<(StatusCode, &'a HeaderMap)>,
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
    /// Builds the client without using the network.
    pub fn new(options: &Options<'_>) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder()
            // HTTP/2 would merge several connections to a host into one, with one congestion window.
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
        let http = builder.build().map_err(|error| ClientError::of(&error, options.identity.is_some()))?;
        Ok(Self { http, proxies, limits: options.limits, clock: options.clock.clone() })
    }

    /// Sends a request and follows its redirects. `observe` is called for each request that was sent.
    pub async fn send(&self, mut request: Request, observe: &(dyn Fn(&Hop<'_>) + Sync)) -> Result<Response, SendError> {
        let began = self.clock.moment();
        let origin = request.url.clone();
        for hop in 0..=redirect::MOST {
            let response = self.hop(&request, hop > 0, began, observe).await?;
            if !redirect::is_redirect(response.status()) {
                return Ok(self.response(response, &request.url, hop > 0));
            }
            let host = authority(&request.url);
            let target = redirect::target(&origin, &request.url, response.headers());
            let target = target.map_err(|reason| refused(host, reason))?;
            redirect::withhold(&mut request.headers, &origin, &target);
            request.url = target;
        }
        Err(refused(authority(&request.url), format!("more than {} redirects", redirect::MOST)))
    }

    /// Sends a form. Redirects are not followed, since the fields are meant for this address alone.
    pub async fn submit(&self, form: FormRequest, observe: &(dyn Fn(&Hop<'_>) + Sync)) -> Result<Response, SendError> {
        let began = self.clock.moment();
        let mut encoded = form.url.clone();
        encoded.set_query(None);
        encoded.query_pairs_mut().extend_pairs(&form.fields);
        let body = encoded.query().unwrap_or_default().to_owned();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let sending = self.http.post(form.url.clone()).headers(form.headers).header(CONTENT_TYPE, kind).body(body);
        let result = self.once(&form.url, sending, began).await;
        let response = result.as_ref().ok().map(|response| (response.status(), response.headers()));
        let took = self.clock.since(began);
        observe(&Hop { method: &Method::POST, url: &form.url, redirected: false, response, took });
        Ok(self.response(result?, &form.url, false))
    }

    fn response(&self, mut response: reqwest::Response, url: &Url, redirected: bool) -> Response {
        Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            redirected,
            url: url.clone(),
            body: ResponseBody::new(response, authority(url), self.limits.stall),
        }
    }

    /// Sends one hop. A kept-alive connection may have died unnoticed, so a request that breaks before its response is
    /// sent a second time.
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
            let response = result.as_ref().ok().map(|response| (response.status(), response.headers()));
            let took = self.clock.since(sent);
            observe(&Hop { method: &request.method, url: &request.url, redirected, response, took });
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

fn identified(builder: ClientBuilder, options: &Options<'_>) -> Result<ClientBuilder, ClientError> {
    let Some(pem) = options.identity else { return Ok(builder) };
    let identity = Identity::from_pem(pem).map_err(|error| ClientError::Identity(causes(&error)))?;
    Ok(builder.identity(identity))
}

fn trusting(builder: ClientBuilder, options: &Options<'_>) -> Result<ClientBuilder, ClientError> {
    match options.trust {
        Trust::System => Ok(builder),
        Trust::Anything => Ok(builder.tls_danger_accept_invalid_certs(true)),
        Trust::Also(file) => {
            let missing = || ClientError::Authority(file.display().to_string());
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
