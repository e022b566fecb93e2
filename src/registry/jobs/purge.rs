//! The purge of abandoned uploads and of unfinished blobs.

use std::time::Duration;

use crate::registry::Registry;

/// Removes the unfinished blobs of fills that ended longer ago than `age`.
pub(super) async fn purge_partials(registry: &Registry, age: Duration) {
    registry.mirror.ledger.purge_leftovers(age).await;
}

/// Removes temporary files that a crash or a failing disk has left.
pub(super) async fn purge_temporary(registry: &Registry) {
    registry.hosted.unused_files.remove_temporary().await;
}

/// Finishes the deletions that an earlier run of a server has not finished.
pub(super) async fn finish_deletions(registry: &Registry) {
    let removed = registry.store.empty_trash().await;
    let mut finished = 0;
    let hosted = &registry.store.hosted;
    match hosted.inhabited().await {
        Ok(names) => {
            for name in names {
                match hosted.finish_deletions(&name).await {
                    Ok(deletions) => finished += deletions,
                    Err(error) => tracing::warn!(%error, repository = %name, "a deletion could not be finished"),
                }
            }
        }
        Err(error) => tracing::warn!(%error, "unfinished deletions could not be looked for"),
    }
    if finished > 0 || removed > 0 {
        tracing::info!(manifests = finished, folders = removed, "finished deletions of an earlier run of a server");
    }
}

/// Removes the uploads that were begun longer ago than `age`.
pub(super) async fn purge_uploads(registry: &Registry, age: Duration) {
    match registry.store.hosted.purge_uploads(age).await {
        Ok(0) => {}
        Ok(purged) => tracing::info!(purged, "removed abandoned uploads"),
        Err(error) => tracing::warn!(%error, "abandoned uploads could not be removed"),
    }
}
