//! Tells an endpoint that does not read the parameter `ns` from a mirror of several registries.
//!
//! A mirror that gets no `?ns=` answers from its default registry, and not every mirror says in its answers which registry
//! they are from. So the parameter is left out only after one of two signs. Either the endpoint gives the same manifest of a tag for
//! a registry that does not exist. Or it refuses `ns` and a parameter that no registry reads in the same way, both at `/v2/` and
//! at the content, and serves the content without. One refusal alone is no sign: a gateway before a mirror may pass on `ns`
//! and refuse the parameters that it does not know.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::evidence::is_of_registry;
use super::request::{CONTENT_DIGEST, Reply, UpstreamRequest};
use crate::outbound::{Hop, Request, Response, Url};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Endpoint, RequestKind};
use crate::upstream::error::UpstreamError;

/// No registry has this name (RFC 2606 reserves `.invalid`).
const NO_REGISTRY: &str = "registry.invalid";
/// No registry reads this parameter.
const NO_PARAMETER: &str = "entrepot-probe";
/// The longest wait for the answer for a registry that does not exist. A mirror of any registry may try to reach it.
const LONGEST_PROBE: Duration = Duration::from_secs(3);
/// The most bytes of two refusals that are compared, and the longest wait for them.
const MAX_REFUSAL: usize = 4 << 10;
const LONGEST_REFUSAL: Duration = Duration::from_secs(2);

/// The parameter that a request to an endpoint carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Absent,
    /// `ns=` with the name of the upstream.
    Namespace,
    /// `ns=` with the name of a registry that does not exist.
    NoRegistry,
    /// A parameter that no registry reads.
    Unknown,
}

/// The meaning of a refusal of a request with `ns`.
pub(super) enum NamespaceRefusal {
    /// It is an answer about the content, as far as can be told.
    Answer,
    /// The endpoint refuses the parameter, so it says nothing about the content.
    Refused(UpstreamError),
    /// The endpoint refuses every parameter. This is its answer without one, and the time until its head arrived.
    Unread(Box<Response>, Duration),
}

impl Parameter {
    pub(super) fn append_to(self, url: &mut Url, endpoint: &Endpoint) {
        match self {
            Self::Absent => {}
            Self::Namespace => drop(url.query_pairs_mut().append_pair("ns", endpoint.namespace().name())),
            Self::NoRegistry => drop(url.query_pairs_mut().append_pair("ns", NO_REGISTRY)),
            Self::Unknown => drop(url.query_pairs_mut().append_pair(NO_PARAMETER, "1")),
        }
    }
}

impl Upstream {
    /// Returns the answer without `ns` to the request for a tag, if the endpoint does not read the parameter, and answers otherwise
    /// without it. `named` is its answer with the parameter. Nothing is learnt from other content: a digest names the same bytes everywhere.
    pub(super) async fn answer_without_namespace(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        named: &Response,
    ) -> Option<(Response, Duration)> {
        let digest = named.header(&CONTENT_DIGEST)?;
        if request.kind != RequestKind::Manifest || request.is_by_digest() {
            return None;
        }
        let probe = request.by_head();
        let asked = self.exchange_once(endpoint, &probe, Parameter::NoRegistry);
        let Ok(other) = tokio::time::timeout(LONGEST_PROBE, asked).await else {
            endpoint.namespace().learn_reading(true);
            return None;
        };
        let (other, _) = other.ok()?;
        let is_same = other.status.is_success() && other.header(&CONTENT_DIGEST).as_ref() == Some(&digest);
        if !is_same {
            if other.status.is_success() || is_refused(other.status) {
                endpoint.namespace().learn_reading(true);
            }
            return None;
        }
        let (plain, _) = self.exchange_once(endpoint, &probe, Parameter::Absent).await.ok()?;
        if !plain.status.is_success() || !endpoint.namespace().is_ours(&plain) {
            endpoint.namespace().learn_reading(true);
            return None;
        }
        self.leave_out(endpoint, "the endpoint answers the same for a registry that does not exist");
        if plain.header(&CONTENT_DIGEST) == Some(digest) {
            return None;
        }
        let plain = self.exchange_once(endpoint, request, Parameter::Absent).await.ok()?;
        plain.0.status.is_success().then_some(plain)
    }

