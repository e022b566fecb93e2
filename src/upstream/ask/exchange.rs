//! One request to one endpoint: the credentials it carries, the meaning of the answer's status, and its effect on the
//! endpoint's health.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER, WARNING};
use http::{HeaderName, HeaderValue, StatusCode};

use super::authorization::Authorization;
use super::evidence::foreign;
use super::parameters::{NamespaceRefusal, Parameter};
use super::request::{OnRedirect, Reply, UpstreamRequest};
use crate::oci::ContentCoding;
use crate::outbound::{Hop, Observer, Request, Response, ResponseBody, Url};
use crate::upstream::cause::FailureCause;
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{
    Endpoint, FailureScope, HealthyAnswer, Meter, NamespaceVerdict, RequestKind, ThrottleReason,
};
use crate::upstream::error::{LimitedBy, UpstreamError};
use crate::upstream::failed_server::FailedServer;
use crate::upstream::header;
use crate::upstream::login::PasswordUse;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// The most refusals of one request that are answered with better credentials: an unknown scheme, a token whose rights have
/// changed, and a login that has expired.
const MOST_REFUSALS: usize = 3;

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

impl Upstream {
    /// Returns the response if its status says that it contains the requested content. Otherwise returns the error that
    /// the status means.
    pub(super) fn judge(&self, mut reply: Reply<'_>) -> Result<Response, UpstreamError> {
        let is_throttled = reply.is_throttled();
        let said = reply.said.take();
        self.meaning(reply, is_throttled).map_err(|error| error.saying(said))
    }

