//! Files that a crash or a failing disk has left, and that nothing uses.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::store::Store;
use crate::sys::{Clock, Moment};

/// A file is written within seconds, so an older temporary file belongs to no writer, in this process or another.
const TEMPORARY_AGE: Duration = Duration::from_secs(3600);

/// The search reads every directory of the store, so a full disk begins it at most once in this time.
const SEARCH_EVERY: Duration = Duration::from_secs(600);

/// Removes temporary files and deleted content that earlier runs have left.
pub(in crate::registry) struct UnusedFiles {
    store: Store,
    clock: Clock,
    /// The beginning of the last search on a full disk. A std `Mutex`: held for one assignment.
    searched: Mutex<Option<Moment>>,
}

impl UnusedFiles {
    pub(in crate::registry) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, searched: Mutex::default() }
    }

    /// Removes old temporary files and trash. Returns false if it found none, or if another search began a short time ago.
    pub(super) async fn remove(&self) -> bool {
        if !self.may_search() {
            return false;
        }
        let removed = self.store.empty_trash().await + self.remove_temporary().await;
        removed > 0
    }

    /// Removes temporary files that are too old to belong to a writer. Returns their number.
    pub(in crate::registry) async fn remove_temporary(&self) -> u64 {
        let removed = self.store.remove_temporary(TEMPORARY_AGE).await;
        if removed > 0 {
            tracing::info!(removed, "removed temporary files that an earlier run of a server has left");
        }
        removed
    }

    fn may_search(&self) -> bool {
        let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = searched.is_none_or(|at| self.clock.since(at) >= SEARCH_EVERY);
        if is_due {
            *searched = Some(self.clock.moment());
        }
        is_due
    }
}
