//! Bytes and links on one disk, atomically.
//!
//! Floor 3. May import floors 0–1. Its interface speaks digests and names, never paths, so that an object store can stand
//! behind it one day. What was pushed ([`HostedStore`]) and what may be lost ([`CacheStore`]) have separate roots; nothing
//! that works on the one can name a path in the other.

mod arrivals;
mod cache;
mod extents;
mod holders;
mod hosted;
mod index;
mod layout;
mod listed;
mod lists;
mod manifests;
mod names;
mod page;
mod partial;
mod piece;
mod presence;
mod record;
mod revisions;
mod tag_lists;
mod turns;
mod upload;
mod usage;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use arrivals::{Arrivals, PrefixHash};
pub use cache::{CacheStore, CachedBlob};
pub use extents::Extents;
pub use hosted::HostedStore;
pub use index::Indexed;
pub use manifests::StoredManifest;
pub use page::Page;
pub use partial::{LeftPartial, Partial, verified};
pub use piece::{Piece, ReadError};
pub use record::{LinkRecord, ReferrersRecord, Right, TagRecord};
pub use turns::Turn;
pub use upload::{Upload, UploadId};
pub use usage::Amount;

pub use crate::sys::disk::Share;

use crate::oci::Digest;
use crate::sys::{Clock, Extent, blocking, disk};
use layout::Layout;

/// Everything below one root directory.
#[derive(Clone)]
pub struct Store {
    pub hosted: HostedStore,
    pub cache: CacheStore,
}

impl Store {
    /// The store below `root`. Touches nothing yet: what is there can be read, [`Store::prepare`] makes it writable.
    pub fn new(root: &Path, clock: Clock) -> Self {
        let layout = Arc::new(Layout::new(root));
        Self { hosted: HostedStore::new(Arc::clone(&layout), clock.clone()), cache: CacheStore::new(layout, clock) }
    }

    /// Makes the directories that do not exist. Fails where they cannot be written to.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.hosted.layout);
        on_disk("write to", self.root(), move || {
            disk::make_dir(layout.root())?;
            // First: where the disk is full already, these small files may find room, and what is there can be deleted.
            let locks = disk::make_private_dir(&layout.private()).and_then(|()| turns::make_files(&layout));
            disk::probe_writable(layout.root())?;
            locks?;
            disk::make_dir(&layout.cache())
        })
        .await
    }

    /// Can files be made in it? One is made, synced and removed.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.hosted.layout);
        on_disk("write to", self.root(), move || disk::probe_writable(layout.root())).await
    }

    /// Could [`Store::prepare`] do its work? Where the directory is not there, one is made in the nearest above it that is, and
    /// removed.
    pub async fn rehearse(&self) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.hosted.layout);
        on_disk("write to", self.root(), move || disk::probe_makeable(layout.root())).await
    }

    pub fn root(&self) -> &Path {
        self.hosted.layout.root()
    }
}

/// Bytes on disk, open for reading; they stay readable when they are deleted meanwhile.
#[derive(Clone, Debug)]
pub struct StoredBlob {
    pub file: Arc<File>,
    pub size: u64,
}

impl StoredBlob {
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = disk::optional(disk::open(path))? else { return Ok(None) };
        let size = file.metadata()?.len();
        Ok(Some(Self { file: Arc::new(file), size }))
    }

    /// All of it.
    pub fn extent(&self) -> Extent {
        Extent { file: Arc::clone(&self.file), offset: 0, len: self.size }
    }
}

/// Why the store did not do what it was asked. Cheap to clone, so that all who wait for one operation can have it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error("the content has the digest {found}, not {expected}")]
    Mismatch { expected: Digest, found: Digest },
    /// The upload is not there: finished, cancelled, purged or never begun.
    #[error("no such upload")]
    NoUpload,
    /// Another request, in this process or another, is writing to the upload.
    #[error("the upload is being written by another request")]
    Busy,
}

impl StoreError {
    /// Is there no room left?
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// May this process not do it?
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// Runs file operations off the async threads; an error says what was attempted on which path.
async fn on_disk<T: Send + 'static>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    blocking(work).await.map_err(|source| StoreError::io(action, path, source))
}
