//! A blob that is arriving: a sparse file, and the journal of the stretches that have arrived.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use super::arrivals::Arrivals;
use super::extents::Extents;
use super::operations::Operations;
use super::paths::on_disk;
use crate::oci::{Digest, Hasher, Span};
use crate::store::StoreError;
use crate::sys::{disk, random_id};

/// The journal is written again after a 128th of the blob has arrived, but not earlier and not later than after this
/// many bytes.
const JOURNAL_AFTER: std::ops::RangeInclusive<u64> = 256 << 10..=16 << 20;

/// A blob that is arriving, held by one fill. A later fill can resume it.
///
/// Everything that changes the file or its journal is one of the operations of the blob: it runs to its end even if
/// the caller has left, and records its own result.
pub struct Partial {
    directory: PathBuf,
    data: PathBuf,
    /// The file of the blob, locked (`flock`) as long as it is open.
    file: Arc<File>,
    arrivals: Arc<Arrivals>,
    /// The number of bytes in the journal.
    journalled: Arc<AtomicU64>,
    /// Held while the journal is written, so that an older one never replaces a newer one. An async lock, because it is
    /// held during an operation of the disk.
    journalling: Arc<tokio::sync::Mutex<()>>,
    operations: Operations,
    shared: Shared,
}

/// Says whether the file can be resumed later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    Resumable,
    /// Another process fills the same digest, or an earlier fill has left content that contradicts this one's. So this
    /// file has another name and is removed at the end.
    Own,
}

/// A partial blob, as a list of all of them shows it.
#[derive(Clone, Copy, Debug)]
pub struct StoredPartial {
    pub digest: Digest,
    /// The space that it takes on the disk.
    pub bytes: u64,
    pub last_used: SystemTime,
}

