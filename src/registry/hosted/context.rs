//! The parts that all hosted repositories share.

use std::future::Future;
use std::sync::Arc;

use super::leavings::Leavings;
use crate::cache::{EVICTION_STEP, Ledger};
use crate::config::{Delete, LayerUrls, Sparse};
use crate::registry::error::RegistryError;
use crate::store::{HostedStore, StoreError};
use crate::sys::Tasks;

/// The parts that a hosted repository uses: the store of pushed content, and its settings.
pub(in crate::registry) struct HostedContext {
    pub(in crate::registry) store: HostedStore,
    /// On a full disk, what is worth nothing is removed from all of the store.
    pub(in crate::registry) leavings: Leavings,
    /// On a full disk, cached content is evicted to make space for pushes.
    pub(in crate::registry) ledger: Arc<Ledger>,
    pub(in crate::registry) tasks: Tasks,
    pub(in crate::registry) sparse: Sparse,
    pub(in crate::registry) urls: LayerUrls,
    pub(in crate::registry) delete: Delete,
}

impl HostedContext {
    /// Writes pushed content. On a full disk it makes space and tries again.
    pub(in crate::registry) async fn with_space<T, F>(&self, write: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut written = write().await;
        while self.makes_space_after(&written).await {
            written = write().await;
        }
        written
    }

    /// Returns true if a write failed on a full disk and something was removed after that: cached content, then what earlier
    /// runs have left, then uploads without a request. Evicted files may be open or linked elsewhere, and then free nothing, so
    /// callers repeat this until the write succeeds or nothing is left to remove.
    pub(super) async fn makes_space_after<T>(&self, written: &Result<T, StoreError>) -> bool {
        if !is_full(written) {
            return false;
        }
        self.ledger.evict_up_to(EVICTION_STEP).await || self.leavings.remove().await || self.reclaims_uploads().await
    }

    async fn reclaims_uploads(&self) -> bool {
        self.store.reclaim_uploads().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the disk is full, and uploads could not be listed");
            false
        })
    }

    /// Fails unless `storage.delete.enabled` is set.
    pub(super) fn check_deletion(&self) -> Result<(), RegistryError> {
        match self.delete {
            Delete::Allowed => Ok(()),
            Delete::Refused => Err(RegistryError::DeleteDisabled),
        }
    }
}

pub(super) fn is_full<T>(outcome: &Result<T, StoreError>) -> bool {
    outcome.as_ref().is_err_and(StoreError::is_full)
}
