//! The stored content of a mirrored repository. Reading and evicting it needs no upstream, so it works after an upstream was
//! taken out of the configuration.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::context::MirrorContext;
use super::negative_cache::Asked;
use crate::oci::{Digest, HostName, MAX_MANIFEST_BYTES, Manifest, MirroredName, Platform, Reference, Tag, Target};
use crate::registry::answer::{HeldManifest, ManifestInfo, RemovedTag};
use crate::registry::error::RegistryError;
use crate::store::{CacheStore, LinkRecord, StoredBlob};

/// The stored content of a mirrored repository.
#[derive(Clone)]
pub struct CachedRepository {
    pub(in crate::registry) context: Arc<MirrorContext>,
    pub(super) name: MirroredName,
}

impl CachedRepository {
    pub(in crate::registry) fn new(context: Arc<MirrorContext>, name: MirroredName) -> Self {
        Self { context, name }
    }

    pub(in crate::registry) fn target(&self) -> Target {
        Target::Mirror(self.name.clone())
    }

    pub(in crate::registry) fn upstream(&self) -> &HostName {
        self.name.upstream()
    }

    pub(super) fn store(&self) -> &CacheStore {
        &self.context.store
    }

    /// Returns the record of a digest that this repository has or names.
    pub(in crate::registry) async fn link(&self, digest: &Digest) -> Result<Option<LinkRecord>, RegistryError> {
        Ok(self.store().link(&self.name, digest).await?)
    }

    /// Returns a stored manifest that this repository may serve. Reading it this way does not count as a use.
    pub(in crate::registry) async fn stored_manifest(
        &self,
        digest: &Digest,
    ) -> Result<Option<HeldManifest>, RegistryError> {
        let Some(link) = self.link(digest).await? else { return Ok(None) };
        if !self.context.may_serve(digest, &link).await? {
            return Ok(None);
        }
        let Some(body) = self.store().read(digest, MAX_MANIFEST_BYTES).await? else { return Ok(None) };
        let size = body.len() as u64;
        if link.size.is_some_and(|recorded| recorded != size) && !self.settle_length(digest, &link, size).await? {
            return Ok(None);
        }
        // A layer is not served as a manifest: its media type, which another manifest claims, could be one that a browser runs.
        let Ok(manifest) = Manifest::parse(&body, Some(&link.media_type)) else { return Ok(None) };
        let media_type = manifest.media_type().clone();
        Ok(Some(HeldManifest { info: ManifestInfo { digest: *digest, media_type, size }, body }))
    }

    /// Returns a stored blob that this repository may serve.
    pub(in crate::registry) async fn stored_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, RegistryError> {
        self.open(digest, self.link(digest).await?.as_ref()).await
    }

    /// Returns the platform that a stored configuration of an image names.
    pub(in crate::registry) async fn config_platform(
        &self,
        digest: &Digest,
    ) -> Result<Option<Platform>, RegistryError> {
        if self.stored_blob(digest).await?.is_none() {
            return Ok(None);
        }
        let body = self.store().read(digest, MAX_MANIFEST_BYTES).await?;
        Ok(body.and_then(|body| Platform::of_config(&body)))
    }

    /// Opens a stored blob that this repository may serve by its link. A file whose length differs from the recorded one is
    /// removed, so that the next request fetches it again.
    pub(super) async fn open(
        &self,
        digest: &Digest,
        link: Option<&LinkRecord>,
    ) -> Result<Option<StoredBlob>, RegistryError> {
        let Some(link) = link else { return Ok(None) };
        if !self.context.may_serve(digest, link).await? {
            return Ok(None);
        }
        let Some(stored) = self.store().blob(digest).await? else { return Ok(None) };
        if link.size.is_none_or(|size| size == stored.size) {
            return Ok(Some(stored));
        }
        Ok(self.settle_length(digest, link, stored.size).await?.then_some(stored))
    }

    /// Decides whether a cached file is right whose length differs from the size in a link. The digest tells: either the
    /// size is corrected, or the file is removed. A size that only a manifest claims proves nothing about the file.
    async fn settle_length(&self, digest: &Digest, link: &LinkRecord, found: u64) -> Result<bool, RegistryError> {
        if self.store().matches(digest).await? {
            tracing::warn!(%digest, repository = %self.name, recorded = link.size, found, "the recorded size of a cached file is wrong; it is corrected");
            let corrected = LinkRecord { size: Some(found), ..link.clone() };
            self.store().set_links(&self.name, vec![(*digest, corrected)]).await?;
            return Ok(true);
        }
        tracing::error!(%digest, found, "a cached file does not have its recorded length; it is removed and fetched again");
        self.context.drop_damaged(digest).await?;
        Ok(false)
    }

