//! Partial blobs of fills that ended early. The next request for the blob resumes from them; eviction removes them
//! first.

use std::collections::HashMap;

use crate::oci::Digest;

/// The partial blob that an unfinished fill left on the disk.
#[derive(Clone, Copy)]
pub(super) struct Leftover {
    pub(super) bytes: u64,
    /// The time of the last write, in milliseconds since 1970.
    pub(super) last_used: u64,
}

/// All leftovers, and the sum of their sizes.
#[derive(Default)]
pub(super) struct Leftovers {
    by_digest: HashMap<Digest, Leftover>,
    bytes: u64,
}

impl Leftovers {
    /// Adds a leftover, or replaces the one with the same digest.
    pub(super) fn add(&mut self, digest: Digest, leftover: Leftover) {
        let before = self.by_digest.insert(digest, leftover).map_or(0, |before| before.bytes);
        self.bytes = self.bytes - before + leftover.bytes;
    }

    /// Stops counting a leftover. Returns its size, or 0 if there was none.
    pub(super) fn remove(&mut self, digest: &Digest) -> u64 {
        let bytes = self.by_digest.remove(digest).map_or(0, |leftover| leftover.bytes);
        self.bytes -= bytes;
        bytes
    }

    /// Returns the leftovers that were last written before `time`, the oldest first.
    pub(super) fn older_than(&self, time: u64) -> Vec<Digest> {
        let mut old: Vec<_> = self.by_digest.iter().filter(|(_, leftover)| leftover.last_used < time).collect();
        old.sort_unstable_by_key(|(_, leftover)| leftover.last_used);
        old.into_iter().map(|(digest, _)| *digest).collect()
    }

    /// Returns the number of leftovers.
    pub(super) fn count(&self) -> usize {
        self.by_digest.len()
    }

    /// Returns the sum of their sizes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
