//! What was pushed: manifests and tags.
//!
//! `registry:2` knows a manifest by its sha256 alone, and so its links do. What a manifest was called besides is in links of ours
//! beside its own; by which of its names it was tagged is under `entrepot/`, and counts only as long as the tag's link agrees.

use std::path::PathBuf;

use bytes::Bytes;

use super::hosted::digest_in;
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
    ///
    /// One that is called by another digest is known by its sha256 too: `registry:2` knows no other name of it, and its garbage
    /// collection would take it away.
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
        let names = if content == *digest { vec![content] } else { vec![content, *digest] };
        for name in &names {
            self.set_media_type(repository, name, media_type).await?;
            self.write_link(&self.layout.revision(repository, name).join("link"), &content).await?;
        }
        Ok(())
    }

    async fn set_media_type(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        media_type: Option<&MediaType>,
    ) -> Result<(), StoreError> {
        let record = self.layout.media_type(repository, digest);
        let (kept, text) = (record.clone(), media_type.map(ToString::to_string));
        on_disk("store", &record, move || match text {
            Some(text) => disk::write_atomic(&kept, text.as_bytes()),
            None => disk::remove(&kept).map(|_| ()),
        })
        .await
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
        let link = |digest: &Digest| self.layout.revision(repository, digest).join("link");
        let content = self.read_link(&link(digest)).await?;
        match content {
            // `registry:2` removes the link by sha256, the only one that it knows: then it is gone under every name.
            Some(content) if content != *digest && self.read_link(&link(&content)).await?.is_none() => Ok(None),
            content => Ok(content),
        }
    }

    /// Removes a manifest under all its names, and every tag that names it. Says whether there was one.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
        let known = self.revision(repository, digest).await?;
        let content = known.unwrap_or(*digest);
        for tag in self.tags(repository).await? {
            if self.read_link(&self.layout.current(repository, &tag)).await? == Some(content) {
                self.untag(repository, &tag).await?;
            }
        }
        for name in self.other_names(repository, &content).await? {
            self.remove_revision(repository, &name).await?;
        }
        let was = self.remove_revision(repository, &content).await?;
        Ok(was && known.is_some())
    }

    /// The digests of other algorithms by which a repository knows these bytes.
    async fn other_names(&self, repository: &RepositoryName, content: &Digest) -> Result<Vec<Digest>, StoreError> {
        let algorithm = Algorithm::Sha512;
        let directory = self.layout.revisions(repository, algorithm);
        let listed = directory.clone();
        let entries = on_disk("list", &directory, move || disk::list(&listed)).await?;
        let mut names = Vec::new();
        for entry in entries {
            let Ok(name) = format!("{}:{}", algorithm.as_str(), entry.name).parse() else { continue };
            if self.read_link(&self.layout.revision(repository, &name).join("link")).await? == Some(*content) {
                names.push(name);
            }
        }
        Ok(names)
    }

    async fn remove_revision(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
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

    /// What a tag names, by the digest that it was tagged with.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        let (current, record) = (self.layout.current(repository, tag), self.layout.tagged_as(repository, tag));
        let read = current.clone();
        let texts = on_disk("read", &current, move || {
            Ok((disk::optional(disk::read(&read))?, disk::optional(disk::read(&record))?))
        });
        let (current, name) = texts.await?;
        match (current.and_then(digest_in), name.and_then(digest_in)) {
            // `registry:2` may have moved the tag since, without a word to us.
            (Some(current), Some(name)) if self.revision(repository, &name).await? == Some(current) => Ok(Some(name)),
            (current, _) => Ok(current),
        }
    }

    /// Lets a tag name a manifest that is held.
    pub async fn set_tag(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        let content = self.revision(repository, digest).await?.unwrap_or(*digest);
        // First, since it counts for nothing until the link names the same bytes.
        let record = self.layout.tagged_as(repository, tag);
        if content != *digest {
            self.write_link(&record, digest).await?;
        }
        self.write_link(&self.layout.tag_index(repository, tag, &content), &content).await?;
        self.write_link(&self.layout.current(repository, tag), &content).await?;
        if content == *digest {
            self.forget_name(record).await?;
        }
        Ok(())
    }

    /// Removes a tag. Says whether there was one.
    pub async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        self.forget_name(self.layout.tagged_as(repository, tag)).await?;
        let path = self.layout.hosted_tag(repository, tag);
        let gone = path.clone();
        on_disk("remove", &path, move || disk::remove_dir(&gone)).await
    }

    async fn forget_name(&self, record: PathBuf) -> Result<(), StoreError> {
        let gone = record.clone();
        on_disk("remove", &record, move || disk::remove(&gone).map(|_| ())).await
    }
}
