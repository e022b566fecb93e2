//! The space that cached content takes, and the removal of mirrored repositories.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::paths::{change_on_disk, on_disk};
use super::store::{CacheStore, CachedBlob, digests_below};
use crate::oci::{Digest, MirroredName};
use crate::store::bad_entries::Wanted;
use crate::store::{Amount, StoreError};
use crate::sys::{blocking, disk, random_id};

/// The folders of a mirrored repository.
const PARTS: [&str; 4] = ["_tags", "_lists", "_pulls", "_links"];

impl CacheStore {
    /// Returns the amount of the complete blobs that `counts` accepts. Looks at every file.
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

    /// Returns the digests that a repository has a link to, whether or not they are cached.
    pub async fn digests(&self, name: &MirroredName) -> Result<Vec<Digest>, StoreError> {
        let (path, bad) = (self.paths.links(name), Arc::clone(&self.bad));
        let listed = path.clone();
        let digests = move || Ok(digests_below(&listed, &bad).into_iter().map(|(digest, _)| digest).collect());
        on_disk("list", &path, digests).await
    }

    /// Looks at the links and the tags of a repository. Notes those that cannot be used.
    pub async fn survey(&self, name: &MirroredName) -> Result<(), StoreError> {
        let (path, bad) = (self.paths.links(name), Arc::clone(&self.bad));
        let listed = path.clone();
        let look = move || {
            for (_, link) in digests_below(&listed, &bad) {
                bad.accept(Wanted::Object, || link.display().to_string(), is_file(&link));
            }
            Ok(())
        };
        on_disk("list", &path, look).await?;
        self.count_tags(name).await.map(drop)
    }

    /// Returns the sizes of complete blobs, in bytes; 0 for those that are not cached.
    pub async fn sizes(&self, digests: Vec<Digest>) -> Result<Vec<u64>, StoreError> {
        let paths: Vec<_> = digests.iter().map(|digest| self.paths.blob(digest)).collect();
        let bad = Arc::clone(&self.bad);
        on_disk("read", &self.paths.blobs(), move || {
            let found = |path: &Path| {
                let found = disk::optional(disk::metadata(path));
                bad.accept(Wanted::Object, || path.display().to_string(), found).flatten()
            };
            let size = |path| found(path).filter(|found| found.is_file()).map_or(0, |found| found.len());
            Ok(paths.iter().map(|path| size(path)).collect())
        })
        .await
    }

    /// Returns the number of tags that have a record.
    pub async fn count_tags(&self, name: &MirroredName) -> Result<u64, StoreError> {
        Ok(self.tags(name).await?.len() as u64)
    }

    /// Returns true if there is any record of the repository.
    pub async fn has_repository(&self, name: &MirroredName) -> Result<bool, StoreError> {
        let path = self.paths.repository(name);
        let looked = path.clone();
        on_disk("read", &path, move || {
            for part in PARTS {
                if disk::optional(disk::metadata(&looked.join(part)))?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Forgets a whole repository; the bytes stay. Returns the number of its tags when that began; `None` if there was no record of it.
    pub async fn remove_repository(&self, name: &MirroredName) -> Result<Option<u64>, StoreError> {
        let (digests, tags) = (self.digests(name).await?, self.count_tags(name).await?);
        let (path, away) = (self.paths.repository(name), self.paths.trash().join(random_id()));
        let (gone, trash, alone) = (path.clone(), away.clone(), self.linking.lock(name).await);
        // Other repositories share the lock. Under it the folders are only moved away.
        let removed = change_on_disk("remove", &path, move || {
            let _alone = alone;
            let mut removed = false;
            for part in PARTS {
                removed |= move_away(&gone.join(part), &trash.join(part))?;
            }
            Ok(removed)
        })
        .await?;
        self.holders.remove_all(&name.to_string(), &digests);
        let trash = away.clone();
        if let Err(error) = change_on_disk("remove", &away, move || disk::remove_dir(&trash)).await {
            tracing::warn!(%error, "evicted records could not be removed from the disk yet");
        }
        Ok(removed.then_some(tags))
    }

    /// Removes what an earlier run has moved away and not removed. Returns the number of removed folders.
    pub async fn empty_trash(&self) -> u64 {
        let trash = self.paths.trash();
        blocking(move || {
            let left = disk::list(&trash).unwrap_or_default();
            left.iter().filter(|left| disk::remove_dir(&trash.join(&left.name)).unwrap_or(false)).count() as u64
        })
        .await
    }
}

/// Moves a folder of a repository away. Returns false if there was none. A folder that cannot be moved is removed at once: it lies
/// on another file system than the trash, or the disk is full.
fn move_away(folder: &Path, away: &Path) -> io::Result<bool> {
    use io::ErrorKind::{CrossesDevices, QuotaExceeded, StorageFull};
    match disk::move_dir(folder, away) {
        Err(error) if matches!(error.kind(), CrossesDevices | StorageFull | QuotaExceeded) => disk::remove_dir(folder),
        moved => moved,
    }
}

/// Fails if there is anything but a file at a path.
fn is_file(path: &Path) -> io::Result<()> {
    match disk::optional(disk::metadata(path))? {
        Some(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Ok(()),
    }
}
