//! The store of pushed content.

use std::sync::Arc;

use super::locks::{AllLocks, Locks, RepositoryLock};
use super::revisions::Revisions;
use super::upload::{Reclaiming, UploadTable};
use crate::oci::RepositoryName;
use crate::store::bad_entries::{BadEntries, BadEntry};
use crate::store::directory::{Holders, Names, TagLists};
use crate::store::driver::{Backend, Driver};
use crate::store::private::PrivateStore;
use crate::store::{StoreError, layout};
use crate::sys::Clock;
use crate::sys::disk::Share;

/// Pushed content over one driver. It is never evicted.
#[derive(Clone)]
pub struct HostedStore {
    pub(in crate::store) backend: Backend,
    pub(in crate::store) names: Names,
    pub(in crate::store) revisions: Arc<Revisions>,
    pub(in crate::store) holders: Arc<Holders>,
    pub(super) tag_lists: Arc<TagLists>,
    pub(super) uploads: Arc<UploadTable>,
    pub(super) reclaiming: Arc<Reclaiming>,
    locks: Locks,
    private: PrivateStore,
    pub(in crate::store) bad: Arc<BadEntries>,
    pub(in crate::store) clock: Clock,
}

impl HostedStore {
    pub(in crate::store) fn new(driver: Arc<dyn Driver>, clock: Clock) -> Self {
        let backend = Backend::new(driver);
        let bad = Arc::clone(backend.bad());
        let is_name = |name: &str| name.parse::<RepositoryName>().is_ok();
        Self {
            names: Names::new(backend.clone(), layout::repositories(), is_name, clock.clone(), Arc::clone(&bad)),
            revisions: Arc::default(),
            holders: Arc::default(),
            tag_lists: Arc::new(TagLists::new()),
            uploads: Arc::default(),
            reclaiming: Arc::default(),
            locks: Locks::new(backend.clone()),
            private: PrivateStore::new(backend.clone(), clock.clone()),
            backend,
            bad,
            clock,
        }
    }

    /// Waits for the lock of a repository, under which it is changed. A caller that stops waiting holds nothing.
    pub async fn lock(&self, repository: &RepositoryName, share: Share) -> Result<RepositoryLock, StoreError> {
        self.locks.lock(repository, share).await
    }

    /// Waits for the locks of all repositories: nothing that was pushed changes while they are held, apart from
    /// uploads.
    pub async fn lock_all(&self) -> Result<AllLocks, StoreError> {
        self.locks.lock_all().await
    }

    /// Returns the entries of pushed content that walks have found and that still cannot be used.
    pub async fn bad_entries(&self) -> Vec<BadEntry> {
        self.bad.list().await
    }

    /// Returns the records of pushes and pulls.
    pub fn private(&self) -> &PrivateStore {
        &self.private
    }
}
