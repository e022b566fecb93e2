//! What was pushed: manifests and tags.

use std::collections::BinaryHeap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::hosted::read_link;
use super::layout::Layout;
use super::{Excerpt, HostedStore, StoreError, on_disk};
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
        let path = self.layout.revision(repository, digest);
        let (layout, repository, digest) = (Arc::clone(&self.layout), repository.clone(), *digest);
        on_disk("read", &path, move || read_manifest(&layout, &repository, &digest)).await
    }

    /// Does the repository hold this manifest? Then, under which digest its bytes lie.
    pub async fn revision(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        self.read_link(&self.layout.revision(repository, digest).join("link")).await
    }

    /// Removes a manifest and every tag that names it. Says whether there was one.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
        let (tags, named) = (self.layout.hosted_tags(repository), *digest);
        let listed = tags.clone();
        on_disk("remove tags from", &tags, move || untag_all(&listed, &named)).await?;
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
    ) -> Result<Excerpt, StoreError> {
        let path = self.layout.hosted_tags(repository);
        let (listed, mut first) = (path.clone(), First::new(after, most));
        on_disk("list", &path, move || {
            disk::each(&listed, |entry| {
                // Most are none of the first: what they are need not be found out.
                if entry.is_dir && first.takes(&entry.name) && entry.name.parse::<Tag>().is_ok() {
                    first.add(entry.name);
                }
            })?;
            Ok(first.into_excerpt())
        })
        .await
    }

    /// What a tag names.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        self.read_link(&self.layout.hosted_tag(repository, tag).join("current/link")).await
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

/// A manifest of a repository. To be called off the async threads.
pub(super) fn read_manifest(
    layout: &Layout,
    repository: &RepositoryName,
    digest: &Digest,
) -> io::Result<Option<StoredManifest>> {
    let Some(content) = read_link(&layout.revision(repository, digest).join("link"))? else { return Ok(None) };
    let path = layout.hosted_blob(&content);
    let size = disk::optional(disk::metadata(&path))?.map(|file| file.len());
    let Some(size) = size.filter(|size| *size <= MAX_MANIFEST_BYTES as u64) else { return Ok(None) };
    let Some(body) = disk::optional(disk::read(&path))? else { return Ok(None) };
    if body.len() as u64 != size {
        return Ok(None);
    }
    let media_type = disk::optional(disk::read(&layout.media_type(repository, digest)))?;
    let media_type = media_type.and_then(|text| MediaType::parse(&String::from_utf8_lossy(&text)));
    Ok(Some(StoredManifest { body: Bytes::from(body), media_type }))
}

/// Removes every tag that names a manifest.
fn untag_all(tags: &Path, digest: &Digest) -> io::Result<()> {
    let mut names = Vec::new();
    let mut failure = None;
    disk::each(tags, |entry| match read_link(&tags.join(&entry.name).join("current/link")) {
        Ok(named) if named.as_ref() == Some(digest) => names.push(entry.name),
        Ok(_) => {}
        Err(error) => failure = Some(error),
    })?;
    failure.map_or(Ok(()), Err)?;
    names.iter().try_for_each(|name| disk::remove_dir(&tags.join(name)).map(|_| ()))
}

/// The first of many names, chosen while they pass: it holds one more than it is to give, however many there are.
struct First {
    after: Option<String>,
    most: usize,
    /// The last of them on top.
    chosen: BinaryHeap<String>,
}

impl First {
    fn new(after: Option<&str>, most: usize) -> Self {
        Self { after: after.map(str::to_owned), most, chosen: BinaryHeap::new() }
    }

    /// Is it one of the first, as far as they are known?
    fn takes(&self, name: &str) -> bool {
        let is_asked_for = self.after.as_deref().is_none_or(|after| after < name);
        let has_room = self.chosen.len() <= self.most;
        is_asked_for && (has_room || self.chosen.peek().is_some_and(|last| name < last.as_str()))
    }

    fn add(&mut self, name: String) {
        if self.chosen.len() > self.most {
            self.chosen.pop();
        }
        self.chosen.push(name);
    }

    fn into_excerpt(self) -> Excerpt {
        let mut entries = self.chosen.into_sorted_vec();
        let more = entries.len() > self.most;
        entries.truncate(self.most);
        Excerpt { entries, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many() {
        for (after, most, want, more) in [
            (None, 9, "A _ a b c d", false),
            (None, 6, "A _ a b c d", false),
            (None, 5, "A _ a b c", true),
            (None, 1, "A", true),
            (None, 0, "", true),
            (Some("a"), 2, "b c", true),
            (Some("a"), 3, "b c d", false),
            (Some("aa"), 1, "b", true),
            (Some("d"), 1, "", false),
        ] {
            let mut first = First::new(after, most);
            for name in ["c", "A", "d", "a", "_", "b"] {
                if first.takes(name) {
                    first.add(name.to_owned());
                }
                assert!(first.chosen.len() <= most + 1);
            }
            let found = first.into_excerpt();
            assert_eq!((found.entries.join(" ").as_str(), found.more), (want, more), "{most} after {after:?}");
        }
    }
}
