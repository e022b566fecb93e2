//! A blob that is arriving: a sparse file and the journal of what has arrived.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use bytes::Bytes;

use super::{Arrivals, Extents, StoreError, on_disk};
use crate::oci::{Digest, Hasher, Span};
use crate::sys::{disk, random_id};

/// What has arrived is written down again after a 128th of the blob, but not sooner and not later than after so many bytes.
const JOURNAL_AFTER: std::ops::RangeInclusive<u64> = 256 << 10..=16 << 20;

/// A blob that is arriving, held by one fill. Dropping it leaves it to be taken up again.
pub struct Partial {
    directory: PathBuf,
    data: PathBuf,
    /// Its file is locked (`flock`) as long as it is open.
    arrivals: Arc<Arrivals>,
    /// How much the journal knows. A std `Mutex`: held for one assignment.
    journalled: Mutex<u64>,
    /// Which writes may still land: a connection that is dropped leaves its last one under way. Std; held by blocking threads.
    gate: Arc<RwLock<u64>>,
    shared: Shared,
}

/// May what is left of it be taken up again?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    Resumable,
    /// Another process fills the same digest: this file is ours alone.
    Own,
}

/// A partial blob that a walk finds.
#[derive(Clone, Copy, Debug)]
pub struct LeftPartial {
    pub digest: Digest,
    /// What it takes of the disk.
    pub bytes: u64,
    pub last_used: SystemTime,
}

