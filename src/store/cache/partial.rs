//! A blob that is arriving: a sparse file, and the journal of the extents that have arrived.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::arrivals::Arrivals;
use super::batch::Batch;
use super::extents::Extents;
use super::operations::Operations;
use super::paths::change_on_disk;
use super::recent::{ArrivingFile, RecentBatches, RecentMemory};
use crate::oci::{Digest, Hasher, Span};
use crate::store::StoreError;
use crate::sys::disk::LockedFile;
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
    /// The file of the blob, locked as long as it is open.
    file: Arc<LockedFile>,
    arrivals: Arc<Arrivals>,
    recent: Arc<RecentBatches>,
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

/// A span that a write has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenSpan {
    pub span: Span,
    /// True if it was compared with the bytes that were there before, and those were different.
    pub differs: bool,
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
    /// Opens the partial file in `directory` with the extents that its journal knows.
    pub(super) async fn open(directory: PathBuf, memory: RecentMemory) -> Result<Self, StoreError> {
        let within = directory.clone();
        change_on_disk("open partial", &directory, move || {
            let data = within.join("data");
            let file = disk::open_writable(&data)?;
            // If the lock fails, another process fills the file. If the name differs, another process has just
            // completed it.
            let locked = disk::try_lock(file)?;
            let Some(file) = locked.filter(|file| disk::names(&data, file.file()).unwrap_or(false)) else {
                return Self::open_own(within, memory);
            };
            let journal = disk::optional(disk::read(&within.join("extents")))?.unwrap_or_default();
            let mut extents = Extents::from_journal(&String::from_utf8_lossy(&journal));
            extents.truncate(file.file().metadata()?.len());
            Ok(Self::new((within, data), file, extents, Shared::Resumable, memory))
        })
        .await
    }

    /// Opens an empty file in `directory`, beside the one that an earlier fill has left.
    pub(super) async fn open_aside(directory: PathBuf, memory: RecentMemory) -> Result<Self, StoreError> {
        let within = directory.clone();
        change_on_disk("open partial", &directory, move || Self::open_own(within, memory)).await
    }

    fn open_own(directory: PathBuf, memory: RecentMemory) -> std::io::Result<Self> {
        let data = directory.join(format!("data-{}", random_id()));
        let file = disk::open_writable(&data)?;
        let Some(file) = disk::try_lock(file)? else { return Err(std::io::ErrorKind::ResourceBusy.into()) };
        Ok(Self::new((directory, data), file, Extents::default(), Shared::Own, memory))
    }

    fn new(
        (directory, data): (PathBuf, PathBuf),
        file: LockedFile,
        extents: Extents,
        shared: Shared,
        memory: RecentMemory,
    ) -> Self {
        let (journalled, file) = (Arc::new(AtomicU64::new(extents.total())), Arc::new(file));
        let recent = Arc::new(RecentBatches::new(memory));
        let content = ArrivingFile { file: Arc::clone(&file), recent: Arc::clone(&recent) };
        Self {
            directory,
            data,
            arrivals: Arc::new(Arrivals::new(Arc::new(content), extents)),
            recent,
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

    /// Writes those bytes of a batch that have not arrived, and that no other call is writing.
    pub async fn write(&self, batch: Batch) -> Result<Vec<WrittenSpan>, StoreError> {
        self.write_free(batch, |_, _| Ok(false)).await
    }

    /// Writes like [`Self::write`], and compares the bytes with those that were there before.
    pub async fn overwrite(&self, batch: Batch) -> Result<Vec<WrittenSpan>, StoreError> {
        self.write_free(batch, differs).await
    }

    /// `compare` returns true if the file has other bytes than the batch.
    async fn write_free(
        &self,
        batch: Batch,
        compare: fn(&File, &Batch) -> std::io::Result<bool>,
    ) -> Result<Vec<WrittenSpan>, StoreError> {
        let (file, arrivals, recent) = (Arc::clone(&self.file), Arc::clone(&self.arrivals), Arc::clone(&self.recent));
        let write = move || {
            let mut written = Vec::new();
            for claim in arrivals.claim(batch.span()) {
                let (span, part) = (claim.span, batch.part(claim.span));
                let differs = compare(file.file(), &part)?;
                disk::write_all_at(file.file(), span.start, part.pieces())?;
                // From here on, the hash takes the bytes from memory. They are the same as those in the file, since no
                // other write may touch them.
                recent.keep(part);
                claim.arrived();
                written.push(WrittenSpan { span, differs });
            }
            Ok(written)
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
            file.file().sync_data()?;
            disk::write_replace(&journal, extents.to_journal().as_bytes())?;
            journalled.store(extents.total(), Ordering::Relaxed);
            Ok(())
        };
        self.operations.beside("write journal", &self.directory, write).await
    }

    /// Keeps only these extents, because the others may be wrong. The journal is removed first, so that it never
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
            file.file().set_len(0)
        };
        self.operations.alone("empty partial", &self.data, empty).await
    }

    fn forget_all_but(&self, kept: Extents) -> impl FnOnce() -> std::io::Result<()> + Send + use<> {
        let (journal, journalled) = (self.journal_path(), Arc::clone(&self.journalled));
        let (arrivals, recent) = (Arc::clone(&self.arrivals), Arc::clone(&self.recent));
        move || {
            recent.clear();
            journalled.store(0, Ordering::Relaxed);
            let removed = disk::remove(&journal).map(|_| ());
            arrivals.replace(kept);
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
            let stored = file.file().set_len(whole).and_then(|()| file.file().sync_data());
            if let Err(error) = stored.and_then(|()| disk::rename_durably(&data, &to)) {
                // Nothing is kept that may be lost in a crash, and nothing that the ledger does not count.
                if disk::names(&to, file.file()).unwrap_or(false) {
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

impl Drop for Partial {
    fn drop(&mut self) {
        // Slow readers may keep the file open for hours. They need no memory of other blobs.
        self.recent.clear();
    }
}

/// Returns the space that a directory of partial files takes, and when it was last written to; `None` if it holds no
/// file. A journal without a file is removed: the server was killed after the blob had been stored.
pub(super) fn measure(directory: &Path) -> std::io::Result<Option<(u64, SystemTime)>> {
    let mut found: Option<(u64, SystemTime)> = None;
    let entries = disk::list(directory)?;
    if !entries.iter().any(|entry| entry.name.starts_with("data")) {
        disk::remove(&directory.join("extents"))?;
        return Ok(None);
    }
    for entry in entries {
        let Some(file) = disk::optional(disk::metadata(&directory.join(&entry.name)))? else { continue };
        let (bytes, last) = found.unwrap_or((0, SystemTime::UNIX_EPOCH));
        found = Some((bytes + file.blocks() * 512, last.max(file.modified()?)));
    }
    Ok(found)
}

/// Removes a directory of partial files, as far as no fill of this process or another holds them. A fill that has begun
/// again holds another file than the one that was left, which is removed all the same. Returns false if nothing was
/// removed.
pub(super) fn remove(directory: &Path) -> std::io::Result<bool> {
    let (mut free, mut in_use) = (Vec::new(), false);
    for entry in disk::list(directory)?.iter().filter(|entry| entry.name.starts_with("data")) {
        let path = directory.join(&entry.name);
        let Some(file) = disk::optional(disk::open(&path))? else { continue };
        match disk::try_lock(file)? {
            // Held until the file is gone, so that no fill resumes it meanwhile.
            Some(file) => free.push((path, file)),
            None => in_use = true,
        }
    }
    if !in_use {
        return disk::remove_dir(directory);
    }
    let resumable = directory.join("data");
    if free.iter().any(|(path, _)| *path == resumable) {
        // The journal goes first, so that it never claims more than the file holds.
        disk::remove(&directory.join("extents"))?;
    }
    free.iter().try_for_each(|(path, _)| disk::remove(path).map(|_| ()))?;
    Ok(!free.is_empty())
}

/// Removes the file of a partial blob, and the directory with its journal if no other process uses it.
fn remove_files(data: &Path, directory: &Path, shared: Shared) -> std::io::Result<()> {
    match shared {
        Shared::Own => disk::remove(data).map(|_| ()),
        Shared::Resumable => disk::remove_dir(directory).map(|_| ()),
    }
}

/// Returns true if the file has other bytes at the place of a batch.
fn differs(file: &File, batch: &Batch) -> std::io::Result<bool> {
    let mut offset = batch.span().start;
    for piece in batch.pieces() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::store::PrefixHash;
    use bytes::Bytes;

    const MIB: usize = 1 << 20;

    fn batch(start: usize, byte: u8, len: usize) -> Batch {
        Batch::new(start as u64, vec![Bytes::from(vec![byte; len])])
    }

    async fn open(directory: &Path) -> Partial {
        Partial::open(directory.to_owned(), RecentMemory::new()).await.unwrap()
    }

    fn spans(written: &[WrittenSpan]) -> Vec<(u64, u64)> {
        written.iter().map(|written| (written.span.start, written.span.end)).collect()
    }

    #[tokio::test]
    async fn bytes_are_written_once_and_hashed_as_they_are_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let partial = open(directory.path()).await;
        assert_eq!(spans(&partial.write(batch(MIB, 1, MIB)).await.unwrap()), [(1 << 20, 2 << 20)]);
        // Bytes that have arrived are not replaced, and those around them are written.
        let around = partial.write(batch(0, 2, 3 * MIB)).await.unwrap();
        assert_eq!(spans(&around), [(0, 1 << 20), (2 << 20, 3 << 20)]);
        assert!(partial.write(batch(0, 3, 3 * MIB)).await.unwrap().is_empty());
        let expected = [vec![2; MIB], vec![1; MIB], vec![2; MIB]].concat();
        assert_eq!(disk::read(&directory.path().join("data")).unwrap(), expected);
        let mut hash = PrefixHash::new(Algorithm::Sha256);
        while hash.position() < partial.arrivals().prefix() {
            hash.advance(partial.arrivals(), 3 << 20).await.unwrap();
        }
        assert_eq!(hash.hasher().finish(), Digest::of(Algorithm::Sha256, &expected));
    }

    #[tokio::test]
    async fn span_belongs_to_one_write_until_that_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let partial = open(directory.path()).await;
        let claims = partial.arrivals().claim(Span { start: 10, end: 20 });
        assert_eq!(partial.arrivals().missing_in(Span { start: 0, end: 30 }), 20);
        assert_eq!(spans(&partial.write(batch(0, 1, 30)).await.unwrap()), [(0, 10), (20, 30)]);
        assert_eq!(partial.arrivals().total(), 20, "the claimed bytes have not arrived");
        drop(claims);
        assert_eq!(spans(&partial.write(batch(0, 2, 30)).await.unwrap()), [(10, 20)], "a write that failed gives back");
    }

    #[tokio::test]
    async fn replaced_bytes_are_not_taken_from_memory() {
        let directory = tempfile::tempdir().unwrap();
        let partial = open(directory.path()).await;
        partial.write(batch(0, 1, MIB)).await.unwrap();
        partial.keep_only(Extents::default()).await.unwrap();
        let written = partial.overwrite(batch(0, 2, MIB)).await.unwrap();
        assert!(written.iter().all(|written| written.differs) && !written.is_empty());
        let again = partial.overwrite(batch(0, 3, MIB)).await.unwrap();
        assert!(again.is_empty(), "bytes that a repair has brought stay");
        let mut extent = partial.arrivals().extent(0, 1 << 20);
        assert!(extent.read(MIB).await.unwrap().iter().all(|byte| *byte == 2));
    }
}
