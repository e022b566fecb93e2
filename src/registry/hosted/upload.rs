//! A push that is arriving. What is private comes before what is cached: when the disk is full, the cache gives way to it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Hosted;
use crate::cache::GIVEN_UP;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::{Registry, RegistryError};
use crate::store::{self, Share, StoreError, UploadId};

/// An upload, taken by one request. Dropping it leaves it resumable.
pub struct Upload {
    registry: Arc<Registry>,
    repository: RepositoryName,
    id: UploadId,
    inner: store::Upload,
}

impl Upload {
    pub(super) async fn take(
        registry: &Arc<Registry>,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Self, StoreError> {
        let inner = registry.store().hosted.upload(repository, id).await?;
        Ok(Self { registry: Arc::clone(registry), repository: repository.clone(), id: id.clone(), inner })
    }

    /// Bytes received so far.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// It will be called by a digest of this algorithm.
    pub fn expect(&mut self, algorithm: Algorithm) {
        self.inner.expect(algorithm);
    }

    /// Writes a piece at its end. When the disk stays full the upload is given up, and what it took is free again.
    pub async fn append(&mut self, piece: Bytes) -> Result<(), RegistryError> {
        let mut appended = self.inner.append(piece.clone()).await;
        // What was evicted may be open or linked elsewhere, and then frees nothing: on until there is room or nothing is left.
        while is_full(&appended) && self.registry.quota().give_way(GIVEN_UP).await {
            appended = self.inner.append(piece.clone()).await;
        }
        if is_full(&appended) {
            self.registry.store().hosted.discard(&mut self.inner).await?;
        }
        Ok(appended?)
    }

    /// Ends it: verified, synced, found under its digest from now on.
    pub(super) async fn commit(self, digest: &Digest) -> Result<(), RegistryError> {
        let Self { registry, repository, id, inner } = self;
        let store = &registry.store().hosted;
        let end = async |upload| {
            let verified = store.verify(upload, digest).await?;
            // Whoever deletes is alone, and so finds the link whole or not at all.
            let (turn, store) = (store.lock(&repository, Share::Shared).await?, store.clone());
            let publish = async move {
                let _turn = turn;
                store.publish(verified).await
            };
            registry.tasks().finish(publish).await
        };
        let mut committed = end(inner).await;
        while is_full(&committed) && registry.quota().give_way(GIVEN_UP).await {
            let again = store.upload(&repository, &id).await?;
            committed = end(again).await;
        }
        Ok(committed?)
    }
}

/// An upload that nobody was told of, and so nobody can take up again: removed when this is dropped before its end.
pub struct Untold {
    /// `None` once it has ended.
    hosted: Option<Hosted>,
    id: UploadId,
}

impl Untold {
    /// What its last write takes, at most, in [`Untold::PAUSE`]s.
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(100);

    pub(super) fn new(hosted: Hosted, id: UploadId) -> Self {
        Self { hosted: Some(hosted), id }
    }

    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// It was committed: there is nothing to remove.
    pub fn ended(mut self) {
        self.hosted = None;
    }

    /// Removes it now. What went wrong before matters more than whether this works: what is left is removed by its age.
    pub async fn remove(mut self) {
        if let Some(hosted) = &self.hosted {
            Self::cancel(hosted, &self.id).await;
        }
        // Not before: this may be dropped while it waits.
        self.hosted = None;
    }

    async fn cancel(hosted: &Hosted, id: &UploadId) {
        for _ in 0..Self::TRIES {
            match hosted.cancel_upload(id).await {
                // A write that was begun goes on without its request.
                Err(RegistryError::UploadBusy { .. }) => tokio::time::sleep(Self::PAUSE).await,
                _ => return,
            }
        }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(hosted) = self.hosted.take() {
            let (tasks, id) = (hosted.registry.tasks().clone(), self.id.clone());
            tasks.spawn(async move { Self::cancel(&hosted, &id).await });
        }
    }
}

impl Registry {
    /// Writes something private; when the disk is full, again after the cache has given way.
    pub(super) async fn with_room<T, F>(&self, write: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut written = write().await;
        while is_full(&written) && self.quota().give_way(GIVEN_UP).await {
            written = write().await;
        }
        written
    }
}

fn is_full<T>(outcome: &Result<T, StoreError>) -> bool {
    outcome.as_ref().is_err_and(StoreError::is_full)
}