impl Partial {
    /// Opens the partial file in `directory` with what its journal knows to have arrived.
    pub(super) async fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let within = directory.clone();
        on_disk("open partial", &directory, move || {
            let data = within.join("data");
            let file = disk::open_writable(&data)?;
            // Another process fills it, or has just made it a whole blob.
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
        let journalled = Mutex::new(extents.total());
        Self {
            directory,
            data,
            arrivals: Arc::new(Arrivals::new(Arc::new(file), extents)),
            journalled,
            gate: Arc::default(),
            shared,
        }
    }

    /// What readers follow.
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Writes pieces that follow each other where they belong.
    pub async fn write(&self, offset: u64, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let file = Arc::clone(self.arrivals.file());
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let pass = self.pass();
        on_disk("write partial", &self.data, move || pass.through(|| write_all(&file, offset, &pieces))).await?;
        self.arrivals.extents().insert(Span { start: offset, end });
        Ok(())
    }

    /// The same, over bytes that were there before. Says whether they were others.
    pub async fn overwrite(&self, offset: u64, pieces: Vec<Bytes>) -> Result<bool, StoreError> {
        let file = Arc::clone(self.arrivals.file());
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let pass = self.pass();
        let differs = on_disk("write partial", &self.data, move || {
            pass.through(|| {
                let differs = differs(&file, offset, &pieces)?;
                write_all(&file, offset, &pieces).map(|()| differs)
            })
        });
        let differs = differs.await?;
        self.arrivals.extents().insert(Span { start: offset, end });
        Ok(differs)
    }

    /// Has so much of a blob of this size arrived that it should be written down again?
    pub fn journal_is_due(&self, size: Option<u64>) -> bool {
        let after = size.map_or(*JOURNAL_AFTER.start(), |size| size / 128);
        self.unjournalled() >= after.clamp(*JOURNAL_AFTER.start(), *JOURNAL_AFTER.end())
    }

    /// Bytes that have arrived and that the journal does not know.
    pub fn unjournalled(&self) -> u64 {
        self.arrivals.total().saturating_sub(*self.known())
    }

    /// Writes down what has arrived; the data is synced first, so that the journal never knows more than the file holds.
    pub async fn journal(&self) -> Result<(), StoreError> {
        if self.shared == Shared::Own || self.unjournalled() == 0 {
            return Ok(());
        }
        let (file, journal) = (Arc::clone(self.arrivals.file()), self.directory.join("extents"));
        let extents = self.arrivals.snapshot();
        let (text, total) = (extents.to_journal(), extents.total());
        on_disk("write journal", &self.directory, move || {
            file.sync_data()?;
            disk::write_replace(&journal, text.as_bytes())
        })
        .await?;
        *self.known() = total;
        Ok(())
    }

    /// Lets go of the lock: from now on another fill may take it up.
    pub fn unlock(&self) {
        close(&self.gate);
        // It fails only for a file that was never locked.
        let _ = self.arrivals.file().unlock();
    }

    /// Leaves it to be taken up again, unless nobody can: one of our own beside another process's goes.
    pub async fn abandon(self) {
        if self.shared == Shared::Own
            && let Err(error) = self.discard().await
        {
            tracing::warn!(%error, "a partial blob could not be removed");
        }
    }

    /// Forgets all but these stretches: they are in doubt. The journal goes first, so that it never knows more than is held.
    pub async fn doubt(&self, all_but: Extents) -> Result<(), StoreError> {
        *self.known() = 0;
        let (journal, gate) = (self.directory.join("extents"), Arc::clone(&self.gate));
        let removed = on_disk("remove journal", &self.directory, move || {
            close(&gate);
            disk::remove(&journal).map(|_| ())
        });
        let removed = removed.await;
        *self.arrivals.extents() = all_but;
        removed
    }

    /// Forgets what has arrived: it is no beginning of this blob. Nobody may have read any of it.
    pub async fn restart(&self) -> Result<(), StoreError> {
        self.doubt(Extents::default()).await?;
        let file = Arc::clone(self.arrivals.file());
        on_disk("empty partial", &self.data, move || file.set_len(0)).await
    }

    /// Makes it the whole blob that `to` is looked for at. The caller has verified the content.
    pub(super) async fn commit(self, to: &Path) -> Result<(), StoreError> {
        let (file, data) = (Arc::clone(self.arrivals.file()), self.data.clone());
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
                tracing::warn!(%error, directory = %directory.display(), "what is left of a fill could not be removed");
            }
            Ok(())
        })
        .await
    }

    /// Throws away what has arrived: it was not what it should be, or there is no room for it.
    pub async fn discard(self) -> Result<(), StoreError> {
        let (data, directory, shared) = (self.data.clone(), self.directory.clone(), self.shared);
        on_disk("discard partial", &self.directory, move || match shared {
            Shared::Own => disk::remove(&data).map(|_| ()),
            Shared::Resumable => disk::remove_dir(&directory).map(|_| ()),
        })
        .await
    }

    /// A write that begins now may land until the gate is closed.
    fn pass(&self) -> Pass {
        Pass { opened: *self.gate.read().unwrap_or_else(PoisonError::into_inner), gate: Arc::clone(&self.gate) }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, u64> {
        self.journalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write to a partial file, as long as its gate is not closed.
struct Pass {
    gate: Arc<RwLock<u64>>,
    opened: u64,
}

impl Pass {
    fn through<T>(&self, write: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let now = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if *now == self.opened {
            write()
        } else {
            Err(std::io::Error::other("the fill has gone on without this write"))
        }
    }
}

/// Waits for the writes that are under way, and lets none of those land that have not begun.
fn close(gate: &RwLock<u64>) {
    *gate.write().unwrap_or_else(PoisonError::into_inner) += 1;
}

/// Everything in a directory of partial files: what it takes of the disk, and when it was last written to. `None`: nothing.
pub(super) fn measure(directory: &Path) -> std::io::Result<Option<(u64, SystemTime)>> {
    let mut found: Option<(u64, SystemTime)> = None;
    for entry in disk::list(directory)? {
        let Some(file) = disk::optional(disk::metadata(&directory.join(&entry.name)))? else { continue };
        let (bytes, last) = found.unwrap_or((0, SystemTime::UNIX_EPOCH));
        found = Some((bytes + file.blocks() * 512, last.max(file.modified()?)));
    }
    Ok(found)
}

/// Removes a directory of partial files unless a fill, in this process or another, holds one of them. Says whether it did.
pub(super) fn remove(directory: &Path) -> std::io::Result<bool> {
    let mut locked = Vec::new();
    for entry in disk::list(directory)?.iter().filter(|entry| entry.name.starts_with("data")) {
        let Some(file) = disk::optional(disk::open(&directory.join(&entry.name)))? else { continue };
        if !disk::try_lock(&file)? {
            return Ok(false);
        }
        // Held until the directory is gone: nobody takes it up meanwhile.
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

/// The digest whose content `hasher` saw, against what was asked for.
pub fn verified(hasher: Hasher, expected: &Digest) -> Result<(), StoreError> {
    let found = hasher.finish();
    if found == *expected { Ok(()) } else { Err(StoreError::Mismatch { expected: *expected, found }) }
}
