//! The records of mirrored repositories: the digests that each may serve, and the tags that were seen.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::paths::{change_on_disk, on_disk};
use super::records::{LinkRecord, Right, TagRecord};
use super::store::{CacheStore, digests_below};
use crate::oci::{Digest, MirroredName, Tag};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::directory::Part;
use crate::store::{Page, StoreError};
use crate::sys::disk;

/// A mirrored repository is listed only if it may serve any content.
const LINKED: &[Part] = &[Part::Links];

/// The space that one link takes on the disk: a block of most file systems.
pub const LINK_BYTES: u64 = 4096;

impl CacheStore {
    /// Reads why a repository may serve a digest; `None` if it may not.
    pub async fn link(&self, name: &MirroredName, digest: &Digest) -> Result<Option<LinkRecord>, StoreError> {
        let json = self.read_record(self.paths.link(name, digest)).await?;
        Ok(json.and_then(|json| LinkRecord::from_json(&json)))
    }

    /// Records why a repository may serve some digests. A right that the upstream itself confirmed is never lowered.
    pub async fn set_links(&self, name: &MirroredName, links: Vec<(Digest, LinkRecord)>) -> Result<(), StoreError> {
        let path = self.paths.repository(name);
        let digests: Vec<_> = links.iter().map(|(digest, _)| *digest).collect();
        let path_of = |digest: &Digest| self.paths.link(name, digest);
        let records: Vec<_> = links.into_iter().map(|(digest, link)| (path_of(&digest), link)).collect();
        let alone = self.linking.lock(name).await;
        let bad = Arc::clone(&self.bad);
        change_on_disk("link in", &path, move || {
            // Held until the work has ended, which continues if the caller leaves.
            let _alone = alone;
            records.iter().try_for_each(|(path, link)| write_link(path, link, &bad))
        })
        .await?;
        self.holders.add(&name.to_string(), &digests);
        Ok(())
    }

    /// Returns true if a repository has a link to a digest, even a damaged one.
    pub async fn has_link(&self, name: &MirroredName, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.paths.link(name, digest);
        let looked = path.clone();
        on_disk("read", &path, move || Ok(disk::optional(disk::metadata(&looked))?.is_some())).await
    }

    /// Removes a repository's right to a digest. Returns false if the repository had none.
    pub async fn unlink(&self, name: &MirroredName, digest: &Digest) -> Result<bool, StoreError> {
        let (path, pull) = (self.paths.link(name, digest), self.paths.manifest_pull(name, digest));
        let gone = path.clone();
        let alone = self.linking.lock(name).await;
        let remove = move || {
            // Held until the work has ended, as for `set_links`.
            let _alone = alone;
            disk::remove(&pull)?;
            let removed = disk::remove(&gone)?;
            // A repository without links is not listed.
            disk::remove_empty(&gone, DIRECTORIES);
            Ok(removed)
        };
        let removed = change_on_disk("remove", &path, remove).await?;
        self.holders.remove(&name.to_string(), digest);
        Ok(removed)
    }

    /// Removes the links of all repositories to a digest. Returns their number. It looks only at the repositories that are
    /// known to have one.
    pub async fn unlink_all(&self, digest: &Digest) -> Result<u64, StoreError> {
        let mut removed = 0;
        for name in self.linked(digest) {
            removed += u64::from(self.unlink(&name, digest).await?);
        }
        Ok(removed)
    }