impl Partial {
    /// Opens the partial file in `directory` with the stretches that its journal knows.
    pub(super) async fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let within = directory.clone();
        on_disk("open partial", &directory, move || {
            let data = within.join("data");
            let file = disk::open_writable(&data)?;
            // If the lock fails, another process fills the file. If the name differs, another process has just
            // completed it.
            if !(disk::try_lock(&file)? && disk::names(&data, &file)?) {
                return Self::open_own(within);
            }
            let journal = disk::optional(disk::read(&within.join("extents")))?.unwrap_or_default();
            let mut extents = Extents::from_journal(&String::from_utf8_lossy(&journal));
            extents.truncate(file.metadata()?.len());
            Ok(Self::new(within, data, file, extents, Shared::Resumable))
        })
        .await
    }

    /// Opens an empty file in `directory`, beside the one that an earlier fill has left.
    pub(super) async fn open_aside(directory: PathBuf) -> Result<Self, StoreError> {
        let within = directory.clone();
        on_disk("open partial", &directory, move || Self::open_own(within)).await
    }

    fn open_own(directory: PathBuf) -> std::io::Result<Self> {
        let data = directory.join(format!("data-{}", random_id()));
        let file = disk::open_writable(&data)?;
        disk::try_lock(&file)?;
        Ok(Self::new(directory, data, file, Extents::default(), Shared::Own))
    }

    fn new(directory: PathBuf, data: PathBuf, file: File, extents: Extents, shared: Shared) -> Self {
        let (journalled, file) = (Arc::new(AtomicU64::new(extents.total())), Arc::new(file));
        Self {
            directory,
            data,
            arrivals: Arc::new(Arrivals::new(file.clone(), extents)),
            file,
            journalled,
            journalling: Arc::default(),
            operations: Operations::new(),
            shared,
        }
    }

    /// Returns the bytes that have arrived, for readers to follow.
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Writes consecutive pieces at an offset.
    pub async fn write(&self, offset: u64, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let (file, arrivals) = (Arc::clone(&self.file), Arc::clone(&self.arrivals));
        let write = move || {
            let end = write_all(&file, offset, &pieces)?;
            arrivals.extents().insert(Span { start: offset, end });
            Ok(())
        };
        self.operations.beside("write partial", &self.data, write).await
    }

    /// Writes consecutive pieces over bytes that arrived earlier. Returns true if those were different.
    pub async fn overwrite(&self, offset: u64, pieces: Vec<Bytes>) -> Result<bool, StoreError> {
        let (file, arrivals) = (Arc::clone(&self.file), Arc::clone(&self.arrivals));
        let write = move || {
            let differs = differs(&file, offset, &pieces)?;
            let end = write_all(&file, offset, &pieces)?;
            arrivals.extents().insert(Span { start: offset, end });
            Ok(differs)
        };
        self.operations.beside("write partial", &self.data, write).await
    }

    /// Returns true if enough of a blob of this size has arrived to write the journal again.
    pub fn journal_is_due(&self, size: Option<u64>) -> bool {
        let after = size.map_or(*JOURNAL_AFTER.start(), |size| size / 128);
        self.unjournalled() >= after.clamp(*JOURNAL_AFTER.start(), *JOURNAL_AFTER.end())
    }

    /// Returns the number of bytes that have arrived and are not in the journal.
    pub fn unjournalled(&self) -> u64 {
        self.arrivals.total().saturating_sub(self.journalled.load(Ordering::Relaxed))
    }

    /// Writes the journal. The data is synced first, so that the journal never claims more than the file holds.
    pub async fn journal(&self) -> Result<(), StoreError> {
        let alone = Arc::clone(&self.journalling).lock_owned().await;
        if self.shared == Shared::Own || self.unjournalled() == 0 {
            return Ok(());
        }
        let (file, arrivals) = (Arc::clone(&self.file), Arc::clone(&self.arrivals));
        let (journal, journalled) = (self.journal_path(), Arc::clone(&self.journalled));
        let write = move || {
            let _alone = alone;
            let extents = arrivals.snapshot();
            file.sync_data()?;
            disk::write_replace(&journal, extents.to_journal().as_bytes())?;
            journalled.store(extents.total(), Ordering::Relaxed);
            Ok(())
        };
        self.operations.beside("write journal", &self.directory, write).await
    }

    /// Keeps only these stretches, because the others may be wrong. The journal is removed first, so that it never
    /// claims more than the file holds.
    pub async fn keep_only(&self, kept: Extents) -> Result<(), StoreError> {
        let forget = self.forget_all_but(kept);
        self.operations.alone("remove journal", &self.directory, forget).await
    }

    /// Forgets everything that has arrived, because it is not the beginning of this blob. No reader may have read any
    /// of it.
    pub async fn restart(&self) -> Result<(), StoreError> {
        let (forget, file) = (self.forget_all_but(Extents::default()), Arc::clone(&self.file));
        let empty = move || {
            forget()?;
            file.set_len(0)
        };
        self.operations.alone("empty partial", &self.data, empty).await
    }

    fn forget_all_but(&self, kept: Extents) -> impl FnOnce() -> std::io::Result<()> + Send + use<> {
        let (journal, journalled, arrivals) =
            (self.journal_path(), Arc::clone(&self.journalled), Arc::clone(&self.arrivals));
        move || {
            journalled.store(0, Ordering::Relaxed);
            let removed = disk::remove(&journal).map(|_| ());
            *arrivals.extents() = kept;
            removed
        }
    }

    /// Leaves the file for a later fill to resume, and releases its lock, since readers may keep the file open for a
    /// long time. If another process fills the same digest, the file of this process cannot be resumed and is removed.
    pub async fn release(self) {
        if self.shared == Shared::Own {
            if let Err(error) = self.discard().await {
                tracing::warn!(%error, "a partial blob could not be removed");
            }
            return;
        }
        let file = Arc::clone(&self.file);
        // This fails only for a file that was never locked.
        let _ = self.operations.last("unlock partial", &self.data, move || file.unlock()).await;
    }

    /// Moves the file to `to` as a complete blob. The caller has verified the content.
    pub(super) async fn commit(self, to: &Path) -> Result<(), StoreError> {
        let (file, data) = (Arc::clone(&self.file), self.data.clone());
        let (directory, to) = (self.directory.clone(), to.to_owned());
        let (shared, whole) = (self.shared, self.arrivals.prefix());
        let store = move || {
            // An earlier, longer attempt may have left a tail that no journal knows.
            let stored = file.set_len(whole).and_then(|()| file.sync_data());
            if let Err(error) = stored.and_then(|()| disk::rename_durably(&data, &to)) {
                // Nothing is kept that may be lost in a crash, and nothing that the ledger does not count.
                if disk::names(&to, &file).unwrap_or(false) {
                    let _ = disk::remove(&to);
                }
                let _ = remove_files(&data, &directory, shared);
                return Err(error);
            }
            // The blob is whole, so nothing else that was fetched of it is needed. A file of another process stays.
            let removed = match shared {
                Shared::Resumable => disk::remove_dir(&directory),
                Shared::Own => remove(&directory),
            };
            if let Err(error) = removed {
                // The blob itself is stored.
                tracing::warn!(%error, directory = %directory.display(), "the journal of a finished fill could not be removed");
            }
            Ok(())
        };
        self.operations.last("store", &self.directory, store).await
    }

    /// Removes everything that has arrived, because it has another digest, or because the disk is full.
    pub async fn discard(self) -> Result<(), StoreError> {
        let (data, directory, shared) = (self.data.clone(), self.directory.clone(), self.shared);
        let discard = move || remove_files(&data, &directory, shared);
        self.operations.last("discard partial", &self.directory, discard).await
    }

    fn journal_path(&self) -> PathBuf {
        self.directory.join("extents")
    }
}

