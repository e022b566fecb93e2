//! What is left of fills that did not come to an end: kept for the next request, and the first to go.

use std::time::Duration;

use super::{Held, Quota};
use crate::oci::Digest;

#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) bytes: u64,
    /// Milliseconds since 1970.
    pub(super) last_used: u64,
}

impl Quota {
    /// A fill has ended before its blob was whole; so many bytes are left of it.
    pub fn left(&self, digest: &Digest, bytes: u64) {
        let last_used = self.now();
        let mut held = self.held();
        held.forget_left(digest);
        if bytes > 0 {
            held.leave(*digest, Left { bytes, last_used });
        }
        self.report(&held);
    }

    /// Removes what was left longer ago than `age`.
    pub async fn purge_left(&self, age: Duration) {
        let before = self.now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let old = self.held().left_before(before);
        let mut purged = 0;
        for digest in old {
            purged += self.remove_left(&digest).await;
        }
        if purged > 0 {
            tracing::info!(bytes = purged, "what was left of blobs that nobody asked for again was removed");
        }
    }

    /// Removes what is left of one blob. Returns how much that was.
    pub(super) async fn remove_left(&self, digest: &Digest) -> u64 {
        let bytes = self.held().forget_left(digest);
        match self.store.remove_partial(digest).await {
            Ok(true) => bytes,
            // A fill has taken it up, and counts it.
            Ok(false) => 0,
            Err(error) => {
                tracing::warn!(%error, "what is left of a blob could not be removed");
                0
            }
        }
    }
}

impl Held {
    pub(super) fn leave(&mut self, digest: Digest, left: Left) {
        let before = self.left.insert(digest, left).map_or(0, |before| before.bytes);
        self.left_bytes = self.left_bytes - before + left.bytes;
    }

    /// Counts what is left of a blob no longer. Returns how much that was.
    pub(super) fn forget_left(&mut self, digest: &Digest) -> u64 {
        let bytes = self.left.remove(digest).map_or(0, |left| left.bytes);
        self.left_bytes -= bytes;
        bytes
    }

    /// What was left before this time, the oldest first.
    pub(super) fn left_before(&self, time: u64) -> Vec<Digest> {
        let mut old: Vec<_> = self.left.iter().filter(|(_, left)| left.last_used < time).collect();
        old.sort_unstable_by_key(|(_, left)| left.last_used);
        old.into_iter().map(|(digest, _)| *digest).collect()
    }
}