    fn leave_out(&self, endpoint: &Endpoint, reason: &str) {
        endpoint.namespace().learn_reading(false);
        let (upstream, endpoint) = (self.name(), endpoint.host());
        tracing::info!(%upstream, %endpoint, reason, "requests to an endpoint leave out ?ns=, because it does not read it");
    }

    /// Tells the meaning of a refused GET with `ns`.
    pub(super) async fn refusal_of_namespace(
        &self,
        request: &UpstreamRequest<'_>,
        reply: &Reply<'_>,
    ) -> NamespaceRefusal {
        if request.is_hint() {
            // A GET follows.
            return NamespaceRefusal::Answer;
        }
        let endpoint = reply.endpoint;
        let Some(mut named) = self.ping(endpoint, request.kind, Parameter::Namespace).await else {
            return NamespaceRefusal::Answer;
        };
        if !is_refused(named.status) {
            return NamespaceRefusal::Answer;
        }
        let unknown = self.ping(endpoint, request.kind, Parameter::Unknown).await;
        if unknown.is_some_and(|unknown| unknown.status == named.status)
            && let Some((plain, took)) = self.content_without_parameters(request, reply).await
        {
            return NamespaceRefusal::Unread(Box::new(plain), took);
        }
        // Some servers match `/v2/` as text, with its query, and so refuse it with any parameter. Such a refusal does not come
        // from a registry. It does not cast doubt on an absence that a registry states.
        let is_claim = reply.vouched && request.is_claim(reply.response.status);
        if is_claim && !is_of_registry(&mut named, &mut None).await.unwrap_or(false) {
            return NamespaceRefusal::Answer;
        }
        let plain = self.ping(endpoint, request.kind, Parameter::Absent).await;
        if !plain.is_some_and(|plain| is_served(plain.status)) {
            return NamespaceRefusal::Answer;
        }
        let reason = endpoint.namespace().refused();
        NamespaceRefusal::Refused(UpstreamError::Foreign { host: endpoint.host().into(), reason })
    }

    /// Returns the content without a parameter, if the endpoint serves it so, and refuses it with `ns` and with an unknown
    /// parameter in the same way. The refusals come after the content, because a server that restarts refuses everything for a
    /// while.
    async fn content_without_parameters(
        &self,
        request: &UpstreamRequest<'_>,
        reply: &Reply<'_>,
    ) -> Option<(Response, Duration)> {
        let endpoint = reply.endpoint;
        let plain = self.exchange_once(endpoint, request, Parameter::Absent).await.ok()?;
        if !plain.0.status.is_success() || !endpoint.namespace().is_ours(&plain.0) {
            return None;
        }
        let unknown = self.refused_with(endpoint, request, Parameter::Unknown).await?;
        let named = self.refused_with(endpoint, request, Parameter::Namespace).await?;
        if unknown != named || named.0 != reply.response.status {
            return None;
        }
        self.leave_out(endpoint, "the endpoint refuses every parameter");
        Some(plain)
    }

    /// Returns the status and the body of a refusal.
    async fn refused_with(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        parameter: Parameter,
    ) -> Option<(StatusCode, Bytes)> {
        let (mut response, _) = self.exchange_once(endpoint, request, parameter).await.ok()?;
        let body = response.body.start(MAX_REFUSAL, LONGEST_REFUSAL).await.ok().flatten();
        is_refused(response.status).then(|| (response.status, body.unwrap_or_default()))
    }

    async fn ping(&self, endpoint: &Endpoint, kind: RequestKind, parameter: Parameter) -> Option<Response> {
        let observe = |hop: &Hop<'_>| self.meter.hop(kind, hop);
        let mut url = endpoint.ping_url();
        parameter.append_to(&mut url, endpoint);
        let request = Request { method: Method::GET, url, headers: HeaderMap::new() };
        self.client.send(request, &observe).await.ok()
    }
}

/// Returns true for the answer of a registry's `/v2/`, with or without a login.
fn is_served(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::UNAUTHORIZED
}

/// Returns true for a refusal that may be one of the parameter.
fn is_refused(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}
