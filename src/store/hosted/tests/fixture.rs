//! A hosted store to test, and a macro that runs each test over both drivers.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::memory::MemoryDriver;
use crate::oci::{Algorithm, Digest, ReferrersQuery, RepositoryName, Tag};
use crate::store::driver::{DiskDriver, Driver};
use crate::store::{HostedStore, RepositoryLock, Share, StoredBlob};
use crate::sys::Clock;

/// A hosted store over one driver.
pub struct Fixture {
    pub store: HostedStore,
    pub driver: Arc<dyn Driver>,
    pub clock: Clock,
    pub directory: tempfile::TempDir,
}

impl Fixture {
    pub fn on_disk() -> Self {
        Self::new(|directory, _| Arc::new(DiskDriver::new(directory)))
    }

    pub fn in_memory() -> Self {
        Self::new(|_, clock| Arc::new(MemoryDriver::new(clock.clone())))
    }

    fn new(driver: impl Fn(&Path, &Clock) -> Arc<dyn Driver>) -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let driver = driver(directory.path(), &clock);
        let store = HostedStore::new(Arc::clone(&driver), clock.clone());
        Self { store, driver, clock, directory }
    }

    /// Puts another driver in front of the fixture's own.
    pub fn over(self, driver: Arc<dyn Driver>) -> Self {
        let store = HostedStore::new(Arc::clone(&driver), self.clock.clone());
        Self { store, driver, ..self }
    }

    /// Returns a store that shares only the driver, as a restarted process does.
    pub fn restarted(&self) -> HostedStore {
        HostedStore::new(Arc::clone(&self.driver), self.clock.clone())
    }

    /// Returns the lock of a repository, which is held alone.
    pub async fn alone(&self, repository: &RepositoryName) -> RepositoryLock {
        self.store.lock(repository, Share::Alone).await.unwrap()
    }

    /// Pushes a blob in one piece.
    pub async fn push(&self, repository: &RepositoryName, content: &[u8]) -> Digest {
        let id = self.store.start_upload(repository, Algorithm::Sha256).await.unwrap();
        let mut upload = self.store.upload(repository, &id).await.unwrap();
        upload.append(Bytes::from(content.to_vec())).await.unwrap();
        let verified = self.store.verify(upload, &sha256(content)).await.unwrap();
        self.store.publish(verified).await.unwrap();
        sha256(content)
    }

    pub async fn put(&self, repository: &RepositoryName, body: &str) -> Digest {
        let digest = sha256(body.as_bytes());
        self.store.put_manifest(repository, &digest, Bytes::from(body.to_owned()), None).await.unwrap();
        digest
    }

    pub async fn tags(&self, repository: &RepositoryName) -> Vec<String> {
        self.store.tags(repository, None, 100).await.unwrap().entries
    }

    pub async fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> usize {
        let query = ReferrersQuery { subject: *subject, artifact_type: None, n: None, last: None };
        self.store.referrers(repository, &query).await.unwrap().referrers.descriptors().len()
    }
}

/// Runs each test over both drivers.
macro_rules! over_both_drivers {
    ($($test:ident)*) => {
        mod on_disk {
            $(#[tokio::test]
            pub async fn $test() {
                super::$test(super::Fixture::on_disk()).await;
            })*
        }

        mod in_memory {
            $(#[tokio::test]
            pub async fn $test() {
                super::$test(super::Fixture::in_memory()).await;
            })*
        }
    };
}

pub(super) use over_both_drivers;

pub fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub async fn read(blob: StoredBlob) -> Vec<u8> {
    let (mut extent, mut content) = (blob.extent(), Vec::new());
    loop {
        let piece = extent.read(7).await.unwrap();
        if piece.is_empty() {
            return content;
        }
        content.extend_from_slice(&piece);
    }
}
