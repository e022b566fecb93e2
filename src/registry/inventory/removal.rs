//! The removal of whole repositories.

use super::walk::Inventory;
use crate::registry::answer::RemovedTag;
use crate::registry::error::RegistryError;
use crate::registry::mirror::{CachedRepository, MirrorRepository};
use crate::registry::repository::Repository;

/// The result of removing a repository.
#[derive(Clone, Debug)]
pub struct Removed {
    pub tags: u64,
    /// The tags of a hosted repository, as far as they could be read. An upstream still has those of a mirrored one.
    pub named: Vec<RemovedTag>,
    /// The bytes that are free at once. Pushed content waits for garbage collection.
    pub freed: u64,
}

impl Inventory {
    /// Removes all content of a repository. A mirrored one is evicted: other repositories keep the content that they share
    /// with it. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn remove(&self, repository: &Repository) -> Result<Removed, RegistryError> {
        match repository {
            Repository::Hosted(hosted) => {
                let (tags, named) = hosted.delete_all().await?;
                Ok(Removed { tags, named, freed: 0 })
            }
            Repository::Mirror(MirrorRepository { cached, .. }) | Repository::Unconfigured(cached) => {
                self.evict_all(cached).await
            }
        }
    }

    async fn evict_all(&self, cached: &CachedRepository) -> Result<Removed, RegistryError> {
        cached.context.check_deletion()?;
        let target = cached.target();
        let digests = self.digests_of(&target).await?;
        // The links go first, so that every request from now on fetches anew.
        let mut removed = Removed { tags: cached.unlink_all().await?, named: Vec::new(), freed: 0 };
        for digest in self.exclusive(&target, digests.into_iter().collect()).await? {
            removed.freed += cached.remove_unlinked(&digest).await?;
        }
        Ok(removed)
    }
}
