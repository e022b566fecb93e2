//! Rebuilds the ledger from the cache's directories.

use std::sync::Arc;

use super::ledger::{Ledger, Visibility, millis};
use super::leftovers::Leftover;
use crate::store::{CachedBlob, Right, StoreError};

impl Ledger {
    /// Reads the cache's directories. Requests are served meanwhile.
    pub async fn rebuild(self: &Arc<Self>) -> Result<(), StoreError> {
        let ledger = Arc::clone(self);
        let visit = move |blob: CachedBlob| {
            ledger.enter(blob.digest, blob.size, millis(blob.last_used), Visibility::Unknown);
        };
        self.store.walk_blobs(visit).await?;
        for partial in self.store.partials().await? {
            let leftover = Leftover { bytes: partial.bytes, last_used: millis(partial.last_used) };
            self.accounts().leftovers.add(partial.digest, leftover);
        }
        for name in self.store.repositories().await? {
            match self.store.links(&name).await {
                Ok(links) => {
                    let public = links.iter().filter(|(_, link)| link.right == Right::Public);
                    public.for_each(|(digest, _)| self.set_public(digest));
                }
                Err(error) => {
                    tracing::warn!(upstream = %name.upstream(), repository = %name.repository(), %error, "cannot read a cached repository");
                }
            }
        }
        self.set_indexed();
        let (blobs, bytes) = self.count();
        tracing::info!(blobs, bytes, "indexed the cache");
        self.enforce_limits().await;
        Ok(())
    }
}
