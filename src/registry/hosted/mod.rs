//! A repository that lives here: pushed to, never asked of an upstream.

pub(super) mod condition;
mod contents;
pub(super) mod missing;
pub(super) mod upload;

use std::sync::Arc;

use bytes::Bytes;

use super::{Blob, HeldManifest, ManifestInfo, Page, PageRequest, Registry, RegistryError, Upload};
use crate::oci::{
    Algorithm, Digest, Manifest, MediaType, Reference, ReferrersPage, ReferrersQuery, RepositoryName, Tag, Target,
};
use crate::store::{HostedStore, Share, StoreError, StoredManifest, UploadId};
use condition::Condition;
use missing::{Missing, Named};
use upload::Untold;

/// A hosted repository. It need not exist: the first push makes it.
#[derive(Clone)]
pub struct Hosted {
    registry: Arc<Registry>,
    name: RepositoryName,
}

/// A manifest that is pushed.
#[derive(Clone, Debug)]
pub struct ManifestPush {
    pub reference: Reference,
    /// Tags that shall name it too (distribution-spec, "Pushing Manifests", `?tag=`).
    pub tags: Vec<Tag>,
    pub content_type: Option<MediaType>,
    /// On what its being stored depends.
    pub condition: Condition,
    pub body: Bytes,
}

/// What became of a pushed manifest.
#[derive(Debug)]
pub struct PutManifest {
    pub digest: Digest,
    /// The manifest it refers to, for `OCI-Subject`.
    pub subject: Option<Digest>,
    /// What it names that is not held here (only with `validation.manifests.sparse: allow`).
    pub missing: Missing,
}

impl Hosted {
    pub(super) fn new(registry: Arc<Registry>, name: RepositoryName) -> Self {
        Self { registry, name }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Begins an upload of what will be called by a digest of this algorithm, as far as is known.
    pub async fn start_upload(&self, algorithm: Algorithm) -> Result<UploadId, RegistryError> {
        Ok(self.registry.with_room(|| self.store().start_upload(&self.name, algorithm)).await?)
    }

    /// Begins an upload that this request alone will write.
    pub async fn start_untold_upload(&self, algorithm: Algorithm) -> Result<Untold, RegistryError> {
        Ok(Untold::new(self.clone(), self.start_upload(algorithm).await?))
    }

    /// Takes an upload to write to it; `UploadBusy` while another request has it.
    pub async fn upload(&self, id: &UploadId) -> Result<Upload, RegistryError> {
        Upload::take(&self.registry, &self.name, id).await.map_err(|error| upload_error(error, id))
    }

    /// How many bytes of an upload are here.
    pub async fn upload_size(&self, id: &UploadId) -> Result<u64, RegistryError> {
        self.store().upload_size(&self.name, id).await.map_err(|error| upload_error(error, id))
    }

    pub async fn cancel_upload(&self, id: &UploadId) -> Result<(), RegistryError> {
        self.store().discard_upload(&self.name, id).await.map_err(|error| upload_error(error, id))
    }

    /// Ends an upload: verified, synced, found under its digest from now on.
    pub async fn commit(&self, upload: Upload, digest: &Digest) -> Result<(), RegistryError> {
        upload.commit(digest).await
    }

    /// Makes a blob of another repository this one's too, from `from` if it is there, else from whichever repository holds
    /// it that `may_pull` allows. False: not found, so it must be uploaded.
    pub async fn mount(
        &self,
        digest: &Digest,
        from: Option<&Target>,
        may_pull: &(dyn Fn(&Target) -> bool + Sync),
    ) -> Result<bool, RegistryError> {
        // A link alone is not enough: registry:2's garbage collection leaves links to what it removed.
        if self.store().blob(&self.name, digest).await?.is_some() {
            return Ok(true);
        }
        let named = from.filter(|from| may_pull(from));
        if let Some(from) = named
            && self.mount_from(digest, from).await?
        {
            return Ok(true);
        }
        if self.registry.is_nowhere(digest).await? {
            return Ok(false);
        }
        for candidate in self.registry.holders(digest).await? {
            if Some(&candidate) != from && may_pull(&candidate) && self.mount_from(digest, &candidate).await? {
                return Ok(true);
            }
        }
        self.registry.reindex.notify_one();
        Ok(false)
    }

    /// Stores a manifest under its digest, and under the tags that it came with.
    pub async fn put_manifest(&self, push: ManifestPush) -> Result<PutManifest, RegistryError> {
        let manifest = Manifest::parse(&push.body, push.content_type.as_ref())?;
        manifest.check()?;
        let algorithm = match &push.reference {
            Reference::Digest(digest) => digest.algorithm(),
            Reference::Tag(_) => Algorithm::Sha256,
        };
        let digest = Digest::of(algorithm, &push.body);
        if let Reference::Digest(expected) = push.reference
            && expected != digest
        {
            return Err(RegistryError::DigestMismatch { expected, found: digest });
        }
        // As long as that takes, nobody waits for it: in its turn it looks once more for what is here, and little of that is left.
        let named = self.named_by(&manifest).await?;
        // What depends on what is there now must be alone with it.
        let share = if push.condition.is_none() { Share::Shared } else { Share::Alone };
        self.change(share, |hosted| async move { hosted.put(&push, &manifest, digest, named).await }).await
    }

    async fn put(
        &self,
        push: &ManifestPush,
        manifest: &Manifest,
        digest: Digest,
        named: Named,
    ) -> Result<PutManifest, RegistryError> {
        let ManifestPush { reference, tags, condition, body, .. } = push;
        let missing = self.confirm(named).await?.missing();
        if !condition.is_none() {
            condition.check(reference, self.current(reference).await?)?;
        }
        // What the body or its shape tells is not written down beside it: registry:2's directories stay as they are.
        let told = Manifest::parse(body, None).ok();
        let kept = told.is_none_or(|told| told.media_type() != manifest.media_type()).then(|| manifest.media_type());
        let store = |body| self.store().put_manifest(&self.name, &digest, body, kept);
        self.registry.with_room(|| store(body.clone())).await?;
        let own = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        for tag in own.into_iter().chain(tags) {
            self.registry.with_room(|| self.store().set_tag(&self.name, tag, &digest)).await?;
        }
        Ok(PutManifest { digest, subject: manifest.subject().map(|subject| subject.digest), missing })
    }

    pub(super) async fn manifest(&self, reference: &Reference) -> Result<HeldManifest, RegistryError> {
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(tag) => self.store().tag(&self.name, tag).await?,
        };
        let stored = match &digest {
            Some(digest) => self.store().manifest(&self.name, digest).await?,
            None => None,
        };
        match (digest, stored) {
            (Some(digest), Some(stored)) => Ok(held(digest, stored)),
            _ => Err(self.manifest_unknown(reference).await?),
        }
    }

