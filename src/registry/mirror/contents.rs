//! What is held of a mirrored repository, and how all of it goes.

use std::time::SystemTime;

use super::Mirror;
use super::absences::Asked;
use crate::oci::{Digest, Tag};
use crate::registry::contents::time_of;
use crate::registry::{Registry, RegistryError, Removed};

impl Mirror {
    /// The tags that something is known of here, in byte order.
    pub(in crate::registry) async fn held_tags(&self) -> Result<Vec<Tag>, RegistryError> {
        let tags = self.store().tags(self.upstream(), &self.name).await?;
        if tags.is_empty() && self.registry.digests_of(&self.target()).await?.is_empty() {
            return Err(self.nothing_held());
        }
        Ok(tags)
    }

    /// What a tag names, and when the upstream last said so.
    pub(in crate::registry) async fn tagged(
        &self,
        tag: &Tag,
    ) -> Result<Option<(Digest, Option<SystemTime>)>, RegistryError> {
        let record = self.store().tag(self.upstream(), &self.name, tag).await?;
        Ok(record.map(|record| (record.digest, time_of(record.seen))))
    }

    /// Evicts all of it. What other repositories have as well stays for them.
    pub(in crate::registry) async fn evict_all(&self) -> Result<Removed, RegistryError> {
        let registry: &Registry = &self.registry;
        let digests = registry.digests_of(&self.target()).await?;
        self.forget_notes(Asked::Tags).await;
        // The rights first: what is served from now on is fetched anew.
        let was = self.store().remove_repository(self.upstream(), &self.name).await?;
        let Some(tags) = was else { return Err(self.nothing_held()) };
        let mut removed = Removed { tags, freed: 0 };
        for digest in registry.alone(&self.target(), digests.into_iter().collect()).await? {
            self.forget_notes(Asked::Blob(digest)).await;
            let size = self.store().blob(&digest).await?.map_or(0, |blob| blob.size);
            if self.store().remove(&digest).await? {
                registry.quota().removed(&digest);
                removed.freed += size;
            }
        }
        Ok(removed)
    }

    fn nothing_held(&self) -> RegistryError {
        RegistryError::NameUnknown(format!("nothing is held of {}; it comes when it is pulled", self.target()))
    }
}
