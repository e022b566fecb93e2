//! Blobs that could not be kept although their size was unknown. The next reservation of the same blob asks for at least as
//! much at once, so that nothing is evicted in vain.

use std::collections::HashMap;

use crate::oci::Digest;

/// The most blobs that are remembered. Forgetting one costs one reservation in vain.
const MOST: usize = 1024;

/// The least size of each blob that was refused.
#[derive(Default)]
pub(super) struct RefusedBlobs(HashMap<Digest, u64>);

impl RefusedBlobs {
    /// Records that a blob of at least this size was refused.
    pub(super) fn add(&mut self, digest: Digest, size: u64) {
        if self.0.len() >= MOST && !self.0.contains_key(&digest) {
            self.0.clear();
        }
        let known = self.0.entry(digest).or_default();
        *known = size.max(*known);
    }

    /// Returns the least size of a blob, if it was refused before.
    pub(super) fn least_size(&self, digest: &Digest) -> Option<u64> {
        self.0.get(digest).copied()
    }
}
