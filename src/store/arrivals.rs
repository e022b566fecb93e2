//! What of a blob is on the disk while it arrives: what its readers follow, and what its hash follows.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::upload::hash_on;
use super::{Extents, StoreError, StoredBlob, on_disk};
use crate::oci::{Algorithm, Hasher, Span};

/// So much is hashed at a time, so that a hash that is not waited for ends soon.
const HASHED_AT_ONCE: u64 = 4 << 20;

/// A file, and which stretches of it have arrived. What lies outside them is not to be read.
#[derive(Debug)]
pub struct Arrivals {
    file: Arc<File>,
    /// A std `Mutex`: held for operations on the set only.
    extents: Mutex<Extents>,
}

impl Arrivals {
    pub(super) fn new(file: Arc<File>, extents: Extents) -> Self {
        Self { file, extents: Mutex::new(extents) }
    }

    /// A blob that is whole.
    pub fn whole(stored: &StoredBlob) -> Self {
        let mut extents = Extents::default();
        extents.insert(Span { start: 0, end: stored.size });
        Self::new(Arc::clone(&stored.file), extents)
    }

    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// How much has arrived from the beginning on without a hole.
    pub fn prefix(&self) -> u64 {
        self.extents().prefix()
    }

    /// How many bytes have arrived.
    pub fn total(&self) -> u64 {
        self.extents().total()
    }

    /// How far the bytes from `position` on have arrived without a hole.
    pub fn end_of(&self, position: u64) -> u64 {
        self.extents().end_of(position)
    }

    pub fn snapshot(&self) -> Extents {
        self.extents().clone()
    }

    /// Looks at the set, or changes it.
    pub(super) fn extents(&self) -> MutexGuard<'_, Extents> {
        // A set that a panic left in the middle of a change would be a defect of `Extents`, which has no such middle.
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running hash over what has arrived without a hole. It reads the bytes back, mostly from the page cache: so they may
/// arrive in any order, and none waits for its turn.
#[derive(Clone)]
pub struct PrefixHash {
    hasher: Hasher,
    position: u64,
}

impl PrefixHash {
    pub fn new(algorithm: Algorithm) -> Self {
        Self { hasher: Hasher::new(algorithm), position: 0 }
    }

    /// It has seen everything before.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The hash up to [`Self::position`], to go on from.
    pub fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    /// Goes on, at most up to `to`. Dropping it midway loses nothing but work.
    pub async fn advance(&mut self, arrivals: &Arrivals, to: u64) -> Result<(), StoreError> {
        let span = Span { start: self.position, end: to.min(self.position + HASHED_AT_ONCE) };
        let (file, hasher) = (Arc::clone(&arrivals.file), self.hasher.clone());
        // The file has no name here that means something to anybody: it is one of the partial ones.
        self.hasher = on_disk("read back", Path::new("a partial blob"), move || hash_on(&file, span, hasher)).await?;
        self.position = span.end;
        Ok(())
    }
}
