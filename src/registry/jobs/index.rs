//! The indexes in memory, which are built from the disk while requests are served.

use std::time::Duration;

use crate::registry::Registry;
use crate::store::Indexed;

/// The shortest time between two indexings of the private store.
const REINDEX_EVERY: Duration = Duration::from_secs(60);

/// Indexes the cache.
pub(super) async fn index_cache(registry: &Registry) {
    if let Err(error) = registry.mirror.ledger.rebuild().await {
        tracing::error!(%error, "the cache could not be indexed; eviction knows only content that arrives from now on");
    }
}

/// Indexes the private store, and again each time a mount finds no repository with the blob: another process may have pushed it.
pub(super) async fn keep_index(registry: &Registry) {
    loop {
        let begun = registry.machine.clock.moment();
        match registry.store.index().await {
            Ok(Indexed { repositories, manifests, links }) => {
                let millis = registry.machine.clock.since(begun).as_millis() as u64;
                tracing::info!(repositories, manifests, links, millis, "indexed the store");
                tokio::time::sleep(REINDEX_EVERY).await;
                registry.reindex.notified().await;
            }
            Err(error) => {
                tracing::warn!(%error, "the store could not be indexed; requests read its directories until it can");
                tokio::time::sleep(REINDEX_EVERY).await;
            }
        }
    }
}
