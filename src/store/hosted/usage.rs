//! How much of the disk is taken, and by what.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{CachedBlob, addressed};
use super::{CacheStore, HostedStore, StoreError, on_disk};
use crate::oci::{Algorithm, Digest, HostName, RepositoryName};
use crate::sys::disk;

/// So many files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub count: u64,
    pub bytes: u64,
}

impl Amount {
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

impl HostedStore {
    /// All pushed content, whichever repositories may serve it. Looks at every file.
    pub async fn amount(&self) -> Result<Amount, StoreError> {
        self.amount_of(|_| true).await
    }

    /// The pushed content that `counts`. Looks at every file of it.
    pub async fn amount_of(&self, counts: impl Fn(&Digest) -> bool + Send + 'static) -> Result<Amount, StoreError> {
        let root = self.layout.hosted_blobs();
        let walked = root.clone();
        on_disk("list", &root, move || {
            let mut amount = Amount::default();
            for (algorithm, directory) in two_below(&walked)? {
                let blobs = disk::list(&directory)?.into_iter();
                let is_meant = |name: &str| Digest::from_parts(&algorithm, name).is_ok_and(|digest| counts(&digest));
                for blob in blobs.filter(|blob| is_meant(&blob.name)) {
                    let data = disk::optional(disk::metadata(&directory.join(blob.name).join("data")))?;
                    data.into_iter().for_each(|data| amount.add(data.len()));
                }
            }
            Ok(amount)
        })
        .await
    }

    /// The uploads that were begun and not finished.
    pub async fn uploads_amount(&self) -> Result<Amount, StoreError> {
        let mut amount = Amount::default();
        for repository in self.uploading().await? {
            let directory = self.layout.hosted_repository(&repository).join("_uploads");
            let looked = directory.clone();
            let found = on_disk("list", &directory, move || {
                let mut found = Amount::default();
                for upload in disk::list(&looked)?.into_iter().filter(|entry| entry.is_dir) {
                    let data = disk::optional(disk::metadata(&looked.join(upload.name).join("data")))?;
                    found.add(data.map_or(0, |data| data.len()));
                }
                Ok(found)
            });
            let found = found.await?;
            amount = Amount { count: amount.count + found.count, bytes: amount.bytes + found.bytes };
        }
        Ok(amount)
    }

    /// What a repository has: the digests that its bytes lie under, each once.
    pub async fn digests(&self, repository: &RepositoryName) -> Result<Vec<Digest>, StoreError> {
        let path = self.layout.hosted_repository(repository);
        let listed = path.clone();
        on_disk("list", &path, move || linked(&listed)).await
    }

    /// The sizes of these, in bytes; 0 for what is gone.
    pub async fn sizes(&self, digests: Vec<Digest>) -> Result<Vec<u64>, StoreError> {
        let paths = digests.iter().map(|digest| self.layout.hosted_blob(digest)).collect();
        sizes(&self.layout.hosted_blobs(), paths).await
    }

    pub async fn count_tags(&self, repository: &RepositoryName) -> Result<u64, StoreError> {
        count(self.layout.hosted_tags(repository)).await
    }

    /// Has it anything but uploads?
    pub async fn has_repository(&self, repository: &RepositoryName) -> Result<bool, StoreError> {
        has_any(self.layout.hosted_repository(repository), &["_manifests", "_layers"]).await
    }

    /// Removes a whole repository: tags first, so that none is left to name what is gone. Says how many tags it had;
    /// `None`: there was no such repository. What is being uploaded to it goes on.
    pub async fn remove_repository(&self, repository: &RepositoryName) -> Result<Option<u64>, StoreError> {
        let path = self.layout.hosted_repository(repository);
        let gone = path.clone();
        let kept = [self.layout.media_types(repository), self.layout.tag_names(repository)];
        on_disk("remove", &path, move || {
            let (manifests, layers) = (gone.join("_manifests"), gone.join("_layers"));
            if [&manifests, &layers].iter().all(|directory| disk::metadata(directory).is_err()) {
                return Ok(None);
            }
            let tags = disk::list(&manifests.join("tags"))?.len() as u64;
            disk::remove_dir(&manifests.join("tags"))?;
            disk::remove_dir(&manifests)?;
            disk::remove_dir(&layers)?;
            for directory in &kept {
                disk::remove_dir(directory)?;
            }
            Ok(Some(tags))
        })
        .await
    }
}

impl CacheStore {
    /// The whole cached blobs that `counts`. Looks at every file.
    pub async fn amount_of(
        &self,
        counts: impl Fn(&Digest) -> bool + Send + Sync + 'static,
    ) -> Result<Amount, StoreError> {
        // A std mutex: held for an addition, by the thread that walks.
        let amount = Arc::new(Mutex::new(Amount::default()));
        let sum = Arc::clone(&amount);
        let add = move |blob: CachedBlob| {
            if counts(&blob.digest) {
                sum.lock().unwrap_or_else(PoisonError::into_inner).add(blob.size);
            }
        };
        self.walk_blobs(add).await?;
        let amount = *amount.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(amount)
    }

