//! The sources that a blob can be fetched from, and the rights that an answer of theirs proves.

use std::sync::Arc;

use crate::oci::{Digest, MirroredName};
use crate::store::Right;
use crate::upstream::{Upstream, UpstreamError};

/// A repository of an upstream that a blob can be fetched from. The upstream's own account is used.
#[derive(Clone)]
pub struct BlobSource {
    pub upstream: Arc<Upstream>,
    /// The name of the repository. Two sources with the same name have the same rights.
    pub name: MirroredName,
    /// The size that a descriptor names, if one is known.
    pub expected_size: Option<u64>,
}

impl BlobSource {
    /// Returns the right that a 200 of this source proves.
    pub fn right(&self) -> Right {
        if self.upstream.is_anonymous() { Right::Public } else { Right::Private }
    }

    /// Logs that a descriptor names another size than that of the verified blob, if it does.
    pub(super) fn warn_of_wrong_size(&self, digest: &Digest, size: u64) {
        if let Some(named) = self.expected_size.filter(|named| *named != size) {
            let repository = &self.name;
            tracing::warn!(%digest, %repository, named, size, "a manifest names a wrong size of a blob; the blob matches its digest, and is served");
        }
    }
}

/// Whether the upstream has confirmed that this repository has the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The upstream answered 200 for it, now or earlier.
    Given,
    /// The fill itself will ask the upstream.
    Pending,
}

/// Returns the size that all of these name, if any does. The error names the first two that differ.
pub fn agreed_size<const N: usize>(sizes: [Option<u64>; N]) -> Result<Option<u64>, UpstreamError> {
    let mut named = sizes.into_iter().flatten();
    let Some(expected) = named.next() else { return Ok(None) };
    match named.find(|size| *size != expected) {
        Some(found) => Err(UpstreamError::Length { expected, found }),
        None => Ok(Some(expected)),
    }
}
