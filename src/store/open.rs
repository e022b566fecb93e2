//! Opens the store in a directory of the local disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::StoreError;
use super::cache::{CacheStore, change_on_disk};
use super::driver::{DiskDriver, Driver};
use super::hosted::{HostedStore, create_lock_files};
use super::layout;
use crate::sys::disk::{self, Lacks};
use crate::sys::{Clock, blocking};

/// The longest wait at the start for a disk that is asked what its file system lacks.
const REHEARSED_WITHIN: Duration = Duration::from_secs(5);

/// Everything below one root directory.
#[derive(Clone)]
pub struct Store {
    pub hosted: HostedStore,
    pub cache: CacheStore,
    root: Arc<Path>,
    clock: Clock,
}

impl Store {
    /// Returns the store below `root`. It touches no file: existing content can be read, and [`Store::prepare`] makes
    /// it writable.
    pub fn new(root: &Path, clock: Clock) -> Self {
        let driver: Arc<dyn Driver> = Arc::new(DiskDriver::new(root));
        let hosted = HostedStore::new(Arc::clone(&driver), clock.clone());
        let cache = CacheStore::new(root, driver, clock.clone());
        Self { hosted, cache, root: root.into(), clock }
    }

    /// Creates the directories that do not exist, and does what a push does. Fails if that cannot be done; otherwise returns
    /// what the file systems lack.
    pub async fn prepare(&self) -> Result<Lacks, StoreError> {
        let (root, driver) = (Arc::clone(&self.root), DiskDriver::new(&self.root));
        change_on_disk("write to", &self.root, move || {
            disk::make_dir(&root)?;
            // The lock files come first: if the disk is full already, these small files may still fit, and content can
            // be deleted.
            let locks = disk::make_private_dir(&root.join(layout::PRIVATE)).and_then(|()| create_lock_files(&driver));
            disk::probe_writable(&root)?;
            locks?;
            // A backup copies these two, also of a store without pushes.
            disk::make_dir(&root.join(layout::repositories().as_str()))?;
            disk::make_dir(&root.join(layout::blobs().as_str()))?;
            disk::make_dir(&root.join(layout::trash().as_str()))?;
            disk::make_dir(&root.join(layout::CACHE))
        })
        .await?;
        self.lacks().await
    }

    /// Does what a push does. A disk that hangs for longer than [`REHEARSED_WITHIN`] is not waited for: it may serve what it holds.
    async fn lacks(&self) -> Result<Lacks, StoreError> {
        let root = Arc::clone(&self.root);
        let rehearsed = change_on_disk("write to", &self.root, move || rehearse_pushes(&root));
        tokio::time::timeout(REHEARSED_WITHIN, rehearsed).await.unwrap_or_else(|_| {
            tracing::warn!("the disk was too slow to find out what its file system lacks");
            Ok(Lacks::default())
        })
    }

    /// Does what a push does, and removes what it has made. Fails if that cannot be done.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let root = Arc::clone(&self.root);
        change_on_disk("write to", &self.root, move || {
            // A directory that does not exist stands for one above it. This one must exist.
            disk::probe_writable(&root)?;
            rehearse_pushes(&root).map(|_| ())
        })
        .await
    }

    /// Checks that [`Store::prepare`] could do its work. If the directory does not exist, one is created in the nearest
    /// existing directory above it, and removed. Returns what the file systems lack.
    pub async fn rehearse(&self) -> Result<Lacks, StoreError> {
        let root = Arc::clone(&self.root);
        change_on_disk("write to", &self.root, move || disk::probe_makeable(&root)).await?;
        self.lacks().await
    }

    /// Removes each temporary file whose last write is longer ago than `age`. Returns the number of removed files.
    pub async fn remove_temporary(&self, age: Duration) -> u64 {
        let (root, now) = (Arc::clone(&self.root), self.clock.now());
        let directories = [layout::CACHE, layout::PRIVATE, layout::HOSTED];
        blocking(move || directories.iter().map(|name| disk::remove_temporary(&root.join(name), now, age)).sum()).await
    }

    /// Removes what an earlier run has moved away and not removed. Returns the number of removed folders.
    pub async fn empty_trash(&self) -> u64 {
        self.hosted.empty_trash().await + self.cache.empty_trash().await
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Does what a push, a deletion and a fill do, in the directories that they use. Any of them may be a file system of its own. Blocks.
fn rehearse_pushes(root: &Path) -> io::Result<Lacks> {
    let (hosted, cache, private) = (root.join(layout::HOSTED), root.join(layout::CACHE), root.join(layout::PRIVATE));
    let (locks, lock) = (private.join("locks"), root.join(layout::lock(0).as_str()));
    let locked = disk::rehearse_push(&locks, &locks)?;
    if disk::exists(&lock) {
        disk::open_writable(&lock)?;
    }
    let deleted = disk::rehearse_push(&private.join("repositories"), &private.join("trash"))?;
    let pushed = disk::rehearse_push(&hosted.join("repositories"), &hosted.join("blobs/sha256"))?;
    let filled = disk::rehearse_push(&cache.join("partial"), &cache.join("blobs/sha256"))?;
    Ok(pushed.and(filled).and(locked).and(deleted))
}
