//! The parts that all hosted repositories share.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use super::unused_files::UnusedFiles;
use crate::cache::{EVICTION_STEP, Ledger};
use crate::config::{Delete, LayerUrls, Sparse};
use crate::registry::error::RegistryError;
use crate::store::{HostedStore, StoreError};
use crate::sys::Tasks;

/// The parts that a hosted repository uses: the store of pushed content, and its settings.
pub(in crate::registry) struct HostedContext {
    pub(in crate::registry) store: HostedStore,
    /// On a full disk, pushes remove old temporary files and trash from the whole store.
    pub(in crate::registry) unused_files: UnusedFiles,
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
        loop {
            let round = self.store.reclaim_round();
            let written = write().await;
            if !self.makes_space_after(&written, round).await {
                return written;
            }
        }
    }

    /// Returns true if a write failed on a full disk and something on that disk was removed after that: cached content, then
    /// what earlier runs have left, then the oldest upload without a request. Removed files may be open or linked elsewhere,
    /// and then free nothing, so callers repeat this until the write succeeds or nothing is left to remove. `round` is that of
    /// [`HostedStore::reclaim_round`] before the write.
    pub(super) async fn makes_space_after<T>(&self, written: &Result<T, StoreError>, round: u64) -> bool {
        let Some(full) = written.as_ref().err().and_then(StoreError::full_place) else { return false };
        self.ledger.evict_beside(full, EVICTION_STEP).await
            || self.unused_files.remove().await
            || self.reclaims_uploads(full, round).await
    }

    async fn reclaims_uploads(&self, full: &Path, round: u64) -> bool {
        self.store.reclaim_uploads(full, round).await.unwrap_or_else(|error| {
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