    /// Returns the repositories that are known to have a link to a digest.
    pub fn linked(&self, digest: &Digest) -> Vec<MirroredName> {
        self.holders.known_of(digest).iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Returns the number of links that are known. All are known once the cache is indexed.
    pub fn link_count(&self) -> u64 {
        self.holders.len() as u64
    }

    /// Enters links that were found on the disk.
    pub fn know_links(&self, name: &MirroredName, digests: &[Digest]) {
        self.holders.add(&name.to_string(), digests);
    }

    /// Returns every link of a repository that can be read.
    pub async fn links(&self, name: &MirroredName) -> Result<Vec<(Digest, LinkRecord)>, StoreError> {
        let (path, bad) = (self.paths.links(name), Arc::clone(&self.bad));
        let listed = path.clone();
        on_disk("list", &path, move || {
            let mut found = Vec::new();
            for (digest, path) in digests_below(&listed, &bad) {
                let read = disk::optional(disk::read(&path));
                let json = bad.accept(Wanted::Object, || path.display().to_string(), read).flatten();
                found.extend(json.and_then(|json| LinkRecord::from_json(&json)).map(|link| (digest, link)));
            }
            Ok(found)
        })
        .await
    }

    /// Returns true if an upstream gave these bytes to a caller without credentials. Looks through all repositories.
    pub async fn is_public(&self, digest: &Digest) -> Result<bool, StoreError> {
        for name in self.repositories().await? {
            match self.link(&name, digest).await {
                Ok(link) if link.as_ref().is_some_and(|link| link.right == Right::Public) => return Ok(true),
                Err(error) if !self.bad.explains(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(false)
    }

    /// Reads the record of a tag.
    pub async fn tag(&self, name: &MirroredName, tag: &Tag) -> Result<Option<TagRecord>, StoreError> {
        let json = self.read_record(self.paths.tag(name, tag)).await?;
        Ok(json.and_then(|json| TagRecord::from_json(&json)))
    }

    /// Writes the record of a tag.
    pub async fn set_tag(&self, name: &MirroredName, tag: &Tag, record: &TagRecord) -> Result<(), StoreError> {
        let (path, json) = (self.paths.tag(name, tag), record.to_json());
        let to = path.clone();
        change_on_disk("write", &path, move || disk::write_replace(&to, &json)).await
    }

    /// Returns every tag that has a record, in byte order.
    pub async fn tags(&self, name: &MirroredName) -> Result<Vec<Tag>, StoreError> {
        let (path, bad) = (self.paths.tags(name), Arc::clone(&self.bad));
        let listed = path.clone();
        let tags = move || {
            let mut tags = Vec::new();
            for entry in disk::list(&listed)? {
                match entry.name.parse() {
                    Ok(tag) if !entry.is_dir => tags.push(tag),
                    _ => bad.foreign(listed.join(&entry.name).display().to_string(), &entry.name),
                }
            }
            Ok(tags)
        };
        on_disk("list", &path, tags).await.inspect_err(|error| _ = self.bad.explains(error))
    }

    /// Forgets a tag. Returns false if it had no record.
    pub async fn untag(&self, name: &MirroredName, tag: &Tag) -> Result<bool, StoreError> {
        let (path, pulls) = (self.paths.tag(name, tag), self.paths.tag_pulls(name, tag));
        let gone = path.clone();
        change_on_disk("remove", &path, move || {
            disk::remove(&pulls)?;
            disk::remove(&gone)
        })
        .await
    }

    /// Returns up to `limit` repositories after `after`, each as `UPSTREAM/NAME`, in byte order. A repository counts
    /// once it may serve anything.
    pub async fn names(&self, after: Option<&str>, limit: usize) -> Result<Page<String>, StoreError> {
        self.names.page(LINKED, after, limit).await
    }

    /// Returns the names of all repositories that may serve anything.
    pub(in crate::store) async fn all_names(&self) -> Result<Vec<String>, StoreError> {
        self.names.all(LINKED).await
    }

    /// Returns up to `limit` repositories after `after`, in byte order.
    pub async fn repositories_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<MirroredName>, StoreError> {
        Ok(self.names(after, limit).await?.entries.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Returns every repository that may serve anything.
    pub async fn repositories(&self) -> Result<Vec<MirroredName>, StoreError> {
        self.repositories_after(None, usize::MAX).await
    }
}

/// The directories of a repository's links: `_links/ALGORITHM`.
const DIRECTORIES: usize = 2;

/// Writes a link. One that cannot be read is replaced.
fn write_link(path: &Path, link: &LinkRecord, bad: &BadEntries) -> io::Result<()> {
    let known = match disk::optional(disk::read(path)) {
        Err(error) if bad.note_error(&error) => None,
        known => known?,
    };
    match known.and_then(|json| LinkRecord::from_json(&json)) {
        // The upstream has confirmed the right, so a manifest that names the digest adds nothing.
        Some(known) if known.right.is_proven() && !link.right.is_proven() => Ok(()),
        Some(known) if known == *link => Ok(()),
        _ => disk::write_replace(path, &link.to_json()),
    }
}
