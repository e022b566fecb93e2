//! The locks of links. A link is read and then replaced by one caller at a time, so that no right is lowered.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::oci::MirroredName;

/// The number of locks. Repositories share them.
const LOCKS: usize = 64;

/// The locks of the links of all repositories. They are async, because they are held during operations of the disk: a
/// caller that waits for another one keeps no thread.
pub(super) struct LinkLocks {
    hasher: RandomState,
    locks: Vec<Arc<Mutex<()>>>,
}

impl LinkLocks {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), locks: (0..LOCKS).map(|_| Arc::default()).collect() }
    }

    /// Waits for the lock of a repository's links.
    pub(super) async fn lock(&self, name: &MirroredName) -> OwnedMutexGuard<()> {
        // The remainder is less than the number of locks, which is a usize.
        let number = (self.hasher.hash_one(name) % LOCKS as u64) as usize;
        Arc::clone(&self.locks[number]).lock_owned().await
    }
}
