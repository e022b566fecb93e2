//! Rebuilds the ledger from the cache's directories.

use std::sync::Arc;

use super::ledger::Ledger;
use super::leftovers::Leftover;
use crate::store::{CachedBlob, Right, StoreError};

impl Ledger {
    /// Reads the cache's directories. Requests are served meanwhile.
    pub async fn rebuild(self: &Arc<Self>) -> Result<(), StoreError> {
        let ledger = Arc::clone(self);
        let visit = move |blob: CachedBlob| {
            ledger.found(blob.digest, blob.size, ledger.last_use(blob.last_used));
        };
        self.store.walk_blobs(visit).await?;
        for partial in self.store.partials().await? {
            let leftover = Leftover { bytes: partial.bytes, last_used: self.last_use(partial.last_used) };
            self.accounts().leftovers.add(partial.digest, leftover);
        }
        let swept = self.index_links().await?;
        self.report(&self.accounts());
        self.set_indexed();
        let (blobs, bytes) = self.count();
        tracing::info!(blobs, bytes, links = self.store.link_count(), swept, "indexed the cache");
        self.enforce_limits().await;
        Ok(())
    }

    /// Reads all links, and removes those that are not needed. Returns the number of removed links.
    pub(super) async fn index_links(&self) -> Result<u64, StoreError> {
        let mut swept = 0;
        for name in self.store.repositories().await? {
            let indexed = async {
                let links = self.store.links(&name).await?;
                let public = links.iter().filter(|(_, link)| link.right == Right::Public);
                public.for_each(|(digest, _)| self.set_public(digest));
                let digests: Vec<_> = links.iter().map(|(digest, _)| *digest).collect();
                self.store.know_links(&name, &digests);
                self.sweep(&name, &links.into_iter().map(|(digest, link)| (digest, link.media_type)).collect()).await
            };
            match indexed.await {
                Ok(removed) => swept += removed,
                Err(error) => {
                    tracing::warn!(upstream = %name.upstream(), repository = %name.repository(), %error, "cannot read a cached repository");
                }
            }
        }
        Ok(swept)
    }
}