/// Returns the space that a directory of partial files takes, and when it was last written to; `None` if it holds no
/// file.
pub(super) fn measure(directory: &Path) -> std::io::Result<Option<(u64, SystemTime)>> {
    let mut found: Option<(u64, SystemTime)> = None;
    for entry in disk::list(directory)? {
        let Some(file) = disk::optional(disk::metadata(&directory.join(&entry.name)))? else { continue };
        let (bytes, last) = found.unwrap_or((0, SystemTime::UNIX_EPOCH));
        found = Some((bytes + file.blocks() * 512, last.max(file.modified()?)));
    }
    Ok(found)
}

/// Removes a directory of partial files, unless a fill of this process or another holds one of them. Returns false if
/// nothing was removed.
pub(super) fn remove(directory: &Path) -> std::io::Result<bool> {
    let mut locked = Vec::new();
    for entry in disk::list(directory)?.iter().filter(|entry| entry.name.starts_with("data")) {
        let Some(file) = disk::optional(disk::open(&directory.join(&entry.name)))? else { continue };
        if !disk::try_lock(&file)? {
            return Ok(false);
        }
        // Held until the directory is gone, so that no fill resumes it meanwhile.
        locked.push(file);
    }
    disk::remove_dir(directory)
}

/// Removes the file of a partial blob, and the directory with its journal if no other process uses it.
fn remove_files(data: &Path, directory: &Path, shared: Shared) -> std::io::Result<()> {
    match shared {
        Shared::Own => disk::remove(data).map(|_| ()),
        Shared::Resumable => disk::remove_dir(directory).map(|_| ()),
    }
}

/// Writes consecutive pieces at an offset. Returns the offset after the last one.
fn write_all(file: &File, mut offset: u64, pieces: &[Bytes]) -> std::io::Result<u64> {
    for piece in pieces {
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(offset)
}

fn differs(file: &File, mut offset: u64, pieces: &[Bytes]) -> std::io::Result<bool> {
    for piece in pieces {
        let mut before = vec![0; piece.len()];
        let read = file.read_at(&mut before, offset)?;
        if before[..read] != piece[..] {
            return Ok(true);
        }
        offset += piece.len() as u64;
    }
    Ok(false)
}

/// Checks the digest of the hashed content against the expected one.
pub fn verified(hasher: Hasher, expected: &Digest) -> Result<(), StoreError> {
    let found = hasher.finish();
    if found == *expected { Ok(()) } else { Err(StoreError::Mismatch { expected: *expected, found }) }
}
