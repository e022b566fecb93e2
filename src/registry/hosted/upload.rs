//! Uploads of blobs to a hosted repository. On a full disk, space is made for them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::context::{HostedContext, is_full};
use super::repository::HostedRepository;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::error::RegistryError;
use crate::store::{self, Share, StoreError, UploadId};

/// The time that a request which was given up takes to release its upload.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// An upload that one request writes to. The upload can be resumed after this value is dropped.
pub struct BlobUpload {
    context: Arc<HostedContext>,
    repository: RepositoryName,
    id: UploadId,
    inner: store::Upload,
    /// The size when the request began.
    begun_at: u64,
}

impl HostedRepository {
    /// Starts an upload. `algorithm` is the expected algorithm of the digest that will end it.
    pub async fn start_upload(&self, algorithm: Algorithm) -> Result<UploadId, RegistryError> {
        Ok(self.context.with_space(|| self.store().start_upload(&self.name, algorithm)).await?)
    }

    /// Starts an upload that only this request will write. The first value removes it unless it is committed.
    pub async fn start_single_request_upload(
        &self,
        algorithm: Algorithm,
    ) -> Result<(SingleRequestUpload, BlobUpload), RegistryError> {
        let inner = self.context.with_space(|| self.store().start_held_upload(&self.name, algorithm)).await?;
        let upload = self.opened(inner);
        Ok((SingleRequestUpload { repository: Some(self.clone()), id: upload.id.clone() }, upload))
    }

    fn opened(&self, inner: store::Upload) -> BlobUpload {
        let (context, repository) = (Arc::clone(&self.context), self.name.clone());
        BlobUpload { context, repository, id: inner.id().clone(), begun_at: inner.size(), inner }
    }

    /// Opens an upload for writing. Another request that holds it and receives nothing is given up after `stall`: this one waits
    /// for that, and takes the upload over. Fails with `UploadBusy` while another request receives bytes.
    pub async fn upload(&self, id: &UploadId, stall: Duration) -> Result<BlobUpload, RegistryError> {
        let opened = self.store().upload_after(&self.name, id, stall + TAKE_OVER).await;
        Ok(self.opened(opened.map_err(|error| upload_error(error, id))?))
    }

    /// Returns the number of bytes that an upload has received.
    pub async fn upload_size(&self, id: &UploadId) -> Result<u64, RegistryError> {
        self.store().upload_size(&self.name, id).await.map_err(|error| upload_error(error, id))
    }

    /// Removes an upload and its bytes.
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<(), RegistryError> {
        self.store().discard_upload(&self.name, id).await.map_err(|error| upload_error(error, id))
    }
}

impl BlobUpload {
    /// Returns the number of bytes received so far.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// Notes the algorithm of the digest that will end the upload.
    pub fn expect(&mut self, algorithm: Algorithm) {
        self.inner.expect(algorithm);
    }

    /// Appends a piece. If the disk stays full, the bytes of this request are removed again: they take no space, and the request can
    /// be repeated as it was.
    pub async fn append(&mut self, piece: Bytes) -> Result<(), RegistryError> {
        let appended = loop {
            let round = self.context.store.reclaim_round();
            let appended = self.inner.append(piece.clone()).await;
            if !self.context.makes_space_after(&appended, round).await {
                break appended;
            }
        };
        if is_full(&appended)
            && let Err(error) = self.inner.cut(self.begun_at).await
        {
            tracing::warn!(upload = self.id.as_str(), %error, "the disk is full, and an upload could not be cut to its former size");
            self.context.store.discard(&mut self.inner).await?;
        }
        Ok(appended?)
    }

    /// Ends the upload: verifies and syncs it, and links the blob into the repository. On a disk that stays full the upload stays,
    /// so that the request can be repeated.
    pub async fn commit(self, digest: &Digest) -> Result<(), RegistryError> {
        // `inner` holds the upload until the end, so that the upload is not removed to make space for itself or for another push.
        let Self { context, repository, mut inner, .. } = self;
        let store = &context.store;
        let verified = context.with_space(|| store.verify(inner.again(), digest)).await;
        inner.forget_hashes();
        let verified = verified?;
        let end = async || {
            // Deletion takes the lock alone, so it finds the link whole or not at all.
            let (lock, store) = (store.lock(&repository, Share::Shared).await?, store.clone());
            let verified = verified.again();
            let publish = async move {
                let _lock = lock;
                store.publish(verified).await
            };
            context.tasks.finish(publish).await
        };
        Ok(context.with_space(end).await?)
    }
}

/// An upload whose identifier no client knows, so it cannot be resumed. Dropping it before its end removes it.
pub struct SingleRequestUpload {
    /// `None` once the upload has ended.
    repository: Option<HostedRepository>,
    id: UploadId,
}

impl SingleRequestUpload {
    /// The number of attempts to remove an upload whose last write still runs, [`Self::PAUSE`] apart.
    const ATTEMPTS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(100);

    /// Notes that the upload was committed, so there is nothing to remove.
    pub fn committed(mut self) {
        self.repository = None;
    }

    /// Removes the upload now. A failure is not reported: the first error matters more, and abandoned uploads are purged by
    /// age.
    pub async fn remove(mut self) {
        if let Some(repository) = &self.repository {
            Self::cancel(repository, &self.id).await;
        }
        // This is set only now, because this future may be dropped while it waits.
        self.repository = None;
    }

    async fn cancel(repository: &HostedRepository, id: &UploadId) {
        for _ in 0..Self::ATTEMPTS {
            match repository.cancel_upload(id).await {
                // A write that has begun continues without its request.
                Err(RegistryError::UploadBusy { .. }) => tokio::time::sleep(Self::PAUSE).await,
                _ => return,
            }
        }
    }
}

impl Drop for SingleRequestUpload {
    fn drop(&mut self) {
        if let Some(repository) = self.repository.take() {
            let (tasks, id) = (repository.context.tasks.clone(), self.id.clone());
            tasks.spawn(async move { Self::cancel(&repository, &id).await });
        }
    }
}

fn upload_error(error: StoreError, id: &UploadId) -> RegistryError {
    let id = id.as_str().to_owned();
    match error {
        StoreError::NoUpload => RegistryError::UploadUnknown { id },
        StoreError::Busy => RegistryError::UploadBusy { id },
        other => other.into(),
    }
}
