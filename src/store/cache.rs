//! Copies of what upstreams have. Everything here may be lost at any time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::holders::Holders;
use super::layout::Layout;
use super::names::{Names, Part};
use super::{LeftPartial, LinkRecord, Page, Partial, Right, StoreError, StoredBlob, TagRecord, on_disk, partial};
use crate::oci::{Digest, HostName, RepositoryName, Tag};
use crate::sys::{Clock, disk};

/// Mirrored content: whole blobs, partial ones, and the records that say who may serve them.
#[derive(Clone)]
pub struct CacheStore {
    pub(super) layout: Arc<Layout>,
    pub(super) names: Names,
    pub(super) holders: Arc<Holders>,
    clock: Clock,
    /// Links are read and then replaced: one at a time, so that none is lowered. A std `Mutex`, held by blocking threads alone.
    linking: Arc<Mutex<()>>,
}

/// What a repository of the cache has.
pub(super) const LINKED: &[Part] = &[Part::Links];

/// A whole blob of the cache, as a walk finds it.
#[derive(Clone, Debug)]
pub struct CachedBlob {
    pub digest: Digest,
    pub size: u64,
    pub last_used: SystemTime,
}

impl CacheStore {
    pub(super) fn new(layout: Arc<Layout>, clock: Clock) -> Self {
        let names = Names::new(layout.mirrored_repositories(), is_mirrored_name, clock.clone());
        Self { layout, names, holders: Arc::default(), clock, linking: Arc::default() }
    }

    /// A whole blob.
    pub async fn blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, StoreError> {
        let path = self.layout.cached_blob(digest);
        let opened = path.clone();
        on_disk("open", &path, move || StoredBlob::open(&opened)).await
    }

    /// Reads a small blob (a manifest) whole; `None` when it is not there or longer than `limit`.
    pub async fn read(&self, digest: &Digest, limit: usize) -> Result<Option<Bytes>, StoreError> {
        let path = self.layout.cached_blob(digest);
        let read = path.clone();
        on_disk("read", &path, move || {
            let small = disk::optional(disk::metadata(&read))?.is_some_and(|file| file.len() <= limit as u64);
            if small { Ok(disk::optional(disk::read(&read))?.map(Bytes::from)) } else { Ok(None) }
        })
        .await
    }

    /// Stores a small blob whole. The caller has verified it.
    pub async fn put(&self, digest: &Digest, body: Bytes) -> Result<(), StoreError> {
        let path = self.layout.cached_blob(digest);
        let to = path.clone();
        on_disk("store", &path, move || disk::write_atomic(&to, &body)).await
    }

