//! One request to one endpoint: the credentials it carries, the meaning of the answer's status, and its effect on the
//! endpoint's health.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::oci::RepositoryName;
use crate::outbound::{Hop, Observer, Request, Response, ResponseBody, Url, authority};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{
    Endpoint, EndpointHealth, FailureScope, HealthyAnswer, Meter, RequestKind, Scheme, ThrottleReason,
};
use crate::upstream::error::UpstreamError;
use crate::upstream::header;
use crate::upstream::login::{PasswordUse, RegistryLogin, Token, TokenRequest, same_site};

/// The header with the digest of the answered content (OCI distribution-spec, Pulling manifests).
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A request that any endpoint of an upstream can answer.
pub(super) struct UpstreamRequest<'a> {
    pub(super) kind: RequestKind,
    pub(super) method: Method,
    pub(super) repository: &'a RepositoryName,
    /// The part of the path after `/v2/NAME/`.
    pub(super) rest: String,
    pub(super) query: header::PageQuery,
    pub(super) headers: HeaderMap,
    pub(super) on_redirect: OnRedirect<'a>,
}

/// Called with the target of a redirect, and the time after which the answer came that redirects to it.
pub(super) type OnRedirect<'a> = Option<&'a (dyn Fn(&Url, Duration) + Sync)>;

/// Follows a request for its metrics, and for the caller that asks for redirects.
struct Observed<'a> {
    meter: &'a Meter,
    kind: RequestKind,
    on_redirect: OnRedirect<'a>,
}

impl Observer for Observed<'_> {
    fn hop(&self, hop: &Hop<'_>) {
        self.meter.hop(self.kind, hop);
    }

    fn redirected(&self, target: &Url, after: Duration) {
        if let Some(on_redirect) = self.on_redirect {
            on_redirect(target, after);
        }
    }
}

/// A response and the endpoint that gave it.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) response: Response,
    pub(super) endpoint: &'a Endpoint,
}

/// The credentials that a request carries.
enum Authorization {
    Nothing,
    Basic(Arc<RegistryLogin>),
    Token { token: Token, cached: bool },
}

