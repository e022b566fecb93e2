//! What is held of a hosted repository, and how all of it goes.

use std::time::SystemTime;

use super::{Hosted, held};
use crate::oci::{Digest, Tag, Target};
use crate::registry::{HeldManifest, RegistryError, Removed};
use crate::store::{Share, StoredBlob};

impl Hosted {
    pub(in crate::registry) fn target(&self) -> Target {
        Target::Hosted(self.name.clone())
    }

    /// What a tag names, and when it was pushed.
    pub(in crate::registry) async fn tagged(
        &self,
        tag: &Tag,
    ) -> Result<Option<(Digest, Option<SystemTime>)>, RegistryError> {
        let Some(digest) = self.store().tag(&self.name, tag).await? else { return Ok(None) };
        Ok(Some((digest, self.store().tagged_at(&self.name, tag).await?)))
    }

    pub(in crate::registry) async fn look(&self, digest: &Digest) -> Result<Option<HeldManifest>, RegistryError> {
        Ok(self.store().manifest(&self.name, digest).await?.map(|stored| held(*digest, stored)))
    }

    pub(in crate::registry) async fn look_at_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, RegistryError> {
        Ok(self.store().blob(&self.name, digest).await?)
    }

    /// Removes all its tags and manifests, and its right to what they name. What is being pushed to it must be pushed again.
    pub(in crate::registry) async fn delete_all(&self) -> Result<Removed, RegistryError> {
        let remove = |hosted: Self| async move { Ok(hosted.store().remove_repository(&hosted.name).await?) };
        match self.change(Share::Alone, remove).await? {
            Some(tags) => Ok(Removed { tags, freed: 0 }),
            None => Err(self.unknown()),
        }
    }
}