    /// Removes a blob. Says whether it was there.
    pub async fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.layout.cached_blob(digest);
        let gone = path.clone();
        on_disk("remove", &path, move || disk::remove(&gone)).await
    }

    /// Remembers on disk that a blob was used now.
    pub async fn touch(&self, digest: &Digest) -> Result<(), StoreError> {
        let (path, now) = (self.layout.cached_blob(digest), self.clock.now());
        let touched = path.clone();
        on_disk("touch", &path, move || disk::optional(disk::touch(&touched, now)).map(|_| ())).await
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout.cached_blob(digest)
    }

    pub async fn partial(&self, digest: &Digest) -> Result<Partial, StoreError> {
        Partial::open(self.layout.partial(digest)).await
    }

    /// Makes a partial blob, whose content the caller has verified, a whole one.
    pub async fn commit(&self, partial: Partial, digest: &Digest) -> Result<(), StoreError> {
        partial.commit(&self.layout.cached_blob(digest)).await
    }

    /// Every partial blob, whether or not a fill holds it.
    pub async fn partials(&self) -> Result<Vec<LeftPartial>, StoreError> {
        let root = self.layout.partials();
        let listed = root.clone();
        on_disk("list", &root, move || {
            let mut found = Vec::new();
            for (digest, directory) in addressed(&listed)? {
                if let Some((bytes, last_used)) = partial::measure(&directory)? {
                    found.push(LeftPartial { digest, bytes, last_used });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Removes what is left of a blob that did not arrive whole, unless a fill holds it. Says whether it did.
    pub async fn remove_partial(&self, digest: &Digest) -> Result<bool, StoreError> {
        let directory = self.layout.partial(digest);
        let gone = directory.clone();
        on_disk("remove partial", &directory, move || partial::remove(&gone)).await
    }

    pub async fn link(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<LinkRecord>, StoreError> {
        let json = self.read_record(self.layout.mirrored_link(upstream, repository, digest)).await?;
        Ok(json.and_then(|json| LinkRecord::from_json(&json)))
    }

    /// Records why a repository may serve some digests. A right that the upstream itself vouched for is never lowered.
    pub async fn set_links(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
        links: Vec<(Digest, LinkRecord)>,
    ) -> Result<(), StoreError> {
        let path = self.layout.mirrored_repository(upstream, repository);
        let (name, digests) =
            (mirrored_name(upstream, repository), links.iter().map(|(digest, _)| *digest).collect::<Vec<_>>());
        let records: Vec<_> = links
            .into_iter()
            .map(|(digest, link)| (self.layout.mirrored_link(upstream, repository, &digest), link))
            .collect();
        let linking = Arc::clone(&self.linking);
        on_disk("link in", &path, move || {
            let _alone = linking.lock().unwrap_or_else(PoisonError::into_inner);
            records.iter().try_for_each(|(path, link)| write_link(path, link))
        })
        .await?;
        self.holders.add(&name, &digests);
        Ok(())
    }

    /// Takes a repository's right to a digest away. Says whether it had one.
    pub async fn unlink(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let path = self.layout.mirrored_link(upstream, repository, digest);
        let gone = path.clone();
        let was = on_disk("remove", &path, move || disk::remove(&gone)).await?;
        self.holders.remove(&mirrored_name(upstream, repository), digest);
        Ok(was)
    }

    pub async fn tag(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<TagRecord>, StoreError> {
        let json = self.read_record(self.layout.mirrored_tag(upstream, repository, tag)).await?;
        Ok(json.and_then(|json| TagRecord::from_json(&json)))
    }

    pub async fn set_tag(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
        tag: &Tag,
        record: &TagRecord,
    ) -> Result<(), StoreError> {
        let (path, json) = (self.layout.mirrored_tag(upstream, repository, tag), record.to_json());
        let to = path.clone();
        on_disk("write", &path, move || disk::write_replace(&to, &json)).await
    }

    /// Every tag that something is known of, in byte order.
    pub async fn tags(&self, upstream: &HostName, repository: &RepositoryName) -> Result<Vec<Tag>, StoreError> {
        let path = self.layout.mirrored_tags(upstream, repository);
        let listed = path.clone();
        let entries = on_disk("list", &path, move || disk::list(&listed)).await?;
        Ok(entries.into_iter().filter_map(|entry| entry.name.parse().ok()).collect())
    }

    /// Forgets a tag. Says whether it was known.
    pub async fn untag(&self, upstream: &HostName, repository: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let path = self.layout.mirrored_tag(upstream, repository, tag);
        let gone = path.clone();
        on_disk("remove", &path, move || disk::remove(&gone)).await
    }

    /// At most `most` repositories that something may be served of, those that come after `after`, each as `UPSTREAM/NAME`, in byte
    /// order.
    pub async fn names(&self, after: Option<&str>, most: usize) -> Result<Page<String>, StoreError> {
        self.names.page(LINKED, after, most).await
    }

    /// The same as they are known: each with its upstream.
    pub async fn repositories_after(
        &self,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(HostName, RepositoryName)>, StoreError> {
        Ok(self.names(after, most).await?.entries.iter().filter_map(|name| parse_mirrored(name)).collect())
    }

    /// Every repository that something may be served of, with its upstream.
    pub async fn repositories(&self) -> Result<Vec<(HostName, RepositoryName)>, StoreError> {
        self.repositories_after(None, usize::MAX).await
    }

    /// Every link of a repository.
    pub async fn links(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
    ) -> Result<Vec<(Digest, LinkRecord)>, StoreError> {
        let path = self.layout.mirrored_repository(upstream, repository).join("_links");
        let listed = path.clone();
        on_disk("list", &path, move || {
            let mut found = Vec::new();
            for (digest, path) in addressed(&listed)? {
                let json = disk::optional(disk::read(&path))?;
                found.extend(json.and_then(|json| LinkRecord::from_json(&json)).map(|link| (digest, link)));
            }
            Ok(found)
        })
        .await
    }

    /// Did some upstream give these bytes to a caller without credentials? Looks through all repositories.
    pub async fn is_public(&self, digest: &Digest) -> Result<bool, StoreError> {
        for (upstream, repository) in self.repositories().await? {
            if self.link(&upstream, &repository, digest).await?.is_some_and(|link| link.right == Right::Public) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Walks all whole blobs, a directory at a time, and calls `visit` with each.
    pub async fn walk_blobs(&self, visit: impl Fn(CachedBlob) + Send + Sync + 'static) -> Result<(), StoreError> {
        let root = self.layout.cached_blobs();
        let walked = root.clone();
        on_disk("list", &root, move || {
            for algorithm in disk::list(&walked)? {
                let algorithm_dir = walked.join(&algorithm.name);
                for first in disk::list(&algorithm_dir)? {
                    visit_blobs(&algorithm.name, &algorithm_dir.join(&first.name), &visit)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The space of the file system that the cache lies on.
    pub async fn space(&self) -> Result<disk::Space, StoreError> {
        let path = self.layout.cache();
        let asked = path.clone();
        on_disk("ask for the space of", &path, move || disk::space(&asked)).await
    }

    pub(super) async fn read_record(&self, path: PathBuf) -> Result<Option<Vec<u8>>, StoreError> {
        let read = path.clone();
        on_disk("read", &path, move || disk::optional(disk::read(&read))).await
    }
}

fn mirrored_name(upstream: &HostName, repository: &RepositoryName) -> String {
    format!("{upstream}/{repository}")
}

/// What [`mirrored_name`] put together.
pub(super) fn parse_mirrored(name: &str) -> Option<(HostName, RepositoryName)> {
    let (upstream, repository) = name.split_once('/')?;
    Some((upstream.parse().ok()?, repository.parse().ok()?))
}

/// Is it such a name, or the beginning of one?
fn is_mirrored_name(name: &str) -> bool {
    if name.contains('/') { parse_mirrored(name).is_some() } else { name.parse::<HostName>().is_ok() }
}

fn write_link(path: &Path, link: &LinkRecord) -> std::io::Result<()> {
    let known = disk::optional(disk::read(path))?.and_then(|json| LinkRecord::from_json(&json));
    match known {
        // What a manifest says adds nothing to what the upstream itself said.
        Some(known) if known.right.is_proven() && !link.right.is_proven() => Ok(()),
        Some(known) if known == *link => Ok(()),
        _ => disk::write_replace(path, &link.to_json()),
    }
}

/// The files below `DIRECTORY/ALG/HEX`.
pub(super) fn addressed(directory: &Path) -> std::io::Result<Vec<(Digest, PathBuf)>> {
    let mut found = Vec::new();
    for algorithm in disk::list(directory)? {
        let within = directory.join(&algorithm.name);
        for entry in disk::list(&within)? {
            if let Ok(digest) = Digest::from_parts(&algorithm.name, &entry.name) {
                found.push((digest, within.join(&entry.name)));
            }
        }
    }
    Ok(found)
}

fn visit_blobs(algorithm: &str, directory: &Path, visit: &impl Fn(CachedBlob)) -> std::io::Result<()> {
    for entry in disk::list(directory)? {
        let Ok(digest) = Digest::from_parts(algorithm, &entry.name) else { continue };
        if let Some(file) = disk::optional(disk::metadata(&directory.join(&entry.name)))? {
            visit(CachedBlob { digest, size: file.len(), last_used: file.modified()? });
        }
    }
    Ok(())
}
