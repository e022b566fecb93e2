//! The records of pulls of tags.

use std::time::SystemTime;

use super::store::HostedStore;
use crate::oci::{RepositoryName, Tag};
use crate::store::driver::{Driver, Durability};
use crate::store::{Share, StoreError, layout};
use crate::sys::Tasks;

impl HostedStore {
    /// Records a pull in a task of its own if that is due, so that the pull does not wait for it. `pushed_at` is the time
    /// of the push that the pull found. A failure is logged.
    pub fn note_pull(&self, tasks: &Tasks, repository: &RepositoryName, tag: &Tag, pushed_at: Option<SystemTime>) {
        if !self.private().claim_pull(repository, tag, pushed_at) {
            return;
        }
        let (store, repository, tag) = (self.clone(), repository.clone(), tag.clone());
        tasks.spawn(async move {
            if let Err(error) = store.record_pull(&repository, &tag, pushed_at).await {
                tracing::warn!(%error, %repository, %tag, "the pull of a tag could not be recorded");
            }
        });
    }

    /// Records a pull, unless the tag was deleted or pushed again since. A deletion holds the lock alone, in whichever
    /// process it runs, so a record never outlives its tag.
    pub(super) async fn record_pull(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        pushed_at: Option<SystemTime>,
    ) -> Result<(), StoreError> {
        let _lock = self.lock(repository, Share::Shared).await?;
        let (link, record) = (layout::tag_current(repository, tag), layout::pull(repository, tag));
        let (at, json) = (record.clone(), self.private().pull_record());
        let write = move |driver: &dyn Driver| match driver.stat(&link)? {
            Some(found) if found.modified == pushed_at => driver.write(&record, &json, Durability::Unsynced),
            _ => Ok(()),
        };
        self.backend.change("write", &at, write).await
    }
}
