//! The check of the storage (`health.storagedriver`).

use crate::registry::Registry;
use crate::registry::health::{DiskSpace, FULL_DISK};

/// Writes a file to the storage and notes the outcome.
pub(super) async fn check_storage(registry: &Registry) {
    match registry.store.probe().await {
        Ok(()) => {
            if registry.health.note(Ok(DiskSpace::Free)) {
                tracing::info!("the disk has free space again");
            }
        }
        // A full disk still serves pulls, and the cache gives way to pushes.
        Err(error) if error.is_full() => {
            if registry.health.note(Ok(DiskSpace::Full)) {
                tracing::warn!(%error, "{FULL_DISK}");
            }
        }
        Err(error) => {
            tracing::error!(%error, "the storage cannot be written to");
            // Clients without a login may ask for the outcome, and the error names paths. So only the log has the error.
            registry.health.note(Err("the storage cannot be written to; the server's log has the reason".to_owned()));
        }
    }
}
