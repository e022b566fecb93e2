//! The errors of fills.

use super::source::SourceKey;
use crate::oci::{Digest, HostName, RepositoryName};
use crate::upstream::UpstreamError;

/// The reason why a blob did not arrive.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FillError {
    /// The upstream of one source failed.
    #[error("blob {digest} cannot be fetched from {upstream}/{repository}: {source}")]
    Upstream { digest: Digest, upstream: HostName, repository: RepositoryName, source: Box<UpstreamError> },
    /// An operator cancelled the fill.
    #[error("the fill of {0} was cancelled by an operator; the next request resumes it")]
    Cancelled(Digest),
    /// The fill ended without a result, because the server is stopping.
    #[error("the fill of {0} was interrupted because the server is stopping; try again")]
    Interrupted(Digest),
}

impl FillError {
    /// Returns the error of a source whose upstream failed.
    pub fn upstream(error: &UpstreamError, digest: &Digest, (upstream, repository): &SourceKey) -> Self {
        let (upstream, repository) = (upstream.clone(), repository.clone());
        Self::Upstream { digest: *digest, upstream, repository, source: Box::new(error.clone()) }
    }
}