impl Upstream {
    /// Returns the response if its status says that it contains the requested content. Otherwise returns the error that
    /// the status means.
    pub(super) fn judge(&self, reply: Reply<'_>) -> Result<Response, UpstreamError> {
        let response = reply.response;
        let host = response.body.host().to_owned();
        let status = response.status.as_u16();
        match response.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            // The target of a redirect does not know the account: its refusal concerns the signed address, not our
            // rights.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !response.redirected => {
                Err(self.account.denied(&host, status, self.password_for(reply.endpoint)))
            }
            StatusCode::NOT_FOUND => Err(UpstreamError::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = response.header(&CONTENT_RANGE).and_then(|text| header::unsatisfied(&text));
                Err(UpstreamError::Unsatisfiable { host, total })
            }
            StatusCode::TOO_MANY_REQUESTS => {
                Err(UpstreamError::TooManyRequests { host, retry_after: self.retry_after(&response) })
            }
            _ => Err(UpstreamError::Status { host, status }),
        }
    }

    /// Returns the response of one endpoint, whatever its status. It updates the endpoint's health with the outcome of
    /// the request; the caller only reports the outcome of the body. While the endpoint hangs, the request fails at
    /// once with [`UpstreamError::Silent`].
    pub(super) async fn ask_endpoint<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        request: &UpstreamRequest<'_>,
    ) -> Result<Reply<'a>, UpstreamError> {
        let health = endpoint.health();
        let _probe = health.begin(request.repository, &endpoint.host())?;
        let began = self.clock.moment();
        match self.exchange(endpoint, request).await {
            Ok((response, took)) => {
                self.note(endpoint, request, &response, took);
                Ok(Reply { response, endpoint })
            }
            Err(mut error) => {
                match &error {
                    // The token server answered 429.
                    UpstreamError::TooManyRequests { retry_after, .. } => {
                        let is_throttle = true;
                        health
                            .answered(request.repository, HealthyAnswer { took: None, is_counted: false, is_throttle });
                        health.throttle(request.repository, ThrottleReason::TooManyRequests, *retry_after);
                    }
                    of_endpoint if of_endpoint.is_of_endpoint() => {
                        let scope = scope_of(of_endpoint, endpoint);
                        health.failed(request.repository, &error, scope, self.clock.since(began));
                    }
                    _ => {
                        let answer = HealthyAnswer { took: None, is_counted: false, is_throttle: false };
                        health.answered(request.repository, answer);
                    }
                }
                if let UpstreamError::Connect { retry_in, .. } = &mut error {
                    *retry_in = health.circuit_pause(request.repository);
                }
                Err(error)
            }
        }
    }

    /// Sends the request, and sends it again with better credentials if the endpoint wants them. Returns the final
    /// response and the time until its head arrived.
    async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
    ) -> Result<(Response, Duration), UpstreamError> {
        let authorization = match endpoint.scheme() {
            Some(scheme) => self.authorize(endpoint, &scheme, request.repository).await?,
            None => Authorization::Nothing,
        };
        let (response, took) = self.send(endpoint, request, &authorization).await?;
        let better = match response.status {
            _ if response.redirected => None,
            StatusCode::UNAUTHORIZED => self.answer_challenge(endpoint, request, &response, authorization).await?,
            StatusCode::FORBIDDEN => self.renew(endpoint, request, authorization).await?,
            _ => None,
        };
        match better {
            Some(better) => self.send(endpoint, request, &better).await,
            None => Ok((response, took)),
        }
    }

    /// Updates the health of an endpoint with the head of its response.
    fn note(&self, endpoint: &Endpoint, request: &UpstreamRequest<'_>, response: &Response, took: Duration) {
        let (health, host, repository) = (endpoint.health(), endpoint.host(), request.repository);
        let status = response.status;
        // The target of a redirect has limits of its own.
        let retry_after = self.retry_after(response).filter(|_| !response.redirected);
        if status.is_server_error() {
            let error = UpstreamError::Status { host, status: status.as_u16() };
            health.failed(repository, &error, FailureScope::Repository, took);
        } else {
            let is_throttle = status == StatusCode::TOO_MANY_REQUESTS && !response.redirected;
            let is_counted = !request.ignores_throttle();
            health.answered(repository, HealthyAnswer { took: Some(took), is_counted, is_throttle });
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS if !response.redirected => {
                health.throttle(repository, ThrottleReason::TooManyRequests, retry_after);
            }
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                health.throttle(repository, ThrottleReason::Unavailable, retry_after);
            }
            _ => {}
        }
    }

    /// Reads a whole body of at most `limit` bytes, and updates the endpoint's health with the outcome.
    pub(super) async fn read(
        &self,
        health: &EndpointHealth,
        request: &UpstreamRequest<'_>,
        body: ResponseBody,
        limit: usize,
    ) -> Result<Bytes, UpstreamError> {
        let is_reused = body.is_on_reused_connection();
        match body.collect(limit).await.map_err(UpstreamError::from) {
            Ok(body) => {
                health.body_completed(request.repository);
                self.meter.received(request.kind, body.len());
                Ok(body)
            }
            Err(error) => {
                // A connection that died while it was kept open says nothing about the endpoint.
                if error != UpstreamError::TooLarge && !is_reused {
                    health.body_failed(request.repository);
                }
                Err(error)
            }
        }
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        response.header(&RETRY_AFTER).and_then(|text| header::retry_after(&text, self.clock.now()))
    }

    /// Returns the credentials for an endpoint whose authentication scheme is known.
    async fn authorize(
        &self,
        endpoint: &Endpoint,
        scheme: &Scheme,
        repository: &RepositoryName,
    ) -> Result<Authorization, UpstreamError> {
        match scheme {
            Scheme::Basic => Ok(basic(self.account.login().await)),
            Scheme::Bearer(bearer) => {
                let named = self.password_for(endpoint) == PasswordUse::Sent && self.account.login().await.is_some();
                let scope = format!("repository:{repository}:pull");
                let wanted = TokenRequest { bearer: bearer.clone(), scope, named };
                if let Some(token) = self.tokens.cached(&wanted).await {
                    return Ok(Authorization::Token { token, cached: true });
                }
                let token = self.tokens.fetch(wanted).await?;
                Ok(Authorization::Token { token, cached: false })
            }
        }
    }

    /// Returns better credentials after a 401; `None` if there are no better ones.
    async fn answer_challenge(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        response: &Response,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let Some(learned) = endpoint.learn(&response.headers) else {
            return Ok(None);
        };
        match (&*learned.scheme, sent) {
            (Scheme::Basic, Authorization::Basic(refused)) => {
                let better = basic(self.account.instead_of(&refused).await);
                return Ok(Some(better).filter(|better| !matches!(better, Authorization::Nothing)));
            }
            (Scheme::Bearer(_), Authorization::Token { cached: false, .. }) if !learned.is_new => {
                return Ok(None);
            }
            (_, Authorization::Token { token, .. }) => self.tokens.forget(&token).await,
            _ => {}
        }
        let better = self.authorize(endpoint, &learned.scheme, request.repository).await?;
        Ok(Some(better).filter(|better| !matches!(better, Authorization::Nothing)))
    }

    /// Returns a fresh token after a 403 for a cached one. Some registries answer 403 to a token whose rights were
    /// changed after it was issued.
    async fn renew(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let (Some(scheme), Authorization::Token { token, cached: true }) = (endpoint.scheme(), sent) else {
            return Ok(None);
        };
        self.tokens.forget(&token).await;
        self.authorize(endpoint, &scheme, request.repository).await.map(Some)
    }

    /// Decides whether the password for this endpoint may be sent to the server that its credentials are for.
    fn password_for(&self, endpoint: &Endpoint) -> PasswordUse {
        let Some(scheme) = endpoint.scheme() else {
            return PasswordUse::Sent;
        };
        let Scheme::Bearer(bearer) = &*scheme else {
            return PasswordUse::Sent;
        };
        if same_site(endpoint.base(), &bearer.realm) {
            return PasswordUse::Sent;
        }
        if !self.account.is_anonymous() && !self.warned_of_withheld_password.swap(true, Ordering::Relaxed) {
            let (upstream, endpoint, realm) = (self.name(), endpoint.host(), authority(&bearer.realm));
            tracing::warn!(
                %upstream, %endpoint, %realm,
                "the token server of this upstream is on another site, so the password is not sent to it; requesting an \
                 anonymous token"
            );
        }
        PasswordUse::Withheld
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        authorization: &Authorization,
    ) -> Result<(Response, Duration), UpstreamError> {
        let mut url = endpoint.url(request.repository, &request.rest);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut headers = request.headers.clone();
        // A digest names the plain bytes, so the body must not be encoded on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let value = match authorization {
            Authorization::Nothing => None,
            Authorization::Basic(login) => login.basic(),
            Authorization::Token { token, .. } => Some(token.header()),
        };
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let observe = Observed { meter: &self.meter, kind: request.kind, on_redirect: request.on_redirect };
        let began = self.clock.moment();
        let response = self.client.send(Request { method: request.method.clone(), url, headers }, &observe).await?;
        // Time that was lost on dead connections says nothing about the endpoint.
        let took = self.clock.since(began).saturating_sub(response.lost);
        Ok((response, took))
    }
}