    pub(super) async fn blob(&self, digest: &Digest) -> Result<Blob, RegistryError> {
        if let Some(stored) = self.store().blob(&self.name, digest).await? {
            return Ok(Blob::stored(*digest, stored));
        }
        match self.store().manifest(&self.name, digest).await? {
            Some(manifest) => Ok(Blob::bytes(*digest, manifest.body)),
            None => Err(self.blob_unknown(digest)),
        }
    }

    pub(super) async fn tags(&self, page: &PageRequest) -> Result<Page, RegistryError> {
        let tags = self.store().tags(&self.name, page.last.as_deref(), page.most()).await?;
        if tags.entries.is_empty() && !self.store().exists(&self.name).await? {
            return Err(self.unknown());
        }
        Ok(tags.into())
    }

    /// What refers to a manifest. Of what is not there nothing does: that is no error (distribution-spec, "Listing Referrers").
    pub(super) async fn referrers(&self, asked: &ReferrersQuery) -> Result<ReferrersPage, RegistryError> {
        Ok(self.store().referrers(&self.name, asked).await?)
    }

    pub(super) async fn delete_manifest(
        &self,
        reference: &Reference,
        condition: &Condition,
    ) -> Result<(), RegistryError> {
        let (reference, condition) = (reference.clone(), condition.clone());
        self.change(Share::Alone, |hosted| async move { hosted.remove_manifest(&reference, &condition).await }).await
    }

