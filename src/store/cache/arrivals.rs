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

/// A file, and the extents of it that have arrived. Bytes outside them must not be read.
#[derive(Debug)]
pub struct Arrivals {
    content: Arc<dyn ReadAt>,
    /// A std `Mutex`: held only for operations on the sets.
    sets: Mutex<ExtentSets>,
}

/// The extents of a file that have arrived, and those that are being written.
#[derive(Debug, Default)]
struct ExtentSets {
    arrived: Extents,
    writing: Extents,
}

impl Arrivals {
    pub(super) fn new(content: Arc<dyn ReadAt>, extents: Extents) -> Self {
        Self { content, sets: Mutex::new(ExtentSets { arrived: extents, writing: Extents::default() }) }
    }

    /// Returns the arrivals of a complete blob.
    pub fn whole(stored: &StoredBlob) -> Self {
        let mut extents = Extents::default();
        extents.insert(Span { start: 0, end: stored.size });
        Self::new(Arc::clone(&stored.content), extents)
    }

    /// Returns an extent of the file, all of which must have arrived.
    pub fn extent(&self, offset: u64, len: u64) -> Extent {
        Extent::new(Arc::clone(&self.content), offset, len)
    }

    /// Returns the whole file. Bytes that have not arrived must not be read.
    pub(super) fn content(&self) -> Arc<dyn ReadAt> {
        Arc::clone(&self.content)
    }

    /// Returns the number of bytes that have arrived from the beginning on without a hole.
    pub fn prefix(&self) -> u64 {
        self.sets().arrived.prefix()
    }

    /// Returns the number of bytes that have arrived.
    pub fn total(&self) -> u64 {
        self.sets().arrived.total()
    }

    /// Returns the end of the bytes that have arrived from `position` on without a hole.
    pub fn end_of(&self, position: u64) -> u64 {
        self.sets().arrived.end_of(position)
    }

    pub fn snapshot(&self) -> Extents {
        self.sets().arrived.clone()
    }

    /// Returns the number of bytes of this span that have not arrived and are not being written.
    pub fn missing_in(&self, within: Span) -> u64 {
        let sets = self.sets();
        sets.arrived.missing_in_both(&sets.writing, within).iter().map(|span| span.len()).sum()
    }

    /// Replaces the set of the bytes that have arrived. No write may be running.
    pub(super) fn replace(&self, arrived: Extents) {
        self.sets().arrived = arrived;
    }

    /// Claims those parts of `within` that have not arrived and that no other write has claimed. So no byte is written
    /// twice at the same time, and none is replaced after it has arrived.
    pub(super) fn claim(&self, within: Span) -> Vec<WriteClaim<'_>> {
        let mut sets = self.sets();
        let free = sets.arrived.missing_in_both(&sets.writing, within);
        free.iter().for_each(|span| sets.writing.insert(*span));
        free.into_iter().map(|span| WriteClaim { arrivals: self, span }).collect()
    }

    fn sets(&self) -> MutexGuard<'_, ExtentSets> {
        // Each operation of `Extents` leaves a valid set, even if its caller panics.
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A span that only one write may write. If it is dropped, other writes may claim the span again.
#[derive(Debug)]
pub(super) struct WriteClaim<'a> {
    arrivals: &'a Arrivals,
    pub(super) span: Span,
}

impl WriteClaim<'_> {
    /// Records that all bytes of the span are in the file.
    pub(super) fn arrived(self) {
        self.arrivals.sets().arrived.insert(self.span);
    }
}

impl Drop for WriteClaim<'_> {
    fn drop(&mut self) {
        self.arrivals.sets().writing.remove(self.span);
    }
}

/// The running hash over the bytes that have arrived without a hole. It takes the bytes from memory if they were written
/// just now, and reads the others back. So they may arrive in any order, and do not wait for each other.
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
