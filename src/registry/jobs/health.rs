//! The check of the storage (`health.storagedriver`).

use crate::registry::Registry;

/// Writes a file to the storage and notes the outcome.
pub(super) async fn check_storage(registry: &Registry) {
    let probed = registry.store.probe().await;
    if let Err(error) = &probed {
        tracing::error!(%error, "the storage cannot be written to");
    }
    // A full disk still serves pulls, and the cache gives way to pushes.
    registry.health.note(probed.or_else(|error| if error.is_full() { Ok(()) } else { Err(error.to_string()) }));
}
