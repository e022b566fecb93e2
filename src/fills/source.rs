//! Where a blob can be fetched from, and what that says of the right to it.

use std::sync::Arc;

use crate::oci::{HostName, RepositoryName};
use crate::store::Right;
use crate::upstream::{Upstream, UpstreamError};

/// Where a blob can be fetched from, and in whose name.
#[derive(Clone)]
pub struct Source {
    pub upstream: Arc<Upstream>,
    pub repository: RepositoryName,
    /// What the naming descriptor says.
    pub expected_size: Option<u64>,
}

impl Source {
    /// Two sources with one key have the same rights.
    pub fn key(&self) -> SourceKey {
        (self.upstream.name().clone(), self.repository.clone())
    }

    /// The right that a 200 of it gives.
    pub fn right(&self) -> Right {
        if self.upstream.is_anonymous() { Right::Public } else { Right::Private }
    }
}

pub type SourceKey = (HostName, RepositoryName);

/// Has the upstream vouched for this repository's right to the digest?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It answered 200 for it, now or earlier.
    Given,
    /// It will be asked by the fill itself.
    Pending,
}

/// The size that all who name one agree on; an error names the first two that do not.
pub fn agree(sizes: [Option<u64>; 3]) -> Result<Option<u64>, UpstreamError> {
    let mut named = sizes.into_iter().flatten();
    let Some(expected) = named.next() else { return Ok(None) };
    match named.find(|size| *size != expected) {
        Some(found) => Err(UpstreamError::Length { expected, found }),
        None => Ok(Some(expected)),
    }
}
