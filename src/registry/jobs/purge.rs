//! The purge of abandoned uploads and of unfinished blobs.

use std::time::Duration;

use crate::registry::Registry;

/// Removes the unfinished blobs of fills that ended longer ago than `age`.
pub(super) async fn purge_partials(registry: &Registry, age: Duration) {
    registry.mirror.ledger.purge_leftovers(age).await;
}

/// Removes the uploads that were begun longer ago than `age`.
pub(super) async fn purge_uploads(registry: &Registry, age: Duration) {
    match registry.store.hosted.purge_uploads(age).await {
        Ok(0) => {}
        Ok(purged) => tracing::info!(purged, "removed abandoned uploads"),
        Err(error) => tracing::warn!(%error, "abandoned uploads could not be removed"),
    }
}
