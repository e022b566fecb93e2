//! The store of cached content: complete blobs, and access to partial ones.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;

use super::arrivals::{Arrivals, PrefixHash};
use super::cached_file::noting_failures;
use super::locks::{CacheLock, CacheLocks};
use super::partial::{self, Partial, StoredPartial};
use super::paths::{CachePaths, change_on_disk, on_disk};
use super::recent::RecentMemory;
use crate::oci::{Digest, HostName, MirroredName};
use crate::store::bad_entries::{BadEntries, BadEntry, Wanted};
use crate::store::directory::{Holders, Names};
use crate::store::driver::{Backend, Driver, LocalFile};
use crate::store::{StoreError, StoredBlob, layout};
use crate::sys::{Clock, blocking, disk};

/// Mirrored content: complete blobs, partial ones, and the records that say which repository may serve them.
#[derive(Clone)]
pub struct CacheStore {
    pub(super) paths: Arc<CachePaths>,
    pub(super) names: Names,
    pub(in crate::store) holders: Arc<Holders>,
    pub(super) clock: Clock,
    /// The links of a repository are read and then replaced by one caller at a time, so that no right is lowered.
    pub(super) linking: Arc<CacheLocks>,
    settling: Arc<CacheLocks>,
    recent: RecentMemory,
    /// The record of a tag's pulls is read and then replaced, one at a time. A std `Mutex`, held only by blocking threads.
    pub(super) pulling: Arc<Mutex<()>>,
    pub(in crate::store) bad: Arc<BadEntries>,
}

/// A complete blob of the cache, as a walk finds it.
#[derive(Clone, Debug)]
pub struct CachedBlob {
    pub digest: Digest,
    pub size: u64,
    pub last_used: SystemTime,
}

impl CacheStore {
    /// Returns the cache of the store at `root`, which `driver` can list.
    pub(in crate::store) fn new(root: &Path, driver: Arc<dyn Driver>, clock: Clock) -> Self {
        let backend = Backend::new(driver);
        let (root_key, bad) = (layout::mirrored_repositories(), Arc::clone(backend.bad()));
        let names = Names::new(backend, root_key, is_mirrored_name, clock.clone(), Arc::clone(&bad));
        let paths = Arc::new(CachePaths::new(root));
        let (linking, settling, pulling) = (Arc::new(CacheLocks::new()), Arc::new(CacheLocks::new()), Arc::default());
        let (holders, recent) = (Arc::default(), RecentMemory::new());
        Self { paths, names, holders, clock, linking, settling, recent, pulling, bad }
    }

    /// Returns the entries of the cache that walks have found and that still cannot be used.
    pub async fn bad_entries(&self) -> Vec<BadEntry> {
        self.bad.list().await
    }

    /// Opens a complete blob. One that cannot be opened or read counts as absent.
    pub async fn blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, StoreError> {
        let path = self.paths.blob(digest);
        if self.bad.has_content(&path) {
            return Ok(None);
        }
        let file = self.local_file(digest);
        let opened = self.unless_unreadable(on_disk("open", &path, move || file.open()).await)?;
        Ok(opened.map(|stored| noting_failures(stored, path, Arc::clone(&self.bad))))
    }

    /// Returns the file of a complete blob, for [`HostedStore::adopt`](crate::store::HostedStore::adopt). It need not
    /// exist.
    pub(in crate::store) fn local_file(&self, digest: &Digest) -> LocalFile {
        LocalFile::new(self.paths.blob(digest))
    }

    /// Reads a complete blob and returns true if it matches its digest. Returns false if it is not stored or cannot be read.
    pub async fn matches(&self, digest: &Digest) -> Result<bool, StoreError> {
        let Some(stored) = self.blob(digest).await? else { return Ok(false) };
        let (arrivals, mut hash) = (Arrivals::whole(&stored), PrefixHash::new(digest.algorithm()));
        while hash.position() < stored.size {
            match hash.advance(&arrivals, stored.size).await {
                Err(_) if self.bad.has_content(&self.paths.blob(digest)) => return Ok(false),
                advanced => advanced?,
            };
        }
        Ok(hash.hasher().finish() == *digest)
    }

