//! What is held of a mirrored repository, and how all of it goes. No upstream is needed for it: what was mirrored once can be looked
//! at and evicted when its upstream is not configured any more.

use std::sync::Arc;
use std::time::SystemTime;

use super::absences::Asked;
use crate::oci::{Digest, HostName, MAX_MANIFEST_BYTES, Manifest, Reference, RepositoryName, Tag, Target};
use crate::registry::contents::time_of;
use crate::registry::{HeldManifest, ManifestInfo, Registry, RegistryError, Removed};
use crate::store::{CacheStore, LinkRecord, StoredBlob};

/// What is held of a mirrored repository.
#[derive(Clone)]
pub struct Kept {
    pub(super) registry: Arc<Registry>,
    pub(super) name: RepositoryName,
    upstream: HostName,
}

impl Kept {
    pub(in crate::registry) fn new(registry: Arc<Registry>, upstream: HostName, name: RepositoryName) -> Self {
        Self { registry, name, upstream }
    }

    pub(in crate::registry) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(in crate::registry) fn target(&self) -> Target {
        Target::Mirror(self.upstream.clone(), self.name.clone())
    }

    pub(super) fn upstream(&self) -> &HostName {
        &self.upstream
    }

    pub(super) fn store(&self) -> &CacheStore {
        &self.registry.store().cache
    }

    pub(in crate::registry) async fn link(&self, digest: &Digest) -> Result<Option<LinkRecord>, RegistryError> {
        Ok(self.store().link(self.upstream(), &self.name, digest).await?)
    }

    /// A manifest that is held. That it was looked at counts as no use.
    pub(in crate::registry) async fn look(&self, digest: &Digest) -> Result<Option<HeldManifest>, RegistryError> {
        let Some(link) = self.link(digest).await? else { return Ok(None) };
        if !self.registry.may_serve(digest, &link).await? {
            return Ok(None);
        }
        let Some(body) = self.store().read(digest, MAX_MANIFEST_BYTES).await? else { return Ok(None) };
        let size = body.len() as u64;
        if link.size.is_some_and(|recorded| recorded != size) {
            if link.right.is_proven() {
                self.drop_damaged(digest, size).await?;
            }
            return Ok(None);
        }
        let media_type = match Manifest::parse(&body, Some(&link.media_type)) {
            Ok(manifest) => manifest.media_type().clone(),
            Err(_) => link.media_type,
        };
        Ok(Some(HeldManifest { info: ManifestInfo { digest: *digest, media_type, size }, body }))
    }

    /// The whole blob, if it is held and this repository may serve it. A file whose length is not the recorded one is
    /// dropped, to be fetched again.
    pub(in crate::registry) async fn open(
        &self,
        digest: &Digest,
        link: Option<&LinkRecord>,
    ) -> Result<Option<StoredBlob>, RegistryError> {
        let Some(link) = link else { return Ok(None) };
        if !self.registry.may_serve(digest, link).await? {
            return Ok(None);
        }
        let Some(stored) = self.store().blob(digest).await? else { return Ok(None) };
        if link.size.is_none_or(|size| size == stored.size) {
            return Ok(Some(stored));
        }
        // What a manifest claims about a size proves nothing about the file.
        if link.right.is_proven() {
            self.drop_damaged(digest, stored.size).await?;
        }
        Ok(None)
    }

    pub(super) async fn drop_damaged(&self, digest: &Digest, found: u64) -> Result<(), RegistryError> {
        tracing::error!(%digest, found, "a cached file has not its recorded length; it is dropped and fetched again");
        self.registry.drop_damaged(digest).await
    }

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

    /// Evicts: a tag is forgotten, a digest's bytes are removed. The upstream is not touched.
    pub(in crate::registry) async fn evict_manifest(&self, reference: &Reference) -> Result<(), RegistryError> {
        self.forget_notes(Asked::Manifest(reference.clone())).await;
        let was = match reference {
            Reference::Tag(tag) => {
                self.store().unlist(self.upstream(), &self.name, tag).await?;
                self.store().untag(self.upstream(), &self.name, tag).await?
            }
            Reference::Digest(digest) => {
                self.forget_notes(Asked::Referrers(*digest)).await;
                self.store().remove_referrers(self.upstream(), &self.name, digest).await?;
                self.evict(digest).await?
            }
        };
        if was {
            return Ok(());
        }
        Err(RegistryError::ManifestUnknown {
            repository: self.target().to_string(),
            reference: reference.to_string(),
            hint: String::new(),
            cache: None,
        })
    }

    pub(in crate::registry) async fn evict_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.forget_notes(Asked::Blob(*digest)).await;
        if self.evict(digest).await? {
            return Ok(());
        }
        Err(RegistryError::BlobUnknown { repository: self.target().to_string(), digest: *digest, cache: None })
    }

    async fn evict(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let was = self.store().unlink(self.upstream(), &self.name, digest).await?;
        if was {
            self.store().remove(digest).await?;
            self.registry.quota().removed(digest);
        }
        Ok(was)
    }

    fn nothing_held(&self) -> RegistryError {
        RegistryError::NameUnknown(format!("nothing is held of {}; it comes when it is pulled", self.target()))
    }
}
