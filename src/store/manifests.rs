//! What was pushed: manifests and tags.

use std::time::SystemTime;

use bytes::Bytes;

use super::{HostedStore, StoreError, StoredBlob, on_disk};
use crate::oci::{Algorithm, Digest, MAX_MANIFEST_BYTES, MediaType, RepositoryName, Tag};
use crate::sys::disk;

/// A manifest as it was pushed.
pub struct StoredManifest {
    pub body: Bytes,
    /// Recorded beside it, where the body does not tell.
    pub media_type: Option<MediaType>,
}

impl HostedStore {
    /// Stores a manifest under `digest`, which must be its own. `media_type` is given where the body does not tell it.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: Bytes,
        media_type: Option<&MediaType>,
    ) -> Result<(), StoreError> {
        let content = match digest.algorithm() {
            Algorithm::Sha256 => *digest,
            Algorithm::Sha512 => Digest::of(Algorithm::Sha256, &body),
        };
        let path = self.layout.hosted_blob(&content);
        let to = path.clone();
        on_disk("store", &path, move || match disk::optional(disk::metadata(&to))? {
            Some(held) if held.len() == body.len() as u64 => Ok(()),
            _ => disk::write_atomic(&to, &body),
        })
        .await?;
        let record = self.layout.media_type(repository, digest);
        let (kept, text) = (record.clone(), media_type.map(ToString::to_string));
        on_disk("store", &record, move || match text {
            Some(text) => disk::write_atomic(&kept, text.as_bytes()),
            None => disk::remove(&kept).map(|_| ()),
        })
        .await?;
        self.write_link(&self.layout.revision(repository, digest).join("link"), &content).await
    }

    /// A manifest of the repository, by digest.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let Some(content) = self.revision(repository, digest).await? else { return Ok(None) };
        let (path, record) = (self.layout.hosted_blob(&content), self.layout.media_type(repository, digest));
        let (read, limit) = (path.clone(), MAX_MANIFEST_BYTES as u64);
        on_disk("read", &path, move || {
            let Some(blob) = StoredBlob::open(&read)?.filter(|blob| blob.size <= limit) else { return Ok(None) };
            let body = Bytes::from(disk::read(&read)?);
            if body.len() as u64 != blob.size {
                return Ok(None);
            }
            let media_type = disk::optional(disk::read(&record))?;
            let media_type = media_type.and_then(|text| MediaType::parse(&String::from_utf8_lossy(&text)));
            Ok(Some(StoredManifest { body, media_type }))
        })
        .await
    }

    /// Does the repository hold this manifest? Then, under which digest its bytes lie.
    pub async fn revision(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        self.read_link(&self.layout.revision(repository, digest).join("link")).await
    }

    /// Removes a manifest and every tag that names it. Says whether there was one.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
        for tag in self.tags(repository).await? {
            if self.tag(repository, &tag).await?.as_ref() == Some(digest) {
                self.untag(repository, &tag).await?;
            }
        }
        let (revision, record) = (self.layout.revision(repository, digest), self.layout.media_type(repository, digest));
        let gone = revision.clone();
        on_disk("remove", &revision, move || {
            disk::remove(&record)?;
            disk::remove_dir(&gone)
        })
        .await
    }

    /// Every tag of the repository, in byte order.
    pub async fn tags(&self, repository: &RepositoryName) -> Result<Vec<Tag>, StoreError> {
        let path = self.layout.hosted_tags(repository);
        let listed = path.clone();
        let entries = on_disk("list", &path, move || disk::list(&listed)).await?;
        Ok(entries.into_iter().filter(|entry| entry.is_dir).filter_map(|entry| entry.name.parse().ok()).collect())
    }

    /// What a tag names.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        self.read_link(&self.layout.hosted_tag(repository, tag).join("current/link")).await
    }

    /// When it was last pushed, where the file system says.
    pub async fn tagged_at(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<SystemTime>, StoreError> {
        let path = self.layout.hosted_tag(repository, tag).join("current/link");
        let asked = path.clone();
        on_disk(
            "read",
            &path,
            move || Ok(disk::optional(disk::metadata(&asked))?.and_then(|link| link.modified().ok())),
        )
        .await
    }

    /// Lets a tag name a manifest that is held.
    pub async fn set_tag(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        self.write_link(&self.layout.tag_index(repository, tag, digest), digest).await?;
        self.write_link(&self.layout.hosted_tag(repository, tag).join("current/link"), digest).await
    }

    /// Removes a tag. Says whether there was one.
    pub async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let path = self.layout.hosted_tag(repository, tag);
        let gone = path.clone();
        on_disk("remove", &path, move || disk::remove_dir(&gone)).await
    }
}