    /// Reads a small blob (a manifest) whole; `None` if it is not stored, cannot be read, or is longer than `limit`.
    pub async fn read(&self, digest: &Digest, limit: usize) -> Result<Option<Bytes>, StoreError> {
        let path = self.paths.blob(digest);
        let read = path.clone();
        let whole = on_disk("read", &path, move || {
            let small = disk::optional(disk::metadata(&read))?.is_some_and(|file| file.len() <= limit as u64);
            if small { Ok(disk::optional(disk::read(&read))?.map(Bytes::from)) } else { Ok(None) }
        });
        self.unless_unreadable(whole.await)
    }

    /// Stores a small blob whole. The caller has verified it.
    pub async fn put(&self, digest: &Digest, body: Bytes) -> Result<(), StoreError> {
        let path = self.paths.blob(digest);
        let to = path.clone();
        change_on_disk("store", &path, move || disk::write_atomic(&to, &body)).await?;
        self.bad.forget(&path);
        Ok(())
    }

    /// Waits until no other caller stores or removes this blob with its links. The lock is held until that has ended.
    pub async fn lock_blob(&self, digest: &Digest) -> CacheLock {
        self.settling.lock(digest).await
    }

    /// Removes a blob. Returns false if it was not stored.
    pub async fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.paths.blob(digest);
        let gone = path.clone();
        let removed = change_on_disk("remove", &path, move || disk::remove(&gone)).await?;
        self.bad.forget(&path);
        Ok(removed)
    }

    /// Records on disk that a blob was used now, as the modification time of its file.
    pub async fn touch(&self, digest: &Digest) -> Result<(), StoreError> {
        let (path, now) = (self.paths.blob(digest), self.clock.now());
        let touched = path.clone();
        change_on_disk("touch", &path, move || disk::optional(disk::touch(&touched, now)).map(drop)).await
    }

    /// Opens the partial blob of a digest for one fill; creates it if there is none.
    pub async fn partial(&self, digest: &Digest) -> Result<Partial, StoreError> {
        Partial::open(self.paths.partial(digest), self.recent.clone()).await
    }

    /// Opens an empty partial blob beside the one that an earlier fill has left. It cannot be resumed. If it is completed,
    /// the other one is removed.
    pub async fn partial_aside(&self, digest: &Digest) -> Result<Partial, StoreError> {
        Partial::open_aside(self.paths.partial(digest), self.recent.clone()).await
    }

    /// Turns a partial blob, whose content the caller has verified, into a complete one.
    pub async fn commit(&self, partial: Partial, digest: &Digest) -> Result<(), StoreError> {
        let path = self.paths.blob(digest);
        partial.commit(&path).await?;
        self.bad.forget(&path);
        Ok(())
    }

    /// Returns every partial blob, whether or not a fill holds it.
    pub async fn partials(&self) -> Result<Vec<StoredPartial>, StoreError> {
        let (root, bad) = (self.paths.partials(), Arc::clone(&self.bad));
        let listed = root.clone();
        on_disk("list", &root, move || {
            let mut found = Vec::new();
            for (digest, directory) in digests_below(&listed, &bad) {
                let place = || directory.display().to_string();
                let measured = bad.accept(Wanted::Folder, place, partial::measure(&directory)).flatten();
                if let Some((bytes, last_used)) = measured {
                    found.push(StoredPartial { digest, bytes, last_used });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Removes a partial blob, unless a fill holds it. Returns false if nothing was removed.
    pub async fn remove_partial(&self, digest: &Digest) -> Result<bool, StoreError> {
        let directory = self.paths.partial(digest);
        let gone = directory.clone();
        change_on_disk("remove partial", &directory, move || partial::remove(&gone)).await
    }

    /// Walks over all complete blobs, a directory at a time, and calls `visit` with each.
    pub async fn walk_blobs(&self, visit: impl Fn(CachedBlob) + Send + Sync + 'static) -> Result<(), StoreError> {
        let (root, bad) = (self.paths.blobs(), Arc::clone(&self.bad));
        let walked = root.clone();
        on_disk("list", &root, move || {
            // Without this directory nothing is known of any blob.
            for algorithm in directories(disk::list(&walked)?, &walked, &bad) {
                let within = walked.join(&algorithm);
                for first in directories(bad.entries(&within), &within, &bad) {
                    visit_blobs(&algorithm, &within.join(first), &bad, &visit);
                }
            }
            Ok(())
        })
        .await
    }

    /// Returns the space of the file system that the cache lies on.
    pub async fn space(&self) -> Result<disk::Space, StoreError> {
        let path = self.paths.cache().to_owned();
        let asked = path.clone();
        on_disk("ask for the space of", &path, move || disk::space(&asked)).await
    }

    /// Returns true if cached blobs lie on the same disk as this path, or if that is not known.
    pub async fn shares_disk(&self, place: &Path) -> bool {
        let (blobs, place) = (self.paths.blobs(), place.to_owned());
        blocking(move || disk::shares_disk(&blobs, &place)).await
    }

    /// Returns the present time, in seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.clock.unix_seconds()
    }

    pub(super) async fn read_record(&self, path: PathBuf) -> Result<Option<Vec<u8>>, StoreError> {
        let read = path.clone();
        self.unless_unreadable(on_disk("read", &path, move || disk::optional(disk::read(&read))).await)
    }

    /// Treats an entry that cannot be read as one that is not there: the upstream has the content too. The log names the entry
    /// once.
    pub(super) fn unless_unreadable<T>(&self, read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Err(error) if self.bad.explains(&error) => Ok(None),
            read => read,
        }
    }
}

/// Returns true for the name of a mirrored repository, and for the beginning of one.
fn is_mirrored_name(name: &str) -> bool {
    if name.contains('/') { name.parse::<MirroredName>().is_ok() } else { name.parse::<HostName>().is_ok() }
}

/// Returns the files `DIRECTORY/ALGORITHM/HEX`. Entries that cannot be used are noted.
pub(super) fn digests_below(directory: &Path, bad: &BadEntries) -> Vec<(Digest, PathBuf)> {
    let mut found = Vec::new();
    for algorithm in directories(bad.entries(directory), directory, bad) {
        let within = directory.join(&algorithm);
        for entry in bad.entries(&within) {
            let path = within.join(&entry.name);
            match Digest::from_parts(&algorithm, &entry.name) {
                Ok(digest) => found.push((digest, path)),
                Err(_) => bad.foreign(path.display().to_string(), &entry.name),
            }
        }
    }
    found
}

/// Returns the names of the directories among these entries. The others are noted.
fn directories(entries: Vec<disk::DirEntry>, within: &Path, bad: &BadEntries) -> Vec<String> {
    let is_directory = |entry: disk::DirEntry| {
        if !entry.is_dir {
            bad.foreign(within.join(&entry.name).display().to_string(), &entry.name);
        }
        entry.is_dir.then_some(entry.name)
    };
    entries.into_iter().filter_map(is_directory).collect()
}

fn visit_blobs(algorithm: &str, directory: &Path, bad: &BadEntries, visit: &impl Fn(CachedBlob)) {
    for entry in bad.entries(directory) {
        let path = directory.join(&entry.name);
        let place = || path.display().to_string();
        let Ok(digest) = Digest::from_parts(algorithm, &entry.name) else {
            bad.foreign(place(), &entry.name);
            continue;
        };
        let found = disk::optional(disk::metadata(&path)).and_then(|file| match file {
            Some(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Some(found) => found.modified().map(|last_used| Some((found.len(), last_used))),
            None => Ok(None),
        });
        if let Some((size, last_used)) = bad.accept(Wanted::Object, place, found).flatten() {
            visit(CachedBlob { digest, size, last_used });
        }
    }
}
