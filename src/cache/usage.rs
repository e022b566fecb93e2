//! What the cache takes, for those who look.

use std::sync::atomic::Ordering;

use super::Quota;
use crate::store::{Amount, StoreError};
use crate::sys::disk::Space;

/// What the cache takes.
#[derive(Clone, Copy, Debug)]
pub struct CacheUsage {
    pub whole: Amount,
    /// What is left of fills that did not come to an end.
    pub left: Amount,
    /// Bytes that running fills have written.
    pub arriving: u64,
    /// The most that the cache may hold, in bytes.
    pub limit: u64,
    /// What it leaves free of the file system.
    pub reserve: u64,
}

impl Quota {
    /// What the cache takes now. Before everything is indexed the directories are asked.
    pub async fn usage(&self, space: Space) -> Result<CacheUsage, StoreError> {
        let walked =
            if self.indexed.load(Ordering::Acquire) { None } else { Some(self.store.amount_of(|_| true).await?) };
        let (limit, reserve) = self.bounds(space);
        let held = self.held();
        let known = Amount { count: held.entries.len() as u64, bytes: held.bytes };
        let left = Amount { count: held.left.len() as u64, bytes: held.left_bytes };
        Ok(CacheUsage { whole: walked.unwrap_or(known), left, arriving: held.arriving, limit, reserve })
    }

    /// The most that the cache may hold, and what it leaves free of the file system; in bytes.
    pub(super) fn bounds(&self, space: Space) -> (u64, u64) {
        let limit = self.limits.max_size.unwrap_or(space.total / 5 * 4);
        (limit, self.limits.reserve.unwrap_or((space.total / 20).min(10 << 30)))
    }
}
