//! The parts that all mirrored repositories share.

use std::sync::Arc;

use super::flights::Flights;
use super::negative_cache::NegativeCache;
use super::pull_log::PullLog;
use crate::cache::Ledger;
use crate::config::Delete;
use crate::fills::Fills;
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::registry::error::RegistryError;
use crate::store::{CacheStore, LinkRecord};
use crate::sys::Machine;

/// The parts that a mirrored repository uses: the cache, the running fills and questions, and the settings.
pub(in crate::registry) struct MirrorContext {
    pub(in crate::registry) store: CacheStore,
    pub(in crate::registry) ledger: Arc<Ledger>,
    pub(in crate::registry) fills: Arc<Fills>,
    pub(in crate::registry) flights: Flights,
    pub(in crate::registry) negative: NegativeCache,
    /// `None` if no tags are followed.
    pub(in crate::registry) pulls: Option<PullLog>,
    pub(in crate::registry) machine: Machine,
    pub(in crate::registry) metrics: Arc<Metrics>,
    pub(in crate::registry) delete: Delete,
}

impl MirrorContext {
    /// Returns true if a repository may serve the content that its link names, without asking its upstream.
    pub(in crate::registry) async fn may_serve(
        &self,
        digest: &Digest,
        link: &LinkRecord,
    ) -> Result<bool, RegistryError> {
        if link.right.is_proven() {
            return Ok(true);
        }
        match self.ledger.is_public(digest) {
            Some(public) => Ok(public),
            // The cache is not indexed yet, so the directories are read.
            None => Ok(self.store.is_public(digest).await?),
        }
    }

    /// Removes a damaged cached file. The next request fetches it again.
    pub(in crate::registry) async fn drop_damaged(&self, digest: &Digest) -> Result<(), RegistryError> {
        let _alone = self.store.lock_blob(digest).await;
        self.metrics.damaged_blobs.inc();
        self.store.remove(digest).await?;
        self.ledger.removed(digest);
        Ok(())
    }

    /// Fails unless `storage.delete.enabled` is set.
    pub(in crate::registry) fn check_deletion(&self) -> Result<(), RegistryError> {
        match self.delete {
            Delete::Allowed => Ok(()),
            Delete::Refused => Err(RegistryError::DeleteDisabled),
        }
    }
}
