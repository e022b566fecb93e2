//! The endpoints whose answer to a request could not be used, so that the next one is asked.

use crate::upstream::cause::FailureCause;
use crate::upstream::endpoint::{Endpoint, EndpointId};
use crate::upstream::error::UpstreamError;

/// The endpoints that one request is not sent to again.
#[derive(Default)]
pub(super) struct Tried {
    endpoints: Vec<EndpointId>,
    first: Option<UpstreamError>,
}

impl Tried {
    /// Returns the endpoints not to ask.
    pub(super) fn endpoints(&self) -> &[EndpointId] {
        &self.endpoints
    }

    /// Notes that an answer could not be used. Returns the error to report if no other endpoint may have a better answer.
    pub(super) fn note(&mut self, endpoint: &Endpoint, error: UpstreamError) -> Result<(), UpstreamError> {
        if let UpstreamError::Foreign { .. } = &error {
            endpoint.health().count_failure(FailureCause::Foreign);
        }
        if !error.is_of_content() {
            return Err(self.report(error));
        }
        self.endpoints.push(endpoint.id());
        self.first.get_or_insert(error);
        Ok(())
    }

    /// Returns the error to report after this one: the first. An endpoint that should have the content says more than a less
    /// trusted one that does not have it.
    pub(super) fn report(&self, error: UpstreamError) -> UpstreamError {
        self.first.clone().unwrap_or(error)
    }
}
