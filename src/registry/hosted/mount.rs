//! Links to blobs of other repositories (OCI distribution-spec 1.1, "Mounting a blob from another repository").

use super::repository::HostedRepository;
use crate::oci::{Digest, RepositoryName};
use crate::registry::error::RegistryError;
use crate::store::Share;

impl HostedRepository {
    /// Returns true if the repository already has the blob with its bytes. A link alone is not enough: registry:2's garbage
    /// collection leaves links to bytes that it removed.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.stored_blob(digest).await?.is_some())
    }

    /// Links the blob that another hosted repository has. Returns false if it has none.
    pub(in crate::registry) async fn mount_hosted(
        &self,
        other: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let Some(content) = self.store().layer(other, digest).await? else { return Ok(false) };
        let (other, digest) = (other.clone(), *digest);
        let link = |hosted: Self| async move {
            // The other repository may have lost the blob before the lock was taken.
            let is_there = hosted.store().layer(&other, &digest).await?.is_some();
            Ok(is_there && hosted.link(&digest, &content).await?)
        };
        self.change(Share::Shared, link).await
    }

    /// Links bytes that were copied out of the cache and now lie under `content`.
    pub(in crate::registry) async fn mount_adopted(
        &self,
        digest: &Digest,
        content: Digest,
    ) -> Result<bool, RegistryError> {
        let digest = *digest;
        self.change(Share::Shared, |hosted| async move { hosted.link(&digest, &content).await }).await
    }

    async fn link(&self, digest: &Digest, content: &Digest) -> Result<bool, RegistryError> {
        if !self.store().has_content(content).await? {
            return Ok(false);
        }
        self.context.with_space(|| self.store().link_layer(&self.name, digest, content)).await?;
        Ok(true)
    }
}
