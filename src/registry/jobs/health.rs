//! The check of the storage (`health.storagedriver`).

use crate::registry::Registry;

/// Writes a file to the storage and notes the outcome.
pub(super) async fn check_storage(registry: &Registry) {
    let probed = registry.store.probe().await;
    if let Err(error) = &probed {
        tracing::error!(%error, "the storage cannot be written to");
    }
    // A full disk still serves pulls, and the cache gives way to pushes.
    // Strangers ask for the outcome, and the error names paths. The log has it.
    let told = || Err("the storage cannot be written to; the server's log has the reason".to_owned());
    registry.health.note(probed.or_else(|error| if error.is_full() { Ok(()) } else { told() }));
}
