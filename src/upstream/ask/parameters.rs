//! Tells an endpoint that refuses every parameter from a mirror that does not have the content.
//!
//! A mirror of several registries that gets no `?ns=` answers from its default registry, and not each mirror says in its
//! answers which registry they are from. So a refusal alone never leads to a request without the parameter. An endpoint that
//! refuses a parameter with another name too, at addresses that it serves without, reads no parameter at all.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use super::request::UpstreamRequest;
use crate::outbound::{Hop, Request, Response, Url};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Endpoint, RequestKind};

/// The parameter that a request to an endpoint carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Absent,
    /// `ns=` with the name of the upstream.
    Namespace,
    /// One that no registry reads.
    Unknown,
}

impl Parameter {
    pub(super) fn append_to(self, url: &mut Url, endpoint: &Endpoint) {
        match self {
            Self::Absent => {}
            Self::Namespace => drop(url.query_pairs_mut().append_pair("ns", endpoint.namespace().name())),
            Self::Unknown => drop(url.query_pairs_mut().append_pair("entrepot-probe", "1")),
        }
    }
}

impl Upstream {
    /// Returns the answer to a request without a parameter, if the endpoint refuses every parameter. The request with `ns` was
    /// refused just before.
    ///
    /// `/v2/` and the content must be refused with an unknown parameter, and the content served without, in this order:
    /// a server that restarts refuses everything for a while. A mirror that matches `/v2/` alone serves the content with the
    /// unknown parameter, if it serves it without.
    pub(super) async fn without_parameters(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
    ) -> Option<(Response, Duration)> {
        let ping = self.ping_with_parameter(endpoint, request.kind).await;
        if !shows_refusal(endpoint, ping?) {
            return None;
        }
        let plain = self.exchange_once(endpoint, request, Parameter::Absent).await.ok()?;
        if !plain.0.status.is_success() {
            return None;
        }
        let (probe, _) = self.exchange_once(endpoint, request, Parameter::Unknown).await.ok()?;
        if !shows_refusal(endpoint, probe.status) {
            return None;
        }
        endpoint.namespace().learn_parameters(true);
        let (upstream, host) = (self.name(), endpoint.host());
        tracing::info!(%upstream, endpoint = %host, "the endpoint refuses every parameter, so requests to it leave out ?ns=");
        Some(plain)
    }

    async fn ping_with_parameter(&self, endpoint: &Endpoint, kind: RequestKind) -> Option<StatusCode> {
        let observe = |hop: &Hop<'_>| self.meter.hop(kind, hop);
        let mut url = endpoint.ping_url();
        Parameter::Unknown.append_to(&mut url, endpoint);
        let request = Request { method: Method::GET, url, headers: HeaderMap::new() };
        Some(self.client.send(request, &observe).await.ok()?.status)
    }
}

/// Returns true if a request with an unknown parameter was refused. If it was served, the endpoint remembers that.
fn shows_refusal(endpoint: &Endpoint, status: StatusCode) -> bool {
    let is_served = status.is_success() || status == StatusCode::UNAUTHORIZED;
    if is_served {
        endpoint.namespace().learn_parameters(false);
    }
    !is_served && status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
}
