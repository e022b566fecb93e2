//! A blob that is arriving: a sparse file, and the journal of the stretches that have arrived.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use bytes::Bytes;

use super::arrivals::Arrivals;
use super::extents::Extents;
use super::paths::on_disk;
use crate::oci::{Digest, Hasher, Span};
use crate::store::StoreError;
use crate::sys::{disk, random_id};

/// The journal is written again after a 128th of the blob has arrived, but not earlier and not later than after this
/// many bytes.
const JOURNAL_AFTER: std::ops::RangeInclusive<u64> = 256 << 10..=16 << 20;

/// A blob that is arriving, held by one fill. If the fill drops it, another fill can resume it.
pub struct Partial {
    directory: PathBuf,
    data: PathBuf,
    /// The file of the blob, locked (`flock`) as long as it is open.
    file: Arc<File>,
    arrivals: Arc<Arrivals>,
    /// The number of bytes in the journal. A std `Mutex`: held for one assignment.
    journalled: Mutex<u64>,
    /// The number of times that the gate was closed. A write whose number is older is refused: a dropped connection may
    /// leave its last write running. A std lock, held only by blocking threads.
    gate: Arc<RwLock<u64>>,
    shared: Shared,
}

/// Says whether the file can be resumed later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    Resumable,
    /// Another process fills the same digest, so this file has another name and is removed at the end.
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
                let data = within.join(format!("data-{}", random_id()));
                let file = disk::open_writable(&data)?;
                disk::try_lock(&file)?;
                return Ok(Self::new(within, data, file, Extents::default(), Shared::Own));
            }
            let journal = disk::optional(disk::read(&within.join("extents")))?.unwrap_or_default();
            let mut extents = Extents::from_journal(&String::from_utf8_lossy(&journal));
            extents.truncate(file.metadata()?.len());
            Ok(Self::new(within, data, file, extents, Shared::Resumable))
        })
        .await
    }

    fn new(directory: PathBuf, data: PathBuf, file: File, extents: Extents, shared: Shared) -> Self {
        let (journalled, file) = (Mutex::new(extents.total()), Arc::new(file));
        Self {
            directory,
            data,
            arrivals: Arc::new(Arrivals::new(file.clone(), extents)),
            file,
            journalled,
            gate: Arc::default(),
            shared,
        }
    }

    /// Returns the bytes that have arrived, for readers to follow.
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Writes consecutive pieces at an offset.
    pub async fn write(&self, offset: u64, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let pass = self.pass();
        on_disk("write partial", &self.data, move || pass.run(|| write_all(&file, offset, &pieces))).await?;
        self.arrivals.extents().insert(Span { start: offset, end });
        Ok(())
    }

    /// Writes consecutive pieces over bytes that arrived earlier. Returns true if those were different.
    pub async fn overwrite(&self, offset: u64, pieces: Vec<Bytes>) -> Result<bool, StoreError> {
        let file = Arc::clone(&self.file);
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let pass = self.pass();
        let differs = on_disk("write partial", &self.data, move || {
            pass.run(|| {
                let differs = differs(&file, offset, &pieces)?;
                write_all(&file, offset, &pieces).map(|()| differs)
            })
        });
        let differs = differs.await?;
        self.arrivals.extents().insert(Span { start: offset, end });
        Ok(differs)
    }

    /// Returns true if enough of a blob of this size has arrived to write the journal again.
    pub fn journal_is_due(&self, size: Option<u64>) -> bool {
        let after = size.map_or(*JOURNAL_AFTER.start(), |size| size / 128);
        self.unjournalled() >= after.clamp(*JOURNAL_AFTER.start(), *JOURNAL_AFTER.end())
    }

    /// Returns the number of bytes that have arrived and are not in the journal.
    pub fn unjournalled(&self) -> u64 {
        self.arrivals.total().saturating_sub(*self.journalled())
    }

    /// Writes the journal. The data is synced first, so that the journal never claims more than the file holds.
    pub async fn journal(&self) -> Result<(), StoreError> {
        if self.shared == Shared::Own || self.unjournalled() == 0 {
            return Ok(());
        }
        let (file, journal) = (Arc::clone(&self.file), self.directory.join("extents"));
        let extents = self.arrivals.snapshot();
        let (text, total) = (extents.to_journal(), extents.total());
        on_disk("write journal", &self.directory, move || {
            file.sync_data()?;
            disk::write_replace(&journal, text.as_bytes())
        })
        .await?;
        *self.journalled() = total;
        Ok(())
    }

    /// Releases the lock: from now on another fill may resume the file.
    pub fn unlock(&self) {
        close(&self.gate);
        // This fails only for a file that was never locked.
        let _ = self.file.unlock();
    }

    /// Leaves the file for a later fill to resume. If another process fills the same digest, the file of this process
    /// cannot be resumed and is removed.
    pub async fn abandon(self) {
        if self.shared == Shared::Own
            && let Err(error) = self.discard().await
        {
            tracing::warn!(%error, "a partial blob could not be removed");
        }
    }

    /// Keeps only these stretches, because the others may be wrong. The journal is removed first, so that it never
    /// claims more than the file holds.
    pub async fn keep_only(&self, kept: Extents) -> Result<(), StoreError> {
        *self.journalled() = 0;
        let (journal, gate) = (self.directory.join("extents"), Arc::clone(&self.gate));
        let removed = on_disk("remove journal", &self.directory, move || {
            close(&gate);
            disk::remove(&journal).map(|_| ())
        });
        let removed = removed.await;
        *self.arrivals.extents() = kept;
        removed
    }

    /// Forgets everything that has arrived, because it is not the beginning of this blob. No reader may have read any
    /// of it.
    pub async fn restart(&self) -> Result<(), StoreError> {
        self.keep_only(Extents::default()).await?;
        let file = Arc::clone(&self.file);
        on_disk("empty partial", &self.data, move || file.set_len(0)).await
    }

    /// Moves the file to `to` as a complete blob. The caller has verified the content.
    pub(super) async fn commit(self, to: &Path) -> Result<(), StoreError> {
        let (file, data) = (Arc::clone(&self.file), self.data.clone());
        let (directory, to) = (self.directory.clone(), to.to_owned());
        let (keep_journal, whole, gate) = (self.shared == Shared::Own, self.arrivals.prefix(), Arc::clone(&self.gate));
        on_disk("store", &self.directory, move || {
            close(&gate);
            // An earlier, longer attempt may have left a tail that no journal knows.
            file.set_len(whole)?;
            file.sync_data()?;
            disk::rename_durably(&data, &to)?;
            if !keep_journal && let Err(error) = disk::remove_dir(&directory) {
                // The blob itself is stored.
                tracing::warn!(%error, directory = %directory.display(), "the journal of a finished fill could not be removed");
            }
            Ok(())
        })
        .await
    }

    /// Removes everything that has arrived, because it has another digest, or because the disk is full.
    pub async fn discard(self) -> Result<(), StoreError> {
        let (data, directory, shared) = (self.data.clone(), self.directory.clone(), self.shared);
        on_disk("discard partial", &self.directory, move || match shared {
            Shared::Own => disk::remove(&data).map(|_| ()),
            Shared::Resumable => disk::remove_dir(&directory).map(|_| ()),
        })
        .await
    }

    /// Returns the right to write until the gate is closed.
    fn pass(&self) -> Pass {
        Pass { opened: *self.gate.read().unwrap_or_else(PoisonError::into_inner), gate: Arc::clone(&self.gate) }
    }

    fn journalled(&self) -> std::sync::MutexGuard<'_, u64> {
        self.journalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permits writes to a partial file until its gate is closed.
struct Pass {
    gate: Arc<RwLock<u64>>,
    opened: u64,
}

impl Pass {
    fn run<T>(&self, write: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let now = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if *now == self.opened { write() } else { Err(std::io::Error::other("the fill no longer accepts this write")) }
    }
}

/// Waits for running writes, and refuses those that have not begun.
fn close(gate: &RwLock<u64>) {
    *gate.write().unwrap_or_else(PoisonError::into_inner) += 1;
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

fn write_all(file: &File, mut offset: u64, pieces: &[Bytes]) -> std::io::Result<()> {
    for piece in pieces {
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
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
