//! A blob that is arriving: a sparse file and the journal of what has arrived.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::extents::Extents;
use super::upload::hash_prefix;
use super::{StoreError, on_disk};
use crate::oci::{Algorithm, Digest, Hasher, Span};
use crate::sys::{disk, random_id};

/// After so many new bytes the journal is written again.
const JOURNAL_EVERY: u64 = 16 << 20;

/// A blob that is arriving, held by one fill. Dropping it leaves it to be taken up again.
pub struct Partial {
    directory: PathBuf,
    data: PathBuf,
    /// Locked (`flock`) as long as it is open, unless it is one of our own beside another process's.
    file: Arc<File>,
    extents: Extents,
    journalled: u64,
    shared: Shared,
}

/// May what is left of it be taken up again?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    Resumable,
    /// Another process fills the same digest: this file is ours alone.
    Own,
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
                let file = Arc::new(disk::open_writable(&data)?);
                let shared = Shared::Own;
                return Ok(Self { directory: within, data, file, extents: Extents::default(), journalled: 0, shared });
            }
            let journal = disk::optional(disk::read(&within.join("extents")))?.unwrap_or_default();
            let mut extents = Extents::from_journal(&String::from_utf8_lossy(&journal));
            extents.truncate(file.metadata()?.len());
            let (file, journalled, shared) = (Arc::new(file), extents.total(), Shared::Resumable);
            Ok(Self { directory: within, data, file, extents, journalled, shared })
        })
        .await
    }

    /// The file that readers follow. What lies outside the extents is not to be read.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub fn extents(&self) -> &Extents {
        &self.extents
    }

    /// The running hash over what has arrived without a hole, read again from the disk.
    pub async fn hash_prefix(&self, algorithm: Algorithm) -> Result<Hasher, StoreError> {
        let (file, prefix) = (Arc::clone(&self.file), self.extents.prefix());
        on_disk("read partial", &self.data, move || hash_prefix(&file, prefix, algorithm)).await
    }

    /// Writes a piece where it belongs, feeding `hasher`, which stands at `offset`.
    pub async fn write(&mut self, offset: u64, piece: Bytes, mut hasher: Hasher) -> Result<Hasher, StoreError> {
        let file = Arc::clone(&self.file);
        let span = Span { start: offset, end: offset + piece.len() as u64 };
        let hasher = on_disk("write partial", &self.data, move || {
            file.write_all_at(&piece, offset)?;
            hasher.update(&piece);
            Ok(hasher)
        })
        .await?;
        self.extents.insert(span);
        Ok(hasher)
    }

    /// Has so much arrived that the journal should be written again?
    pub fn journal_is_due(&self) -> bool {
        self.extents.total() - self.journalled >= JOURNAL_EVERY
    }

    /// Writes down what has arrived; the data is synced first, so that the journal never knows more than the file holds.
    pub async fn journal(&mut self) -> Result<(), StoreError> {
        if self.shared == Shared::Own || self.journalled == self.extents.total() {
            return Ok(());
        }
        let (file, journal, text) = (Arc::clone(&self.file), self.directory.join("extents"), self.extents.to_journal());
        on_disk("write journal", &self.directory, move || {
            file.sync_data()?;
            disk::write_replace(&journal, text.as_bytes())
        })
        .await?;
        self.journalled = self.extents.total();
        Ok(())
    }

    /// Lets go of the lock: from now on another fill may take it up.
    pub fn unlock(&self) {
        // It fails only for a file that was never locked.
        let _ = self.file.unlock();
    }

    /// Leaves it to be taken up again, unless nobody can: one of our own beside another process's goes.
    pub async fn abandon(self) {
        if self.shared == Shared::Own
            && let Err(error) = self.discard().await
        {
            tracing::warn!(%error, "a partial blob could not be removed");
        }
    }

    /// Forgets what has arrived: it is no beginning of this blob. Nobody may have read any of it.
    pub async fn restart(&mut self) -> Result<(), StoreError> {
        self.extents = Extents::default();
        self.journalled = 0;
        let (file, journal) = (Arc::clone(&self.file), self.directory.join("extents"));
        on_disk("empty partial", &self.data, move || {
            disk::remove(&journal)?;
            file.set_len(0)
        })
        .await
    }

    /// Makes it the whole blob that `to` is looked for at. The caller has verified the content.
    pub(super) async fn commit(self, to: &Path) -> Result<(), StoreError> {
        let (file, data, directory, to) = (self.file, self.data, self.directory.clone(), to.to_owned());
        let (keep_journal, whole) = (self.shared == Shared::Own, self.extents.prefix());
        on_disk("store", &self.directory, move || {
            // An earlier, longer attempt may have left a tail that no journal knows.
            file.set_len(whole)?;
            file.sync_data()?;
            disk::rename_durably(&data, &to)?;
            if !keep_journal {
                disk::remove_dir(&directory)?;
            }
            Ok(())
        })
        .await
    }

    /// Throws away what has arrived: it was not what it should be, or there is no room for it.
    pub async fn discard(self) -> Result<(), StoreError> {
        let (data, directory, shared) = (self.data, self.directory.clone(), self.shared);
        on_disk("discard partial", &self.directory, move || match shared {
            Shared::Own => disk::remove(&data).map(|_| ()),
            Shared::Resumable => disk::remove_dir(&directory).map(|_| ()),
        })
        .await
    }
}

/// The digest whose content `hasher` saw, against what was asked for.
pub fn verified(hasher: Hasher, expected: &Digest) -> Result<(), StoreError> {
    let found = hasher.finish();
    if found == *expected { Ok(()) } else { Err(StoreError::Mismatch { expected: *expected, found }) }
}