    fn meaning(&self, reply: Reply<'_>, is_throttled: bool) -> Result<Response, UpstreamError> {
        let (server, response) = (reply.server(), reply.response);
        let host = server.clone();
        let (status, retry_after) = (response.status.as_u16(), self.retry_after(&response));
        let is_elsewhere = response.redirected && !reply.endpoint.is_at(&response.url);
        if is_throttled {
            let limited = if response.redirected { LimitedBy::Other } else { LimitedBy::Registry };
            return Err(UpstreamError::TooManyRequests { host, limited, retry_after, said: None });
        }
        match response.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if reply.vouched && is_elsewhere => {
                Err(self.account.denied(server.host(), status, PasswordUse::Redirected))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if reply.vouched => {
                Err(self.account.denied(server.host(), status, self.password_for(reply.endpoint)))
            }
            StatusCode::NOT_FOUND if reply.vouched => Err(UpstreamError::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = response.header(&CONTENT_RANGE).and_then(|text| header::unsatisfied(&text));
                Err(UpstreamError::Unsatisfiable { host, total })
            }
            _ => Err(UpstreamError::Status { host, status, retry_after, said: None }),
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
        let _probe = health.begin(request.repository)?;
        let began = self.clock.moment();
        match self.exchange(endpoint, request).await {
            Ok((reply, took)) => {
                self.note(request, &reply, took);
                Ok(reply)
            }
            Err(error) => {
                let mut error = error.reached_from(&endpoint.host());
                if let Some(cause) = FailureCause::of(&error) {
                    health.count_failure(cause);
                }
                match &error {
                    // The token server answered 429.
                    UpstreamError::TooManyRequests { retry_after, said, .. } => {
                        let is_throttle = true;
                        health
                            .answered(request.repository, HealthyAnswer { took: None, is_counted: false, is_throttle });
                        let reason = (ThrottleReason::TokenServer, said.as_ref());
                        health.throttle(request.repository, reason, *retry_after);
                    }
                    hint if request.is_hint() && scope_of(hint) != FailureScope::Endpoint => {}
                    of_endpoint if of_endpoint.is_of_endpoint() => {
                        let scope = scope_of(of_endpoint);
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

    /// Sends the request, and sends it again if the answer is for another registry than this upstream. Returns the final
    /// reply, and the time until its head arrived. An endpoint's answer to a GET counts only
    /// if a registry gave it; the target of a redirect may be any server.
    async fn exchange<'a>(
        &self,
        endpoint: &'a Endpoint,
        request: &UpstreamRequest<'_>,
    ) -> Result<(Reply<'a>, Duration), UpstreamError> {
        let sent = endpoint.namespace().is_sent();
        let parameter = if sent { Parameter::Namespace } else { Parameter::Absent };
        let (mut response, mut took) = self.exchange_once(endpoint, request, parameter).await?;
        let mut verdict = endpoint.namespace().judge(&response, sent, false);
        let again = match verdict {
            NamespaceVerdict::RepeatNamed => Some(self.exchange_once(endpoint, request, Parameter::Namespace).await?),
            NamespaceVerdict::RepeatPlain => Some(self.exchange_once(endpoint, request, Parameter::Absent).await?),
            NamespaceVerdict::MayIgnoreNamespace => self.answer_without_namespace(endpoint, request, &response).await,
            NamespaceVerdict::Ours | NamespaceVerdict::MayRefuseNamespace | NamespaceVerdict::Foreign(_) => None,
        };
        if let Some(again) = again {
            let sent = verdict == NamespaceVerdict::RepeatNamed;
            (response, took) = again;
            verdict = endpoint.namespace().judge(&response, sent, true);
        }
        let mut reply = Reply { response, endpoint, vouched: false, said: None };
        if let NamespaceVerdict::Foreign(reason) = verdict {
            self.hear(request, &mut reply, None).await;
            return Err(UpstreamError::Foreign { host: endpoint.host().into(), reason }.saying(reply.said));
        }
        self.weigh(request, &mut reply).await?;
        if verdict == NamespaceVerdict::MayRefuseNamespace {
            match self.refusal_of_namespace(request, &reply).await {
                NamespaceRefusal::Answer => {}
                NamespaceRefusal::Refused(refusal) => return Err(refusal.saying(reply.said)),
                NamespaceRefusal::Unread(response, without) => {
                    took = without;
                    reply = Reply { response: *response, endpoint, vouched: false, said: None };
                    self.weigh(request, &mut reply).await?;
                }
            }
        }
        if !reply.vouched && !reply.response.redirected && !request.is_hint() {
            let is_login = reply.response.status == StatusCode::UNAUTHORIZED;
            if is_login && endpoint.asked_scheme(&reply.response.headers).is_some() {
                let password = self.password_for(endpoint);
                let denied = self.account.denied(&endpoint.host(), reply.response.status.as_u16(), password);
                return Err(denied.of_login_page().saying(reply.said));
            }
            return Err(foreign(&reply.response, endpoint.host().into()).saying(reply.said));
        }
        Ok((reply, took))
    }

    /// Sends the request, and sends it again with better credentials if the endpoint wants them. Returns the final
    /// response and the time until its head arrived.
    pub(super) async fn exchange_once(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        parameter: Parameter,
    ) -> Result<(Response, Duration), UpstreamError> {
        let (mut authorization, mut lack) = self.credentials(endpoint, request.repository).await;
        let mut refusals = 0;
        loop {
            let (response, took) = self.send(endpoint, request, &authorization, parameter).await?;
            if let Some(lack) = lack.take() {
                self.check_lack(endpoint, &response, lack).await?;
            }
            refusals += 1;
            if refusals > MOST_REFUSALS {
                return Ok((response, took));
            }
            match self.better_credentials(endpoint, request.repository, &response, authorization).await? {
                Some(better) => authorization = better,
                None => {
                    let asked = (request.kind, &request.method, &request.headers);
                    return Ok((self.with_anonymous_token(asked, response).await?, took));
                }
            }
        }
    }

    /// Updates the health of an endpoint with the head of its response.
    fn note(&self, request: &UpstreamRequest<'_>, reply: &Reply<'_>, took: Duration) {
        let Reply { endpoint, response, said, .. } = reply;
        let (health, host, repository) = (endpoint.health(), endpoint.host(), request.repository);
        let status = response.status;
        if let Some(cause) = cause_of_status(request, reply) {
            health.count_failure(cause);
        }
        if request.is_hint() && status.is_server_error() {
            return;
        }
        // The target of a redirect has limits of its own.
        let retry_after = self.retry_after(response).filter(|_| !response.redirected);
        // A registry without the referrers API may say so by 501.
        if status.is_server_error() && (response.redirected || !request.is_claim(status)) {
            let host = FailedServer::answering_for(response.body.host(), &host);
            let error = UpstreamError::Status { host, status: status.as_u16(), retry_after, said: None };
            health.failed(repository, &error, FailureScope::Repository, took);
        } else {
            let is_throttle = reply.is_throttled() && !response.redirected;
            let is_counted = !request.ignores_throttle();
            health.answered(repository, HealthyAnswer { took: Some(took), is_counted, is_throttle });
        }
        match status {
            _ if reply.is_throttled() && !response.redirected => {
                health.throttle(repository, (ThrottleReason::TooManyRequests, said.as_ref()), retry_after);
            }
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                health.throttle(repository, (ThrottleReason::Unavailable, said.as_ref()), retry_after);
            }
            _ => {}
        }
    }

    /// Reads a whole body of at most `limit` bytes, and updates the endpoint's health with the outcome.
    pub(super) async fn read(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        body: ResponseBody,
        limit: usize,
    ) -> Result<Bytes, UpstreamError> {
        let (health, is_reused) = (endpoint.health(), body.is_on_reused_connection());
        let named = |error| {
            UpstreamError::from(error).reached_from(&endpoint.host()).naming_answer(request.kind.of_an_answer())
        };
        match body.collect(limit).await.map_err(named) {
            Ok(body) => {
                health.body_completed(request.repository);
                self.meter.received(request.kind, body.len());
                Ok(body)
            }
            Err(error) => {
                // A connection that died while it was kept open says nothing about the endpoint.
                if !matches!(error, UpstreamError::TooLarge { .. }) && !is_reused {
                    health.body_failed(request.repository, &error);
                }
                if let Some(cause) = FailureCause::of(&error) {
                    health.count_failure(cause);
                }
                Err(error)
            }
        }
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        response.header(&RETRY_AFTER).and_then(|text| header::retry_after(&text, self.clock.now()))
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        authorization: &Authorization,
        parameter: Parameter,
    ) -> Result<(Response, Duration), UpstreamError> {
        let mut url = endpoint.url(request.repository, &request.rest);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        parameter.append_to(&mut url, endpoint);
        let mut headers = request.headers.clone();
        // A digest names the plain bytes, so the body must not be encoded on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(value) = authorization.header() {
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

/// Returns the cause of an answer that is a failure. Absent content is none, and neither is a list that is not supported. A
/// HEAD is only a hint, so of its answers only those that concern every request count.
fn cause_of_status(request: &UpstreamRequest<'_>, reply: &Reply<'_>) -> Option<FailureCause> {
    let (response, status) = (&reply.response, reply.response.status);
    let cause = match status {
        _ if reply.is_throttled() => FailureCause::Throttled,
        _ if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => return None,
        _ if request.is_hint() && !status.is_server_error() => return None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureCause::Refused,
        _ if request.is_claim(status) => return None,
        _ => FailureCause::Status,
    };
    Some(if response.redirected { FailureCause::Redirect } else { cause })
}

/// Returns the requests that a failure says something about. Only a failure to connect to the endpoint itself concerns
/// them all. A token server and a CDN may fail for one repository, and so may the endpoint with a response or a
/// time-out.
fn scope_of(error: &UpstreamError) -> FailureScope {
    match error {
        UpstreamError::Connect { host, .. } if host.is_endpoint() => FailureScope::Endpoint,
        _ => FailureScope::Repository,
    }
}

/// Returns the content of a body. `Content-Encoding` is a hint: the bytes count as they were sent if they are right, and
/// decoded if that makes them right.
pub(super) fn plain(
    body: Bytes,
    coding: Option<ContentCoding>,
    limit: usize,
    is_right: impl Fn(&[u8]) -> bool,
) -> Bytes {
    let Some(coding) = coding.filter(|_| !is_right(&body)) else { return body };
    coding.decode(&body, limit).filter(|decoded| is_right(decoded)).unwrap_or(body)
}

/// Returns true if a body may be a JSON object.
pub(super) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// Returns the warning of an upstream that is a mirror and served an old copy.
pub(super) fn stale_warning(response: &Response) -> Option<String> {
    let is_stale = response.header(&X_CACHE).is_some_and(|state| state == "stale");
    let warning = || response.header(&WARNING).and_then(|field| header::warning(&field));
    let host = response.body.host();
    is_stale.then(|| warning().unwrap_or_else(|| format!("{host} has served an old copy")))
}

/// Reads the number in `Content-Length`. The body of a HEAD does not tell it.
pub(super) fn content_length(response: &Response) -> Option<u64> {
    response.header(&CONTENT_LENGTH)?.trim().parse().ok()
}