    /// Returns the cached tags in byte order. The upstream may have more.
    pub(in crate::registry) async fn tags(&self) -> Result<Vec<Tag>, RegistryError> {
        let tags = self.store().tags(&self.name).await?;
        if tags.is_empty() && self.store().digests(&self.name).await?.is_empty() {
            return Err(self.nothing_cached());
        }
        Ok(tags)
    }

    /// Returns the digest that a tag names, and when the upstream last confirmed it.
    pub(in crate::registry) async fn tagged(
        &self,
        tag: &Tag,
    ) -> Result<Option<(Digest, Option<SystemTime>)>, RegistryError> {
        let record = self.store().tag(&self.name, tag).await?;
        Ok(record.map(|record| (record.digest, UNIX_EPOCH.checked_add(Duration::from_secs(record.seen)))))
    }

    /// Evicts a tag, or a manifest's bytes. Returns the removed tags. The upstream is not asked. Refused unless
    /// `storage.delete.enabled`.
    pub(in crate::registry) async fn evict_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Vec<RemovedTag>, RegistryError> {
        self.context.check_deletion()?;
        let mut removed = Vec::new();
        self.forget_notes(Asked::Manifest(reference.clone())).await;
        let evicted = match reference {
            Reference::Tag(tag) => {
                let record = self.store().tag(&self.name, tag).await.unwrap_or_default();
                removed.extend(record.map(|record| RemovedTag { tag: tag.clone(), digest: record.digest }));
                self.store().unlist(&self.name, tag).await?;
                self.store().untag(&self.name, tag).await?
            }
            Reference::Digest(digest) => {
                self.forget_notes(Asked::Referrers(*digest)).await;
                self.store().remove_referrers(&self.name, digest).await?;
                self.evict(digest).await?
            }
        };
        if evicted {
            return Ok(removed);
        }
        Err(RegistryError::ManifestUnknown {
            repository: self.name.to_string(),
            reference: reference.to_string(),
            hint: String::new(),
            cache: None,
        })
    }

    /// Evicts a blob. Refused unless `storage.delete.enabled`.
    pub(in crate::registry) async fn evict_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.context.check_deletion()?;
        self.forget_notes(Asked::Blob(*digest)).await;
        if self.evict(digest).await? {
            return Ok(());
        }
        Err(RegistryError::BlobUnknown { repository: self.name.to_string(), digest: *digest, cache: None })
    }

    async fn evict(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.context.fills.stored(digest).await;
        let is_linked = self.store().has_link(&self.name, digest).await?;
        if is_linked {
            // The links of a cache that is not indexed yet are not all known. This one goes with the blob, under its lock.
            self.store().know_links(&self.name, &[*digest]);
            self.context.ledger.remove(digest).await?;
        }
        Ok(is_linked)
    }

    /// Removes the repository's tags and links, and returns the number of tags. From now on each request fetches anew. Refused
    /// unless `storage.delete.enabled`.
    pub(in crate::registry) async fn unlink_all(&self) -> Result<u64, RegistryError> {
        self.context.check_deletion()?;
        self.forget_notes(Asked::Tags).await;
        // A blob that clients have read to its end may have no link yet.
        self.context.fills.all_stored().await;
        self.store().remove_repository(&self.name).await?.ok_or_else(|| self.nothing_cached())
    }

    /// Removes the bytes of a digest that no repository links any more, and returns how many bytes that frees.
    pub(in crate::registry) async fn remove_unlinked(&self, digest: &Digest) -> Result<u64, RegistryError> {
        self.forget_notes(Asked::Blob(*digest)).await;
        Ok(self.context.ledger.remove(digest).await?.bytes)
    }

    /// Forgets all notes about some content, so that the upstream is asked for it again.
    async fn forget_notes(&self, asked: Asked) {
        self.context.negative.forget_unkept(self.name.clone(), asked.clone()).await;
        self.forget_absence(asked).await;
    }

    /// Forgets that some content is absent.
    pub(super) async fn forget_absence(&self, asked: Asked) {
        self.context.negative.forget_absent(self.name.clone(), asked).await;
    }

    fn nothing_cached(&self) -> RegistryError {
        RegistryError::NameUnknown(format!("nothing of {} is cached; it is cached when a client pulls it", self.name))
    }
}
