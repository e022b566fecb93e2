//! Deletion in a hosted repository. The bytes stay on disk until garbage collection.

use std::future::Future;

use super::condition::Condition;
use super::repository::HostedRepository;
use crate::oci::{Digest, Reference};
use crate::registry::error::RegistryError;
use crate::store::{RepositoryLock, Share};

impl HostedRepository {
    /// Removes a tag, or a manifest with its tags. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_manifest(
        &self,
        reference: &Reference,
        condition: &Condition,
    ) -> Result<(), RegistryError> {
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
    ) -> Result<(), RegistryError> {
        // An absent manifest is reported as absent, whatever the condition says (RFC 9110 §13.2.1).
        if !condition.is_none()
            && let Some(current) = self.current(reference).await?
        {
            condition.check(reference, Some(current))?;
        }
        let removed = match reference {
            Reference::Tag(tag) => self.store().untag(lock, &self.name, tag).await?,
            Reference::Digest(digest) => self.store().delete_manifest(lock, &self.name, digest).await?,
        };
        if removed { Ok(()) } else { Err(self.manifest_unknown(reference).await?) }
    }

    /// Removes the repository's link to a blob. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.context.check_deletion()?;
        let digest = *digest;
        let unlink =
            |hosted: Self, lock| async move { Ok(hosted.store().unlink_layer(lock, &hosted.name, &digest).await?) };
        if self.remove(unlink).await? { Ok(()) } else { Err(self.blob_unknown(&digest)) }
    }

    /// Removes all tags, manifests and links of the repository, and returns the number of tags when the removal began. A running push must begin anew.
    /// Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_all(&self) -> Result<u64, RegistryError> {
        self.context.check_deletion()?;
        let tags = self.store().count_tags(&self.name).await?;
        let remove =
            |hosted: Self, lock| async move { Ok(hosted.store().remove_repository(lock, &hosted.name).await?) };
        if self.remove(remove).await? { Ok(tags) } else { Err(self.unknown()) }
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
