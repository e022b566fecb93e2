//! The bytes of a blob that have arrived: its readers follow them, and its hash follows them.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::extents::Extents;
use super::paths::on_disk;
use crate::oci::{Algorithm, Hasher, Span};
use crate::store::blob::hash_span;
use crate::store::{StoreError, StoredBlob};
use crate::sys::{Extent, ReadAt};

/// The number of bytes that are hashed at a time, so that a hash whose caller has left ends soon.
const HASHED_AT_ONCE: u64 = 4 << 20;

/// A file, and the stretches of it that have arrived. Bytes outside them must not be read.
#[derive(Debug)]
pub struct Arrivals {
    content: Arc<dyn ReadAt>,
    /// A std `Mutex`: held only for operations on the set.
    extents: Mutex<Extents>,
}

impl Arrivals {
    pub(super) fn new(content: Arc<dyn ReadAt>, extents: Extents) -> Self {
        Self { content, extents: Mutex::new(extents) }
    }

    /// Returns the arrivals of a complete blob.
    pub fn whole(stored: &StoredBlob) -> Self {
        let mut extents = Extents::default();
        extents.insert(Span { start: 0, end: stored.size });
        Self::new(Arc::clone(&stored.content), extents)
    }

    /// Returns a stretch of the file, all of which must have arrived.
    pub fn extent(&self, offset: u64, len: u64) -> Extent {
        Extent::new(Arc::clone(&self.content), offset, len)
    }

    /// Returns the number of bytes that have arrived from the beginning on without a hole.
    pub fn prefix(&self) -> u64 {
        self.extents().prefix()
    }

    /// Returns the number of bytes that have arrived.
    pub fn total(&self) -> u64 {
        self.extents().total()
    }

    /// Returns the end of the bytes that have arrived from `position` on without a hole.
    pub fn end_of(&self, position: u64) -> u64 {
        self.extents().end_of(position)
    }

    pub fn snapshot(&self) -> Extents {
        self.extents().clone()
    }

    /// Locks the set, to read or to change it.
    pub(super) fn extents(&self) -> MutexGuard<'_, Extents> {
        // Each operation of `Extents` leaves a valid set, even if its caller panics.
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running hash over the bytes that have arrived without a hole. It reads the bytes back, mostly from the page
/// cache, so they may arrive in any order and do not wait for each other.
#[derive(Clone)]
pub struct PrefixHash {
    hasher: Hasher,
    position: u64,
}

impl PrefixHash {
    pub fn new(algorithm: Algorithm) -> Self {
        Self { hasher: Hasher::new(algorithm), position: 0 }
    }

    /// Returns the end of the hashed bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the hash up to [`Self::position`], to be continued.
    pub fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    /// Continues the hash, at most up to `to`. Dropping the future loses only work.
    pub async fn advance(&mut self, arrivals: &Arrivals, to: u64) -> Result<(), StoreError> {
        let span = Span { start: self.position, end: to.min(self.position + HASHED_AT_ONCE) };
        let (content, hasher) = (Arc::clone(&arrivals.content), self.hasher.clone());
        // The path of the file is not known here.
        let hash = move || hash_span(&*content, span, hasher);
        self.hasher = on_disk("read back", Path::new("a partial blob"), hash).await?;
        self.position = span.end;
        Ok(())
    }
}