    /// The digests that a repository has a link to, whether or not they are held.
    pub async fn digests(&self, upstream: &HostName, repository: &RepositoryName) -> Result<Vec<Digest>, StoreError> {
        let path = self.layout.mirrored_repository(upstream, repository).join("_links");
        let listed = path.clone();
        on_disk("list", &path, move || Ok(addressed(&listed)?.into_iter().map(|(digest, _)| digest).collect())).await
    }

    /// The sizes of these, in bytes; 0 for what is not held.
    pub async fn sizes(&self, digests: Vec<Digest>) -> Result<Vec<u64>, StoreError> {
        let paths = digests.iter().map(|digest| self.layout.cached_blob(digest)).collect();
        sizes(&self.layout.cached_blobs(), paths).await
    }

    pub async fn count_tags(&self, upstream: &HostName, repository: &RepositoryName) -> Result<u64, StoreError> {
        count(self.layout.mirrored_tags(upstream, repository)).await
    }

    /// Is anything known of it?
    pub async fn has_repository(&self, upstream: &HostName, repository: &RepositoryName) -> Result<bool, StoreError> {
        has_any(self.layout.mirrored_repository(upstream, repository), &["_tags", "_lists", "_links"]).await
    }

    /// Forgets a whole repository; the bytes stay. Says how many tags it had; `None`: nothing was known of it.
    pub async fn remove_repository(
        &self,
        upstream: &HostName,
        repository: &RepositoryName,
    ) -> Result<Option<u64>, StoreError> {
        let path = self.layout.mirrored_repository(upstream, repository);
        let gone = path.clone();
        on_disk("remove", &path, move || {
            let tags = disk::list(&gone.join("_tags"))?.len() as u64;
            let mut was = false;
            for part in ["_tags", "_lists", "_links"] {
                was |= disk::remove_dir(&gone.join(part))?;
            }
            Ok(was.then_some(tags))
        })
        .await
    }
}

/// Has it one of these directories?
async fn has_any(repository: PathBuf, parts: &'static [&'static str]) -> Result<bool, StoreError> {
    let looked = repository.clone();
    on_disk("read", &repository, move || {
        for part in parts {
            if disk::optional(disk::metadata(&looked.join(part)))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

async fn count(directory: PathBuf) -> Result<u64, StoreError> {
    let listed = directory.clone();
    on_disk("list", &directory, move || Ok(disk::list(&listed)?.len() as u64)).await
}

async fn sizes(root: &Path, paths: Vec<PathBuf>) -> Result<Vec<u64>, StoreError> {
    let size = |path: &PathBuf| Ok(disk::optional(disk::metadata(path))?.map_or(0, |file| file.len()));
    on_disk("read", root, move || paths.iter().map(size).collect()).await
}

/// The directories `ALG/ab` below this one, each with its `ALG`.
fn two_below(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for algorithm in disk::list(root)? {
        let within = root.join(&algorithm.name);
        let below = disk::list(&within)?.into_iter();
        found.extend(below.map(|first| (algorithm.name.clone(), within.join(first.name))));
    }
    Ok(found)
}

/// What the links below a hosted repository name.
fn linked(repository: &Path) -> io::Result<Vec<Digest>> {
    let mut found = Vec::new();
    for part in ["_layers", "_manifests/revisions"] {
        for (digest, directory) in addressed(&repository.join(part))? {
            // Under a sha256 the name is the digest of the bytes; else the link says it.
            let content = match digest.algorithm() {
                Algorithm::Sha256 => Some(digest),
                Algorithm::Sha512 => disk::optional(disk::read(&directory.join("link")))?
                    .and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok()),
            };
            found.extend(content);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
