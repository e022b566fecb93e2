//! The bytes of an arriving blob that were written last. The hash and the readers that keep up take them from memory, and
//! need not read them back.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::Batch;
use crate::sys::ReadAt;
use crate::sys::disk::LockedFile;

/// The most bytes that are kept of one blob …
const KEPT: u64 = 4 << 20;
/// … and of all blobs together.
const MEMORY: usize = 32 << 20;
/// A batch whose pieces are shorter than this on average is not kept: each may hold on to a longer buffer.
const SHORT: u64 = 4 << 10;

/// The memory for the bytes that are kept of all arriving blobs.
#[derive(Clone, Debug)]
pub(super) struct RecentMemory(Arc<Semaphore>);

impl RecentMemory {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY)))
    }
}

/// The batches of one blob that were written last, the oldest first.
#[derive(Debug)]
pub(super) struct RecentBatches {
    memory: RecentMemory,
    /// A std `Mutex`: held for operations on the list.
    batches: Mutex<VecDeque<(Batch, OwnedSemaphorePermit)>>,
}

impl RecentBatches {
    pub(super) fn new(memory: RecentMemory) -> Self {
        Self { memory, batches: Mutex::default() }
    }

    /// Keeps a batch that is on the disk now, if there is memory for it.
    pub(super) fn keep(&self, batch: Batch) {
        let len = batch.span().len();
        if len > KEPT || len < SHORT * batch.pieces().len() as u64 {
            return;
        }
        let mut batches = self.batches();
        let mut kept: u64 = batches.iter().map(|(batch, _)| batch.span().len()).sum();
        while kept + len > KEPT
            && let Some((oldest, _)) = batches.pop_front()
        {
            kept -= oldest.span().len();
        }
        // At most `KEPT`, so it fits.
        if let Ok(memory) = Arc::clone(&self.memory.0).try_acquire_many_owned(len as u32) {
            batches.push_back((batch, memory));
        }
    }

    /// Forgets all batches.
    pub(super) fn clear(&self) {
        self.batches().clear();
    }

    /// Returns up to `most` bytes from `offset` on, if they are kept.
    fn bytes_at(&self, offset: u64, most: usize) -> Option<Bytes> {
        self.batches().iter().find_map(|(batch, _)| batch.bytes_at(offset, most))
    }

    fn batches(&self) -> MutexGuard<'_, VecDeque<(Batch, OwnedSemaphorePermit)>> {
        // Each operation leaves a list of written batches, even if its caller panics.
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of an arriving blob, with the bytes that were written last.
#[derive(Debug)]
pub(super) struct ArrivingFile {
    pub(super) file: Arc<LockedFile>,
    pub(super) recent: Arc<RecentBatches>,
}

impl ReadAt for ArrivingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        ReadAt::read_at(&*self.file, buffer, offset)
    }

    fn held(&self, offset: u64, most: usize) -> Option<Bytes> {
        self.recent.bytes_at(offset, most)
    }

    fn read_cached(&self, offset: u64, most: usize) -> Option<Bytes> {
        self.held(offset, most).or_else(|| self.file.read_cached(offset, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(start: u64, len: usize) -> Batch {
        Batch::new(start, vec![Bytes::from(vec![7; len])])
    }

    fn kept(recent: &RecentBatches) -> Vec<u64> {
        recent.batches().iter().map(|(batch, _)| batch.span().start).collect()
    }

    #[test]
    fn newest_batches_are_kept_within_the_memory_of_all_blobs() {
        const MIB: usize = 1 << 20;
        let memory = RecentMemory(Arc::new(Semaphore::new(6 * MIB)));
        let (first, second) = (RecentBatches::new(memory.clone()), RecentBatches::new(memory));
        for at in 0..6 {
            first.keep(batch(at * MIB as u64, MIB));
        }
        assert_eq!(kept(&first), [2, 3, 4, 5].map(|at| at << 20), "a blob keeps 4 MiB");
        for at in 0..3 {
            second.keep(batch(at * MIB as u64, MIB));
        }
        assert_eq!(kept(&second), [0, 1 << 20], "there is no memory for more");
        first.clear();
        second.keep(batch(2 * MIB as u64, MIB));
        assert_eq!(kept(&second), [0, 1, 2].map(|at| at << 20));
        assert_eq!(second.bytes_at(MIB as u64 - 1, 10).unwrap().len(), 1, "bytes of one piece");
        assert!(second.bytes_at(3 * MIB as u64, 1).is_none() && first.bytes_at(0, 1).is_none());
    }

    #[test]
    fn batches_of_short_pieces_and_very_long_ones_are_not_kept() {
        let recent = RecentBatches::new(RecentMemory::new());
        recent.keep(Batch::new(0, vec![Bytes::from_static(b"x"); 100]));
        recent.keep(batch(0, KEPT as usize + 1));
        assert!(kept(&recent).is_empty());
    }
}
