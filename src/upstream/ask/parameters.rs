//! Tells an endpoint that refuses the parameter `ns` from a mirror that does not have the content.
//!
//! A mirror of several registries that gets no `?ns=` answers from its default registry, and not every mirror says in its
//! answers which registry they are from. No refusal shows that an endpoint does not read `ns`, and a refusal of another
//! parameter does not show it either: a gateway may pass on `ns` and refuse the parameters that it does not know. So the
//! request is not sent without the parameter, and the error names the key that leaves it out.

use http::{HeaderMap, Method, StatusCode};

use super::evidence::is_of_registry;
use super::request::{Reply, UpstreamRequest};
use crate::outbound::{Hop, Request, Response, Url};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Endpoint, RequestKind};
use crate::upstream::error::UpstreamError;

/// The parameter that a request to an endpoint carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Absent,
    /// `ns=` with the name of the upstream.
    Namespace,
}

impl Parameter {
    pub(super) fn append_to(self, url: &mut Url, endpoint: &Endpoint) {
        match self {
            Self::Absent => {}
            Self::Namespace => drop(url.query_pairs_mut().append_pair("ns", endpoint.namespace().name())),
        }
    }
}

impl Upstream {
    /// Returns the error for a refused GET with `ns`, if the endpoint refuses the parameter wherever it stands. Such a refusal
    /// says nothing about the content.
    pub(super) async fn refusal_of_namespace(
        &self,
        request: &UpstreamRequest<'_>,
        reply: &Reply<'_>,
    ) -> Option<UpstreamError> {
        if request.method == Method::HEAD {
            // A HEAD is a hint, and a GET follows.
            return None;
        }
        // Some servers match `/v2/` as text, with its query, and so refuse it with any parameter. Such a refusal does not come
        // from a registry. It does not cast doubt on an absence that a registry states.
        let is_claim = reply.vouched && request.is_claim(reply.response.status);
        let is_refused = self.refuses_ping(reply.endpoint, request.kind, is_claim).await?;
        let reason = reply.endpoint.namespace().refused();
        is_refused.then(|| UpstreamError::Foreign { host: reply.endpoint.host().into(), reason })
    }

    /// Returns true if `/v2/` is served, and refused with `ns`: by a registry, if `by_registry` is true.
    async fn refuses_ping(&self, endpoint: &Endpoint, kind: RequestKind, by_registry: bool) -> Option<bool> {
        let mut named = self.ping(endpoint, kind, Parameter::Namespace).await?;
        if is_served(named.status) || !named.status.is_client_error() || named.status == StatusCode::TOO_MANY_REQUESTS {
            return Some(false);
        }
        if by_registry && !is_of_registry(&mut named, &mut None).await.ok()? {
            return Some(false);
        }
        Some(is_served(self.ping(endpoint, kind, Parameter::Absent).await?.status))
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
