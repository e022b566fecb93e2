//! The errors of fills.

use crate::oci::{Digest, MirroredName};
use crate::upstream::UpstreamError;

/// The reason why a blob did not arrive.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FillError {
    /// The upstream of one source failed.
    #[error("blob {digest} cannot be fetched from {repository}: {source}")]
    Upstream { digest: Digest, repository: MirroredName, source: Box<UpstreamError> },
    /// An operator cancelled the fill.
    #[error("the fill of {0} was cancelled by an operator; the next request resumes it")]
    Cancelled(Digest),
    /// The fill ended without a result, because the server is stopping.
    #[error("the fill of {0} was interrupted because the server is stopping; try again")]
    Interrupted(Digest),
}

impl FillError {
    /// Returns the error of a source whose upstream failed.
    pub fn upstream(error: &UpstreamError, digest: &Digest, repository: &MirroredName) -> Self {
        Self::Upstream { digest: *digest, repository: repository.clone(), source: Box::new(error.clone()) }
    }
}
