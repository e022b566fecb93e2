//! The space that the cache takes, for operators.

use super::ledger::Ledger;
use crate::store::{Amount, LINK_BYTES, StoreError};
use crate::sys::disk::Space;

/// The space that the cache takes.
#[derive(Clone, Copy, Debug)]
pub struct CacheUsage {
    /// Complete blobs.
    pub whole: Amount,
    /// The links of mirrored repositories to content. They count for the limit.
    pub links: Amount,
    /// Partial blobs of fills that ended early.
    pub leftovers: Amount,
    /// Bytes that running fills have written.
    pub arriving: u64,
    /// The maximum size of the cache, in bytes.
    pub limit: u64,
    /// The number of bytes that the cache leaves free on the file system.
    pub reserve: u64,
}

impl Ledger {
    /// Returns the space that the cache takes now. Reads the directories while the cache is not indexed yet.
    pub async fn usage(&self, space: Space) -> Result<CacheUsage, StoreError> {
        let walked = if self.is_indexed() { None } else { Some(self.store.amount_of(|_| true).await?) };
        let (limit, reserve) = self.bounds(space);
        let accounts = self.accounts();
        let known = Amount { count: accounts.blobs.len() as u64, bytes: accounts.bytes };
        let leftovers = Amount { count: accounts.leftovers.count() as u64, bytes: accounts.leftovers.bytes() };
        let links = self.store.link_count();
        let links = Amount { count: links, bytes: links * LINK_BYTES };
        Ok(CacheUsage { whole: walked.unwrap_or(known), links, leftovers, arriving: accounts.arriving, limit, reserve })
    }
}
