//! Deletion in a hosted repository. The bytes stay on disk until garbage collection.

use super::condition::Condition;
use super::repository::HostedRepository;
use crate::oci::{Digest, Reference};
use crate::registry::error::RegistryError;
use crate::store::Share;

impl HostedRepository {
    /// Removes a tag, or a manifest with its tags. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_manifest(
        &self,
        reference: &Reference,
        condition: &Condition,
    ) -> Result<(), RegistryError> {
        self.context.check_deletion()?;
        let (reference, condition) = (reference.clone(), condition.clone());
        self.change(Share::Alone, |hosted| async move { hosted.remove_manifest(&reference, &condition).await }).await
    }

    async fn remove_manifest(&self, reference: &Reference, condition: &Condition) -> Result<(), RegistryError> {
        // An absent manifest is reported as absent, whatever the condition says (RFC 9110 §13.2.1).
        if !condition.is_none()
            && let Some(current) = self.current(reference).await?
        {
            condition.check(reference, Some(current))?;
        }
        let removed = match reference {
            Reference::Tag(tag) => self.store().untag(&self.name, tag).await?,
            Reference::Digest(digest) => self.store().delete_manifest(&self.name, digest).await?,
        };
        if removed { Ok(()) } else { Err(self.manifest_unknown(reference).await?) }
    }

    /// Removes the repository's link to a blob. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.context.check_deletion()?;
        let digest = *digest;
        let unlink = |hosted: Self| async move { Ok(hosted.store().unlink_layer(&hosted.name, &digest).await?) };
        if self.change(Share::Alone, unlink).await? { Ok(()) } else { Err(self.blob_unknown(&digest)) }
    }

    /// Removes all tags, manifests and links of the repository, and returns the number of tags. A running push must begin anew.
    /// Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn delete_all(&self) -> Result<u64, RegistryError> {
        self.context.check_deletion()?;
        let remove = |hosted: Self| async move { Ok(hosted.store().remove_repository(&hosted.name).await?) };
        self.change(Share::Alone, remove).await?.ok_or_else(|| self.unknown())
    }
}
