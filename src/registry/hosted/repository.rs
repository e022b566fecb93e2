//! A hosted repository: reading its manifests, blobs, tags and referrers.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use super::context::HostedContext;
use crate::oci::{Digest, Manifest, MediaType, Reference, ReferrersPage, ReferrersQuery, RepositoryName, Tag, Target};
use crate::registry::answer::{HeldManifest, ManifestInfo, PageRequest};
use crate::registry::blob::Blob;
use crate::registry::error::RegistryError;
use crate::store::{HostedStore, Page, RepositoryLock, Share, StoredBlob, StoredManifest};

/// A hosted repository. It need not exist: the first push creates it.
#[derive(Clone)]
pub struct HostedRepository {
    pub(super) context: Arc<HostedContext>,
    pub(super) name: RepositoryName,
}

impl HostedRepository {
    pub(in crate::registry) fn new(context: Arc<HostedContext>, name: RepositoryName) -> Self {
        Self { context, name }
    }

    pub(in crate::registry) fn target(&self) -> Target {
        Target::Hosted(self.name.clone())
    }

    /// Returns the manifest that a tag or a digest names.
    pub(in crate::registry) async fn manifest(&self, reference: &Reference) -> Result<HeldManifest, RegistryError> {
        let found = match reference {
            Reference::Digest(digest) => self.stored_manifest(digest).await?,
            Reference::Tag(tag) => self.pulled(tag).await?,
        };
        match found {
            Some(manifest) => Ok(manifest),
            None => Err(self.manifest_unknown(reference).await?),
        }
    }

    /// Returns the manifest that a tag names, and records the pull. A HEAD counts too: clients ask for a tag with HEAD and
    /// then read the manifest by its digest.
    async fn pulled(&self, tag: &Tag) -> Result<Option<HeldManifest>, RegistryError> {
        let Some(tagged) = self.store().tagged(&self.name, tag).await? else { return Ok(None) };
        let found = self.stored_manifest(&tagged.digest).await?;
        if found.is_some() {
            self.store().note_pull(&self.context.tasks, &self.name, tag, tagged.pushed_at);
        }
        Ok(found)
    }

    /// Returns a stored manifest. Unlike [`Self::manifest`], an absent one is no error.
    pub(in crate::registry) async fn stored_manifest(
        &self,
        digest: &Digest,
    ) -> Result<Option<HeldManifest>, RegistryError> {
        Ok(self.store().manifest(&self.name, digest).await?.map(|stored| described(*digest, stored)))
    }

    /// Returns true if the repository has a manifest whose bytes are damaged or gone.
    pub(in crate::registry) async fn is_damaged(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.store().is_manifest_damaged(&self.name, digest).await?)
    }

    /// Returns a blob. A manifest can be read as a blob too, since clients copy images that way.
    pub(in crate::registry) async fn blob(&self, digest: &Digest) -> Result<Blob, RegistryError> {
        if let Some(stored) = self.stored_blob(digest).await? {
            return Ok(Blob::stored(*digest, stored));
        }
        match self.store().manifest(&self.name, digest).await? {
            Some(manifest) => Ok(Blob::bytes(*digest, manifest.body)),
            None => Err(self.blob_unknown(digest)),
        }
    }

    pub(in crate::registry) async fn stored_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, RegistryError> {
        Ok(self.store().blob(&self.name, digest).await?)
    }

    /// Returns a page of the tags, in byte order.
    pub(in crate::registry) async fn tags(&self, page: &PageRequest) -> Result<Page<String>, RegistryError> {
        let tags = self.store().tags(&self.name, page.last.as_deref(), page.most()).await?;
        if tags.entries.is_empty() && !self.store().exists(&self.name).await? {
            return Err(self.unknown());
        }
        Ok(tags)
    }

    /// Returns the digest that a tag names, and the time of the push.
    pub(in crate::registry) async fn tagged(
        &self,
        tag: &Tag,
    ) -> Result<Option<(Digest, Option<SystemTime>)>, RegistryError> {
        Ok(self.store().tagged(&self.name, tag).await?.map(|tagged| (tagged.digest, tagged.pushed_at)))
    }

    /// Returns the manifests that refer to a manifest. An absent manifest has no referrers, which is no error (OCI
    /// distribution-spec 1.1, "Listing Referrers").
    pub(in crate::registry) async fn referrers(&self, query: &ReferrersQuery) -> Result<ReferrersPage, RegistryError> {
        Ok(self.store().referrers(&self.name, query).await?)
    }

    /// Returns the digest that a reference names now.
    pub(super) async fn current(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        match reference {
            Reference::Tag(tag) => Ok(self.store().tag(&self.name, tag).await?),
            Reference::Digest(digest) => {
                Ok(self.store().manifest(&self.name, digest).await?.is_some().then_some(*digest))
            }
        }
    }

    /// Changes the repository under its lock. The change is finished even if the client leaves, so that it is never left
    /// incomplete.
    pub(super) async fn change<T, F>(&self, share: Share, work: impl FnOnce(Self) -> F) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RegistryError>> + Send + 'static,
    {
        let lock = self.context.with_space(|| self.store().lock(&self.name, share)).await?;
        self.finish(lock, work).await
    }

    /// Changes the repository under a lock that the caller holds, as [`Self::change`] does.
    pub(super) async fn finish<T, F>(
        &self,
        lock: RepositoryLock,
        work: impl FnOnce(Self) -> F,
    ) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RegistryError>> + Send + 'static,
    {
        let work = work(self.clone());
        let locked = async move {
            let _lock = lock;
            work.await
        };
        self.context.tasks.finish(locked).await
    }

    pub(super) fn blob_unknown(&self, digest: &Digest) -> RegistryError {
        RegistryError::BlobUnknown { repository: self.name.to_string(), digest: *digest, cache: None }
    }

    pub(super) async fn manifest_unknown(&self, reference: &Reference) -> Result<RegistryError, RegistryError> {
        // As in registry:2, an unknown repository makes no other error: clients that look for a tag read the code.
        let exists = self.store().exists(&self.name).await?;
        let hint = if exists { String::new() } else { ", to which nothing was pushed yet".to_owned() };
        let (repository, reference) = (self.name.to_string(), reference.to_string());
        Ok(RegistryError::ManifestUnknown { repository, reference, hint, cache: None })
    }

    pub(super) fn unknown(&self) -> RegistryError {
        RegistryError::NameUnknown(format!("nothing was pushed to {} yet", self.name))
    }

    pub(super) fn store(&self) -> &HostedStore {
        &self.context.store
    }
}

fn described(digest: Digest, stored: StoredManifest) -> HeldManifest {
    // The parser passes over a type that an older version stored and that a browser would run.
    let parsed = Manifest::parse(&stored.body, stored.media_type.as_ref());
    let media_type =
        parsed.map_or_else(|_| MediaType::known(MediaType::OCI_MANIFEST), |manifest| manifest.media_type().clone());
    let info = ManifestInfo { digest, media_type, size: stored.body.len() as u64 };
    HeldManifest { info, body: stored.body }
}
