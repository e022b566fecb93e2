//! Manifests and tags of hosted repositories.
//!
//! `registry:2` knows a manifest by its sha256 alone, and its links say the same. If a manifest was pushed with another
//! digest, a second link of ours stands beside that of `registry:2`. If a tag was pushed with such a digest, a record
//! below `entrepot/` holds the digest; it counts only as long as the tag's link agrees with it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::manifest_file::StoredManifest;
use super::store::HostedStore;
use super::trash::forget_record;
use super::{links, manifest_file};
use crate::oci::{Algorithm, Digest, MediaType, RepositoryName, Tag};
use crate::store::driver::{Driver, Durability};
use crate::store::{Page, StoreError, layout};

/// A tag of a hosted repository.
#[derive(Clone, Copy, Debug)]
pub struct Tagged {
    /// The digest that the tag was pushed with.
    pub digest: Digest,
    /// The time of the last push of the tag, if the driver knows it.
    pub pushed_at: Option<SystemTime>,
}

impl HostedStore {
    /// Stores a manifest under `digest`, which must be its own. `media_type` is given if the body does not state it.
    ///
    /// A manifest that is pushed with another digest than its sha256 is linked under its sha256 too: `registry:2` knows
    /// no other, and its garbage collection would remove the manifest.
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
        let blob = layout::blob(&content);
        let to = blob.clone();
        self.backend
            .change("store", &blob, move |driver| {
                // An object with other content is damaged, and is replaced.
                let same_size = driver.stat(&to)?.is_some_and(|found| found.size == body.len() as u64);
                let stored = if same_size { driver.read(&to)? } else { None };
                if stored.is_some_and(|stored| stored == body) {
                    return Ok(());
                }
                driver.write(&to, &body, Durability::Synced)
            })
            .await?;
        let names = if content == *digest { vec![content] } else { vec![content, *digest] };
        for name in &names {
            self.link_manifest(repository, name, &content, media_type).await?;
        }
        Ok(())
    }

    /// Gives a repository the right to a manifest, and records its media type.
    async fn link_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        content: &Digest,
        media_type: Option<&MediaType>,
    ) -> Result<(), StoreError> {
        let (link, record) = (layout::revision_link(repository, digest), layout::media_type(repository, digest));
        let (text, content, written) = (media_type.map(ToString::to_string), *content, record.clone());
        let describe = move |driver: &dyn Driver| match text {
            Some(text) => driver.write(&written, text.as_bytes(), Durability::Synced),
            None => driver.remove(&written).map(drop),
        };
        self.backend.change("store", &record, describe).await?;
        let written = link.clone();
        self.backend.change("link", &link, move |driver| links::write(driver, &written, &content)).await
    }

    /// Reads a manifest of the repository by its digest.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let key = layout::revision(repository, digest);
        let (repository, digest) = (repository.clone(), *digest);
        self.backend.run("read", &key, move |driver| manifest_file::read(driver, &repository, &digest)).await
    }

    /// Returns true if the repository has a manifest, but not the bytes of its digest.
    pub async fn is_manifest_damaged(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
        let key = layout::revision(repository, digest);
        let (repository, digest) = (repository.clone(), *digest);
        let look = move |driver: &dyn Driver| {
            let is_linked = links::manifest_content(driver, &repository, &digest)?.is_some();
            Ok(is_linked && manifest_file::read(driver, &repository, &digest)?.is_none())
        };
        self.backend.run("read", &key, look).await
    }

    /// Returns the digest that the bytes of a manifest lie under; `None` if the repository does not hold the manifest.
    pub async fn revision(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let key = layout::revision(repository, digest);
        let (repository, digest) = (repository.clone(), *digest);
        self.backend.run("read", &key, move |driver| links::manifest_content(driver, &repository, &digest)).await
    }

    /// Returns up to `limit` tags of the repository after `after`, in byte order.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, StoreError> {
        let folder = layout::tags(repository);
        let (lists, listed, now) = (Arc::clone(&self.tag_lists), folder.clone(), self.clock.now());
        let after = after.map(str::to_owned);
        let list = move |driver: &dyn Driver| lists.page(driver, &listed, (after.as_deref(), limit), now);
        self.backend.run("list", &folder, list).await
    }

    /// Returns the digest that a tag was pushed with.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        Ok(self.tagged(repository, tag).await?.map(|tagged| tagged.digest))
    }

    /// Returns the digest that a tag was pushed with, and the time of the push.
    pub async fn tagged(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Tagged>, StoreError> {
        let (link, record) = (layout::tag_current(repository, tag), layout::tag_digest(repository, tag));
        let read_link = link.clone();
        let read = move |driver: &dyn Driver| {
            let pushed_at = driver.stat(&read_link)?.and_then(|found| found.modified);
            Ok((links::read(driver, &read_link)?, links::read(driver, &record)?, pushed_at))
        };
        let (current, record, pushed_at) = self.backend.run("read", &link, read).await?;
        let Some(current) = current else { return Ok(None) };
        let digest = match record {
            // `registry:2` may have moved the tag since, without changing the record.
            Some(name) if self.revision(repository, &name).await? == Some(current) => name,
            _ => current,
        };
        Ok(Some(Tagged { digest, pushed_at }))
    }

    /// Sets a tag to a manifest that the repository holds.
    pub async fn set_tag(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        let content = self.revision(repository, digest).await?.unwrap_or(*digest);
        let (current, record) = (layout::tag_current(repository, tag), layout::tag_digest(repository, tag));
        let pull = layout::pull(repository, tag);
        let (index, digest, link) = (layout::tag_index(repository, tag, &content), *digest, current.clone());
        self.backend
            .change("link", &current, move |driver| {
                // A new tag must not inherit the last pull of an earlier tag of its name: `registry:2` removes tags without
                // their records, and so does a deletion that fails to remove a record.
                if driver.stat(&link)?.is_none() {
                    forget_record(driver.remove(&pull));
                }
                // The record comes first, since it counts for nothing until the link names the same bytes.
                if content != digest {
                    links::write(driver, &record, &digest)?;
                }
                // The current link comes before the index: a tag that is listed names a manifest.
                if let Err(error) = links::write(driver, &link, &content) {
                    driver.remove_empty_folders(&link, 2);
                    return Err(error);
                }
                links::write(driver, &index, &content)?;
                if content == digest {
                    driver.remove(&record)?;
                }
                Ok(())
            })
            .await
    }

    /// Returns the number of tags of a repository.
    pub async fn count_tags(&self, repository: &RepositoryName) -> Result<u64, StoreError> {
        let folder = layout::tags(repository);
        let (listed, bad) = (folder.clone(), Arc::clone(&self.bad));
        let count = move |driver: &dyn Driver| {
            let mut count = 0;
            driver.each_child(&listed, &mut |child| {
                if child.is_folder && child.name.parse::<Tag>().is_ok() {
                    count += 1;
                } else {
                    bad.foreign(driver.describe(&listed.join(&child.name)), &child.name);
                }
            })?;
            Ok(count)
        };
        self.backend.run("list", &folder, count).await
    }
}
