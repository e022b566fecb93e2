//! What was pushed: manifests and tags.
//!
//! `registry:2` knows a manifest by its sha256 alone, and so its links do. What a manifest was called besides is in links of ours
//! beside its own; by which of its names it was tagged is under `entrepot/`, and counts only as long as the tag's link agrees.

use std::io;
use std::path::Path;
use std::sync::Arc;

use std::time::SystemTime;

use bytes::Bytes;

use super::hosted::read_link;
use super::layout::Layout;
use super::{HostedStore, Page, StoreError, on_disk};
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
        on_disk("store", &path, move || {
            // A file that holds anything else is a damaged one.
            let same_length = |held: &disk::Metadata| held.len() == body.len() as u64;
            let held = match disk::optional(disk::metadata(&to))?.filter(same_length) {
                Some(_) => disk::optional(disk::read(&to))?,
                None => None,
            };
            if held.is_some_and(|held| held == body) { Ok(()) } else { disk::write_atomic(&to, &body) }
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
        let path = self.layout.revision(repository, digest);
        let (layout, repository, digest) = (Arc::clone(&self.layout), repository.clone(), *digest);
        on_disk("read", &path, move || read_manifest(&layout, &repository, &digest)).await
    }

    /// Does the repository hold this manifest? Then, under which digest its bytes lie.
    pub async fn revision(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let path = self.layout.revision(repository, digest);
        let (layout, repository, digest) = (Arc::clone(&self.layout), repository.clone(), *digest);
        on_disk("read", &path, move || content_of(&layout, &repository, &digest)).await
    }

    /// Removes a manifest under all its names, and every tag that names it. Says whether there was one.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
        let known = self.revision(repository, digest).await?;
        let content = known.unwrap_or(*digest);
        self.untag_all(repository, &content).await?;
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
        let (listed, content) = (directory.clone(), *content);
        on_disk("list", &directory, move || {
            let mut names = Vec::new();
            disk::each(&listed, |entry| names.extend(Digest::from_parts(algorithm.as_str(), &entry.name)))?;
            let mut same = Vec::new();
            for name in names {
                if read_link(&listed.join(name.hex()).join("link"))? == Some(content) {
                    same.push(name);
                }
            }
            Ok(same)
        })
        .await
    }

    /// Removes every tag that names these bytes.
    async fn untag_all(&self, repository: &RepositoryName, content: &Digest) -> Result<(), StoreError> {
        let (tags, named) = (self.layout.hosted_tags(repository), *content);
        let (layout, repository, listed) = (Arc::clone(&self.layout), repository.clone(), tags.clone());
        on_disk("remove", &tags, move || {
            for tag in tags_of(&listed, &named)? {
                untag(&layout, &repository, &tag)?;
            }
            Ok(())
        })
        .await
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

    /// At most `most` tags of the repository, those that come after `after`, in byte order.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page<String>, StoreError> {
        let path = self.layout.hosted_tags(repository);
        let (lists, listed, now) = (Arc::clone(&self.tag_lists), path.clone(), self.clock.now());
        let after = after.map(str::to_owned);
        on_disk("list", &path, move || lists.page(&listed, after.as_deref(), most, now)).await
    }

    /// What a tag names, by the digest that it was tagged with.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        let (current, record) = (self.layout.current(repository, tag), self.layout.tagged_as(repository, tag));
        let read = current.clone();
        let links = on_disk("read", &current, move || Ok((read_link(&read)?, read_link(&record)?)));
        match links.await? {
            // `registry:2` may have moved the tag since, without a word to us.
            (Some(current), Some(name)) if self.revision(repository, &name).await? == Some(current) => Ok(Some(name)),
            (current, _) => Ok(current),
        }
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
        let content = self.revision(repository, digest).await?.unwrap_or(*digest);
        let (record, current) = (self.layout.tagged_as(repository, tag), self.layout.current(repository, tag));
        let (index, digest) = (self.layout.tag_index(repository, tag, &content), *digest);
        let link = current.clone();
        on_disk("link", &current, move || {
            let text = content.to_string();
            // First, since it counts for nothing until the link names the same bytes.
            if content != digest {
                disk::write_atomic(&record, digest.to_string().as_bytes())?;
            }
            // Before the index: a tag that is listed names something.
            if let Err(error) = disk::write_atomic(&link, text.as_bytes()) {
                disk::remove_empty(&link, 2);
                return Err(error);
            }
            disk::write_atomic(&index, text.as_bytes())?;
            if content == digest {
                disk::remove(&record)?;
            }
            Ok(())
        })
        .await
    }

    /// Removes a tag. Says whether there was one.
    pub async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let path = self.layout.hosted_tag(repository, tag);
        let (layout, repository, tag) = (Arc::clone(&self.layout), repository.clone(), tag.clone());
        on_disk("remove", &path, move || untag(&layout, &repository, &tag)).await
    }
}

fn untag(layout: &Layout, repository: &RepositoryName, tag: &Tag) -> io::Result<bool> {
    disk::remove(&layout.tagged_as(repository, tag))?;
    disk::remove_dir(&layout.hosted_tag(repository, tag))
}

/// Under which digest the bytes of a repository's manifest lie. To be called off the async threads.
pub(super) fn content_of(layout: &Layout, repository: &RepositoryName, digest: &Digest) -> io::Result<Option<Digest>> {
    let link = |digest: &Digest| read_link(&layout.revision(repository, digest).join("link"));
    match link(digest)? {
        // `registry:2` removes the link by sha256, the only one that it knows: then it is gone under every name.
        Some(content) if content != *digest && link(&content)?.is_none() => Ok(None),
        content => Ok(content),
    }
}

/// A manifest of a repository; `None` also where the file does not hold what its digest says: it is short enough to be hashed
/// whenever it is read. To be called off the async threads.
pub(super) fn read_manifest(
    layout: &Layout,
    repository: &RepositoryName,
    digest: &Digest,
) -> io::Result<Option<StoredManifest>> {
    let Some(content) = content_of(layout, repository, digest)? else { return Ok(None) };
    let path = layout.hosted_blob(&content);
    let size = disk::optional(disk::metadata(&path))?.map(|file| file.len());
    if size.is_none_or(|size| size > MAX_MANIFEST_BYTES as u64) {
        return Ok(None);
    }
    let Some(body) = disk::optional(disk::read(&path))? else { return Ok(None) };
    let found = Digest::of(content.algorithm(), &body);
    if found != content {
        let file = path.display();
        tracing::error!(%file, %repository, %found, "a manifest is damaged on disk and not served; push it again");
        return Ok(None);
    }
    let media_type = disk::optional(disk::read(&layout.media_type(repository, digest)))?;
    let media_type = media_type.and_then(|text| MediaType::parse(&String::from_utf8_lossy(&text)));
    Ok(Some(StoredManifest { body: Bytes::from(body), media_type }))
}

/// The tags that name a manifest.
fn tags_of(tags: &Path, content: &Digest) -> io::Result<Vec<Tag>> {
    let mut names = Vec::new();
    let mut failure = None;
    disk::each(tags, |entry| match read_link(&tags.join(&entry.name).join("current/link")) {
        Ok(named) if named.as_ref() == Some(content) => names.extend(entry.name.parse::<Tag>()),
        Ok(_) => {}
        Err(error) => failure = Some(error),
    })?;
    failure.map_or(Ok(names), Err)
}
