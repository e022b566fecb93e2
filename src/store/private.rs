//! Entrepot's own records of hosted repositories: the account and the time of the latest push of each manifest, and
//! the time of the last pull of each tag.
//!
//! Rules of retention will use these records. A push waits until its record is written; a pull does not. The records
//! are not synced, so a crash may lose the newest of them. They lie below `entrepot/`, which only the owner of the
//! process may read.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::driver::{Backend, Driver, Durability};
use super::key::ObjectKey;
use super::layout;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::sys::{Clock, Moment};

/// A tag's last pull is recorded at most once in this time.
const PULL_INTERVAL: Duration = Duration::from_secs(60);

/// A longer record is damaged. A name of an account is much shorter.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// The number of tags whose last recorded pull is kept in memory. A tag that was dropped from memory is recorded once
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

/// A pull that one caller records.
#[derive(Clone, Copy)]
struct Claim {
    /// The time of the push that the pull found, if the driver knows it.
    pushed_at: Option<SystemTime>,
    at: Moment,
}

/// Reads and writes the records.
#[derive(Clone)]
pub struct PrivateStore {
    backend: Backend,
    clock: Clock,
    /// The last pull of each tag that was or is being recorded.
    claims: moka::sync::Cache<(RepositoryName, Tag), Claim>,
}

impl PrivateStore {
    pub(super) fn new(backend: Backend, clock: Clock) -> Self {
        Self { backend, clock, claims: moka::sync::Cache::new(REMEMBERED_PULLS) }
    }

    /// Records that a manifest was pushed now.
    pub async fn record_push(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        by: Option<String>,
    ) -> Result<(), StoreError> {
        let record = PushRecord { by, at: self.clock.unix_seconds() };
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

    /// Returns true if a pull of this tag should be recorded now, and counts it as recorded from then on: the caller
    /// records it. A record that fails is tried again after the usual time, so that a storage without space is not
    /// asked with each pull. `pushed_at` is the time of the push that the pull found. A tag that was deleted and pushed
    /// again has another one, so its first pull is recorded at once. Does not block and reads no file.
    pub(super) fn claim_pull(&self, repository: &RepositoryName, tag: &Tag, pushed_at: Option<SystemTime>) -> bool {
        let key = (repository.clone(), tag.clone());
        let is_due = |claim: &Claim| claim.pushed_at != pushed_at || self.clock.since(claim.at) >= PULL_INTERVAL;
        let due = self.claims.get(&key).is_none_or(|claim| is_due(&claim));
        if due {
            self.claims.insert(key, Claim { pushed_at, at: self.clock.moment() });
        }
        due
    }

    /// Returns the content of the record of a pull that happens now.
    pub(super) fn pull_record(&self) -> Vec<u8> {
        json(&PullRecord { at: self.clock.unix_seconds() })
    }

    /// Records a push. A failure is logged: the push itself succeeded.
    pub async fn note_push(&self, repository: &RepositoryName, digest: &Digest, by: Option<String>) {
        if let Err(error) = self.record_push(repository, digest, by).await {
            tracing::warn!(%error, %repository, %digest, "the push of a manifest could not be recorded");
        }
    }

    /// Returns when a tag was last pulled, in seconds since 1970, if that was recorded. The answer may be a minute too
    /// old.
    pub async fn last_pull(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<u64>, StoreError> {
        Ok(self.read::<PullRecord>(layout::pull(repository, tag)).await?.map(|record| record.at))
    }

    /// Reads a record. A damaged one counts as missing.
    async fn read<T: for<'de> Deserialize<'de>>(&self, key: ObjectKey) -> Result<Option<T>, StoreError> {
        let at = key.clone();
        let read = move |driver: &dyn Driver| match driver.stat(&key)? {
            Some(found) if found.size <= MAX_RECORD_BYTES => driver.read(&key),
            _ => Ok(None),
        };
        let json = self.backend.run("read", &at, read).await?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    async fn write(&self, key: ObjectKey, record: &impl Serialize) -> Result<(), StoreError> {
        let (json, at) = (json(record), key.clone());
        self.backend.change("write", &at, move |driver| driver.write(&key, &json, Durability::Unsynced)).await
    }
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("strings and numbers are always JSON")
}
