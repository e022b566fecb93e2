//! Locks of the cache's records and blobs, which are held during operations of the disk.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// The number of locks. Keys share them.
const LOCKS: usize = 256;

/// The locks of all keys of one kind. They are async: a caller that waits for another one keeps no thread.
pub(super) struct CacheLocks {
    hasher: RandomState,
    locks: Vec<Arc<Mutex<()>>>,
}

/// The lock of one key. Others with the same key wait until it is dropped.
pub struct CacheLock {
    _held: OwnedMutexGuard<()>,
}

impl CacheLocks {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), locks: (0..LOCKS).map(|_| Arc::default()).collect() }
    }

    /// Waits for the lock of a key. A caller must not hold another lock of the same kind.
    pub(super) async fn lock(&self, key: impl Hash) -> CacheLock {
        // The remainder is less than the number of locks, which is a usize.
        let number = (self.hasher.hash_one(key) % LOCKS as u64) as usize;
        CacheLock { _held: Arc::clone(&self.locks[number]).lock_owned().await }
    }
}
