//! Sends HEAD requests. What a HEAD says is a hint, and so is its failure: a server may cut it, hang, refuse it or answer
//! 5xx, and still serve the GET of the same content.
//!
//! So a failed HEAD counts against no endpoint, and the caller's GET decides. The exceptions concern every request: a 429, an
//! endpoint to which no connection can be made, and an endpoint whose GETs have hung before.

use http::StatusCode;

use super::request::{Reply, UpstreamRequest};
use crate::upstream::client::Upstream;
use crate::upstream::error::UpstreamError;

impl Upstream {
    /// Sends a HEAD. Returns `None` if it brought no answer in time, or one that a GET must confirm.
    pub(super) async fn ask_by_head(&self, request: &UpstreamRequest<'_>) -> Result<Option<Reply<'_>>, UpstreamError> {
        let upstream = self.name();
        let outcome = match tokio::time::timeout(self.head_wait, self.ask(request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::debug!(%upstream, repository = %request.repository, asked = request.rest, "a HEAD brought no answer in time; a GET decides");
                return Ok(None);
            }
        };
        match outcome {
            outcome if concerns_every_request(&outcome) => outcome.map(Some),
            Ok(reply) if reply.response.status == StatusCode::OK => Ok(Some(reply)),
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::debug!(%upstream, repository = %request.repository, asked = request.rest, %error, "a HEAD has failed; a GET decides");
                Ok(None)
            }
        }
    }
}

/// Returns true if a GET would fail in the same way as this HEAD did.
pub(super) fn concerns_every_request(outcome: &Result<Reply<'_>, UpstreamError>) -> bool {
    match outcome {
        Ok(reply) => reply.response.status == StatusCode::TOO_MANY_REQUESTS,
        Err(UpstreamError::Connect { host, .. }) => host.is_endpoint(),
        Err(UpstreamError::TooManyRequests { .. } | UpstreamError::Silent { .. }) => true,
        Err(_) => false,
    }
}