    async fn remove_manifest(&self, reference: &Reference, condition: &Condition) -> Result<(), RegistryError> {
        // What is not there at all is told as that (RFC 9110 §13.2.1).
        if !condition.is_none()
            && let Some(current) = self.current(reference).await?
        {
            condition.check(reference, Some(current))?;
        }
        let was = match reference {
            Reference::Tag(tag) => self.store().untag(&self.name, tag).await?,
            Reference::Digest(digest) => self.store().delete_manifest(&self.name, digest).await?,
        };
        if was { Ok(()) } else { Err(self.manifest_unknown(reference).await?) }
    }

    pub(super) async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        let digest = *digest;
        let unlink = |hosted: Self| async move { Ok(hosted.store().unlink_layer(&hosted.name, &digest).await?) };
        if self.change(Share::Alone, unlink).await? { Ok(()) } else { Err(self.blob_unknown(&digest)) }
    }

    /// Changes the repository in its turn, and to the end though the client leaves meanwhile: half of a change was never asked for.
    async fn change<T, F>(&self, share: Share, work: impl FnOnce(Self) -> F) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RegistryError>> + Send + 'static,
    {
        let turn = self.registry.with_room(|| self.store().lock(&self.name, share)).await?;
        let work = work(self.clone());
        let in_turn = async move {
            let _turn = turn;
            work.await
        };
        self.registry.tasks().finish(in_turn).await
    }

    async fn holds_manifest(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.store().manifest(&self.name, digest).await?.is_some())
    }

    async fn mount_from(&self, digest: &Digest, from: &Target) -> Result<bool, RegistryError> {
        // Copying out of the cache takes as long as the blob is large: nobody is kept waiting for that.
        let content = match from {
            Target::Hosted(other) => self.store().layer(other, digest).await?,
            Target::Mirror(upstream, name) => self.registry.adopt(upstream, name, digest).await?,
        };
        let Some(content) = content else { return Ok(false) };
        let (from, digest) = (from.clone(), *digest);
        self.change(Share::Shared, |hosted| async move { hosted.link_from(&from, &digest, &content).await }).await
    }

    /// Links what another repository had a moment ago, if it is there yet. A deletion there that comes between takes the right away there,
    /// not the bytes, and came later.
    async fn link_from(&self, from: &Target, digest: &Digest, content: &Digest) -> Result<bool, RegistryError> {
        let still_there = match from {
            Target::Hosted(other) => self.store().layer(other, digest).await?.is_some(),
            Target::Mirror(..) => true,
        };
        if !still_there || !self.store().has_content(content).await? {
            return Ok(false);
        }
        self.registry.with_room(|| self.store().link_layer(&self.name, digest, content)).await?;
        Ok(true)
    }

    /// What a reference names now.
    async fn current(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        match reference {
            Reference::Tag(tag) => Ok(self.store().tag(&self.name, tag).await?),
            Reference::Digest(digest) => Ok(self.holds_manifest(digest).await?.then_some(*digest)),
        }
    }

    fn blob_unknown(&self, digest: &Digest) -> RegistryError {
        RegistryError::BlobUnknown { repository: self.name.to_string(), digest: *digest, cache: None }
    }

    async fn manifest_unknown(&self, reference: &Reference) -> Result<RegistryError, RegistryError> {
        let repository = self.name.to_string();
        if !self.store().exists(&self.name).await? {
            return Ok(self.unknown());
        }
        let (reference, hint) = (reference.to_string(), String::new());
        Ok(RegistryError::ManifestUnknown { repository, reference, hint, cache: None })
    }

    fn unknown(&self) -> RegistryError {
        RegistryError::NameUnknown(format!("nothing was pushed to {} yet", self.name))
    }

    fn store(&self) -> &HostedStore {
        &self.registry.store().hosted
    }
}

fn held(digest: Digest, stored: StoredManifest) -> HeldManifest {
    let media_type = stored.media_type.or_else(|| Some(Manifest::parse(&stored.body, None).ok()?.media_type().clone()));
    let media_type = media_type.unwrap_or_else(|| MediaType::known(MediaType::OCI_MANIFEST));
    let info = ManifestInfo { digest, media_type, size: stored.body.len() as u64 };
    HeldManifest { info, body: stored.body }
}

fn upload_error(error: StoreError, id: &UploadId) -> RegistryError {
    let id = id.as_str().to_owned();
    match error {
        StoreError::NoUpload => RegistryError::UploadUnknown { id },
        StoreError::Busy => RegistryError::UploadBusy { id },
        other => other.into(),
    }
}
