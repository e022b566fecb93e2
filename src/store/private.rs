//! Entrepot's own records of hosted repositories: the account that pushed a manifest and when, and the last pull of
//! each tag.
//!
//! Rules of retention will use these records. They are not synced, so that pushes and pulls need not wait, and a crash
//! may lose the newest of them. Everything here lies below `entrepot/`, which only the owner of the process may read.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::driver::{Backend, Driver, Durability};
use super::key::ObjectKey;
use super::layout;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::sys::{Clock, Tasks};

/// A tag's last pull is written at most once in this time.
const PULL_INTERVAL: Duration = Duration::from_secs(60);

/// The number of tags whose last written pull is kept in memory. A tag that was dropped from memory is written once
/// more.
const REMEMBERED_PULLS: u64 = 10_000;

/// The latest push of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRecord {
    /// The account that pushed the manifest; `None` if the push was anonymous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The time of the push, in seconds since 1970.
    pub at: u64,
}

/// The latest pull of a tag.
#[derive(Serialize, Deserialize)]
struct PullRecord {
    /// The time of the pull, in seconds since 1970.
    at: u64,
}

/// Reads and writes the records.
#[derive(Clone)]
pub struct PrivateStore {
    backend: Backend,
    clock: Clock,
    /// The time at which the last pull of each tag was written.
    written: moka::sync::Cache<(RepositoryName, Tag), SystemTime>,
}

impl PrivateStore {
    pub(super) fn new(backend: Backend, clock: Clock) -> Self {
        Self { backend, clock, written: moka::sync::Cache::new(REMEMBERED_PULLS) }
    }

    /// Records that a manifest was pushed now.
    pub async fn record_push(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        by: Option<String>,
    ) -> Result<(), StoreError> {
        let record = PushRecord { by, at: self.seconds() };
        self.write(layout::push(repository, digest), &record).await
    }

    /// Returns the latest push of a manifest, if one was recorded.
    pub async fn last_push(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<PushRecord>, StoreError> {
        self.read(layout::push(repository, digest)).await
    }

    /// Returns true if a pull of this tag should be recorded now. Does not block and reads no file.
    pub fn is_pull_due(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        let written = self.written.get(&(repository.clone(), tag.clone()));
        // A clock that was set back makes the last record one of the future, so a new one is due.
        written.is_none_or(|at| self.clock.now().duration_since(at).map_or(true, |since| since >= PULL_INTERVAL))
    }

    /// Records that a tag was pulled now, unless that was recorded less than a minute ago.
    pub async fn record_pull(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        if !self.is_pull_due(repository, tag) {
            return Ok(());
        }
        let key = (repository.clone(), tag.clone());
        self.written.insert(key.clone(), self.clock.now());
        let written = self.write(layout::pull(repository, tag), &PullRecord { at: self.seconds() }).await;
        if written.is_err() {
            // The next pull tries again.
            self.written.invalidate(&key);
        }
        written
    }

    /// Records a push. A failure is logged: the push itself succeeded.
    pub async fn note_push(&self, repository: &RepositoryName, digest: &Digest, by: Option<String>) {
        if let Err(error) = self.record_push(repository, digest, by).await {
            tracing::warn!(%error, %repository, %digest, "the push of a manifest could not be recorded");
        }
    }

    /// Records a pull in a task of its own if that is due, so that the pull does not wait for it. A failure is logged.
    pub fn note_pull(&self, tasks: &Tasks, repository: &RepositoryName, tag: &Tag) {
        if !self.is_pull_due(repository, tag) {
            return;
        }
        let (store, repository, tag) = (self.clone(), repository.clone(), tag.clone());
        tasks.spawn(async move {
            let recorded = async {
                store.record_pull(&repository, &tag).await?;
                store.drop_pull_of_deleted(&repository, &tag).await
            };
            if let Err(error) = recorded.await {
                tracing::warn!(%error, %repository, %tag, "the pull of a tag could not be recorded");
            }
        });
    }

    /// Returns when a tag was last pulled, in seconds since 1970, if that was recorded. The answer may be a minute too
    /// old.
    pub async fn last_pull(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<u64>, StoreError> {
        Ok(self.read::<PullRecord>(layout::pull(repository, tag)).await?.map(|record| record.at))
    }

    /// Removes the record of a pull if its tag was deleted while the record was written. A later tag of that name must not
    /// inherit it.
    async fn drop_pull_of_deleted(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        let (tag_key, record) = (layout::tag(repository, tag), layout::pull(repository, tag));
        let at = record.clone();
        let drop_deleted = move |driver: &dyn Driver| {
            if !driver.exists(&tag_key)? {
                driver.remove(&record)?;
            }
            Ok(())
        };
        self.backend.run("remove", &at, drop_deleted).await
    }

    fn seconds(&self) -> u64 {
        self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Reads a record; a damaged one counts as missing.
    async fn read<T: for<'de> Deserialize<'de>>(&self, key: ObjectKey) -> Result<Option<T>, StoreError> {
        let at = key.clone();
        let json = self.backend.run("read", &at, move |driver: &dyn Driver| driver.read(&key)).await?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    async fn write(&self, key: ObjectKey, record: &impl Serialize) -> Result<(), StoreError> {
        let json = serde_json::to_vec(record).expect("strings and numbers are always JSON");
        let at = key.clone();
        self.backend.run("write", &at, move |driver| driver.write(&key, &json, Durability::Unsynced)).await
    }
}
