//! Deletion in a hosted repository. The bytes stay on disk until garbage collection.

use std::future::Future;

use super::condition::Condition;
use super::repository::HostedRepository;
use crate::oci::{Digest, Reference, Tag};
use crate::registry::answer::RemovedTag;
use crate::registry::error::RegistryError;
use crate::store::{RepositoryLock, Share};

impl HostedRepository {
    /// Removes a tag, or a manifest with its tags. Returns the removed tags. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_manifest(
        &self,
        reference: &Reference,
        condition: &Condition,
    ) -> Result<Vec<RemovedTag>, RegistryError> {
        self.context.check_deletion()?;
        let (reference, condition) = (reference.clone(), condition.clone());
        let remove = |hosted: Self, lock| async move { hosted.remove_manifest(lock, &reference, &condition).await };
        self.remove(remove).await
    }

    async fn remove_manifest(
        &self,
        lock: RepositoryLock,
        reference: &Reference,
        condition: &Condition,
    ) -> Result<Vec<RemovedTag>, RegistryError> {
        // An absent manifest is reported as absent, whatever the condition says (RFC 9110 §13.2.1).
        if !condition.is_none()
            && let Some(current) = self.current(reference).await?
        {
            condition.check(reference, Some(current))?;
        }
        let removed = match reference {
            Reference::Tag(tag) => {
                // A tag that cannot be read can be removed all the same.
                let named = self.store().tag(&self.name, tag).await.unwrap_or_default();
                let was_there = self.store().untag(lock, &self.name, tag).await?;
                was_there.then(|| named.map(|digest| RemovedTag { tag: tag.clone(), digest }).into_iter().collect())
            }
            Reference::Digest(digest) => {
                let tags = self.store().delete_manifest(lock, &self.name, digest).await?;
                tags.map(|tags| tags.into_iter().map(|tag| RemovedTag { tag, digest: *digest }).collect())
            }
        };
        match removed {
            Some(tags) => Ok(tags),
            None => Err(self.manifest_unknown(reference).await?),
        }
    }

    /// Removes the repository's link to a blob. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.context.check_deletion()?;
        let digest = *digest;
        let unlink =
            |hosted: Self, lock| async move { Ok(hosted.store().unlink_layer(lock, &hosted.name, &digest).await?) };
        if self.remove(unlink).await? { Ok(()) } else { Err(self.blob_unknown(&digest)) }
    }

    /// Removes all tags, manifests and links of the repository, and returns the tags as they were when the removal began, with their
    /// number. A tag that cannot be read is counted only. A running push must be repeated. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_all(&self) -> Result<(u64, Vec<RemovedTag>), RegistryError> {
        self.context.check_deletion()?;
        let tags = (self.store().count_tags(&self.name).await?, self.named_tags().await?);
        let remove =
            |hosted: Self, lock| async move { Ok(hosted.store().remove_repository(lock, &hosted.name).await?) };
        if self.remove(remove).await? { Ok(tags) } else { Err(self.unknown()) }
    }

    /// Returns all tags with the manifests that they name.
    async fn named_tags(&self) -> Result<Vec<RemovedTag>, RegistryError> {
        let mut named = Vec::new();
        let names = self.store().tags(&self.name, None, usize::MAX).await?.entries;
        for tag in names.iter().filter_map(|name| name.parse::<Tag>().ok()) {
            let digest = self.store().tag(&self.name, &tag).await.unwrap_or_default();
            named.extend(digest.map(|digest| RemovedTag { tag, digest }));
        }
        Ok(named)
    }

    /// Removes content. `work` gets the lock of the repository and releases it as soon as it can. The removal is finished even if
    /// the client leaves.
    async fn remove<T, F>(&self, work: impl FnOnce(Self, RepositoryLock) -> F) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RegistryError>> + Send + 'static,
    {
        let lock = self.context.with_space(|| self.store().lock(&self.name, Share::Alone)).await?;
        self.context.tasks.finish(work(self.clone(), lock)).await
    }
}