/// Returns the requests that a failure says something about. Only a failure to connect to the endpoint itself concerns
/// them all. A token server and a CDN may fail for one repository, and so may the endpoint with a response or a
/// time-out.
fn scope_of(error: &UpstreamError, endpoint: &Endpoint) -> FailureScope {
    match error {
        UpstreamError::Connect { host, .. } if *host == endpoint.host() => FailureScope::Endpoint,
        _ => FailureScope::Repository,
    }
}

/// Returns the login if it can be sent with each request. An identity token is only for token servers.
fn basic(login: Option<Arc<RegistryLogin>>) -> Authorization {
    login.filter(|login| login.basic().is_some()).map_or(Authorization::Nothing, Authorization::Basic)
}

/// Returns the response unless its body is encoded: a digest does not name encoded bytes.
pub(super) fn unencoded(response: Response) -> Result<Response, UpstreamError> {
    match response.header(&CONTENT_ENCODING) {
        Some(coding) if !coding.trim().eq_ignore_ascii_case("identity") => {
            let reason = format!("it sent a body with Content-Encoding {coding:?}, though the request accepts none");
            Err(UpstreamError::Protocol { host: response.body.host().to_owned(), reason })
        }
        _ => Ok(response),
    }
}

/// Reads the number in `Content-Length`. The body of a HEAD does not tell it.
pub(super) fn content_length(response: &Response) -> Option<u64> {
    response.header(&CONTENT_LENGTH)?.trim().parse().ok()
}
