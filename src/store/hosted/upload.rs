//! An upload: append-only and resumable. Its content is found under a digest only once it is complete and verified.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::oci::{Algorithm, Digest, Hasher, RepositoryName};
use crate::store::blob::hash;
use crate::store::driver::{Backend, OpenedWriter, Writer};
use crate::store::key::ObjectKey;
use crate::store::{StoreError, UploadId, layout};

/// The state of uploads in this process.
#[derive(Default)]
pub struct UploadTable {
    /// The hashes of uploads that no request holds at the moment, so that a resumed one need not be read again. A std
    /// `Mutex`: held only for operations on the map.
    parked: Mutex<HashMap<UploadId, Hashed>>,
    /// The uploads that a request of this process holds.
    held: Mutex<HashSet<UploadId>>,
    released: Notify,
}

impl UploadTable {
    /// Keeps the hashes of an upload until it is resumed.
    pub fn park(&self, id: UploadId, hashed: Hashed) {
        self.parked().insert(id, hashed);
    }

    /// Forgets the kept hashes of an upload that was removed.
    pub fn forget(&self, id: &UploadId) {
        self.parked().remove(id);
    }

    /// Forgets all kept hashes: resumed uploads are read again.
    pub fn forget_all(&self) {
        self.parked().clear();
    }

    /// Ready when a request of this process releases an upload from now on.
    pub fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    /// Takes an upload for one request; `None` while another request of this process holds it.
    pub fn hold(self: &Arc<Self>, id: &UploadId) -> Option<Held> {
        let taken = self.held().insert(id.clone());
        taken.then(|| Held { table: Arc::clone(self), id: id.clone() })
    }

    // A std `Mutex` that a panic poisoned still protects a valid map: each operation on it is a single one.
    fn parked(&self) -> MutexGuard<'_, HashMap<UploadId, Hashed>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashSet<UploadId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The callers that free space. One does so at a time, for all that wait meanwhile.
#[derive(Default)]
pub struct Reclaiming {
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The number of times that space was freed.
    pub(super) rounds: AtomicU64,
}

/// Keeps other requests of this process from an upload until it is dropped.
pub struct Held {
    table: Arc<UploadTable>,
    id: UploadId,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.table.held().remove(&self.id);
        self.table.released.notify_waiters();
    }
}

/// The hashes of the first `size` bytes of an upload.
#[derive(Clone)]
pub struct Hashed {
    /// The digest that the content is stored under, whatever digest it is pushed with.
    sha256: Hasher,
    /// The hash of the other algorithm that the content will be pushed with, if that is known.
    other: Option<Hasher>,
    size: u64,
}

impl Hashed {
    /// Starts the hashes of an empty upload.
    pub fn by(algorithm: Algorithm) -> Self {
        let other = (algorithm != Algorithm::Sha256).then(|| Hasher::new(algorithm));
        Self { sha256: Hasher::new(Algorithm::Sha256), other, size: 0 }
    }

    fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        if let Some(other) = &mut self.other {
            other.update(piece);
        }
        self.size += piece.len() as u64;
    }

    /// Returns the sha256, and the other digest if it is by this algorithm.
    fn finish(self, algorithm: Algorithm) -> (Digest, Option<Digest>) {
        let other = self.other.map(Hasher::finish).filter(|digest| digest.algorithm() == algorithm);
        (self.sha256.finish(), other)
    }
}

/// The exclusive right to write to an upload, in this process and, if the driver can, in all others.
pub struct Lease {
    /// Dropped first, so that the next holder in this process finds the object free.
    writer: Arc<dyn Writer>,
    _held: Held,
}

/// An upload that one request holds. Dropping it leaves it resumable.
pub struct Upload {
    id: UploadId,
    repository: RepositoryName,
    folder: ObjectKey,
    backend: Backend,
    lease: Arc<Lease>,
    size: u64,
    /// `None` if this process did not hash the stored bytes: they are read again at the end.
    hashed: Option<Hashed>,
    table: Arc<UploadTable>,
}

impl Upload {
    /// Opens an upload and takes it for one request.
    pub async fn open(
        backend: Backend,
        repository: RepositoryName,
        id: UploadId,
        table: Arc<UploadTable>,
    ) -> Result<Self, StoreError> {
        let held = table.hold(&id);
        Self::open_held(backend, (repository, id), table, held).await
    }

    /// Opens an upload that the caller has taken; fails with `Busy` if another one has.
    pub async fn open_held(
        backend: Backend,
        (repository, id): (RepositoryName, UploadId),
        table: Arc<UploadTable>,
        held: Option<Held>,
    ) -> Result<Self, StoreError> {
        let folder = layout::upload(&repository, &id);
        let (started, data) = (folder.join("startedat"), folder.join("data"));
        let opened = backend.change("open upload", &folder, move |driver| {
            // registry:2 creates the data file with the first byte only.
            if driver.stat(&started)?.is_none() {
                return Ok(Err(StoreError::NoUpload));
            }
            let Some(held) = held else { return Ok(Err(StoreError::Busy)) };
            Ok(match driver.open_writer(&data)? {
                OpenedWriter::Writer(writer) => {
                    let size = writer.size()?;
                    Ok((Lease { writer, _held: held }, size))
                }
                OpenedWriter::Busy => Err(StoreError::Busy),
                OpenedWriter::Moved => Err(StoreError::NoUpload),
            })
        });
        let (lease, size) = opened.await??;
        let hashed = table.parked().remove(&id).filter(|hashed| hashed.size == size);
        let hashed = hashed.or_else(|| (size == 0).then(|| Hashed::by(Algorithm::Sha256)));
        Ok(Self { id, repository, folder, backend, lease: Arc::new(lease), size, hashed, table })
    }

    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Returns the number of bytes received so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    pub fn folder(&self) -> &ObjectKey {
        &self.folder
    }

    /// Returns the exclusive right to the upload, which lasts until the last owner drops it.
    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    /// Returns a second handle to the same upload, for one attempt to end it.
    pub fn again(&self) -> Self {
        Self {
            id: self.id.clone(),
            repository: self.repository.clone(),
            folder: self.folder.clone(),
            backend: self.backend.clone(),
            lease: self.lease(),
            size: self.size,
            hashed: self.hashed.clone(),
            table: Arc::clone(&self.table),
        }
    }

    /// Forgets the hashes, which will not be needed again.
    pub fn forget_hashes(&mut self) {
        self.hashed = None;
    }

    /// Announces that the content will be pushed with a digest of this algorithm. If it is hashed so while it arrives,
    /// it need not be read again at the end.
    pub fn expect(&mut self, algorithm: Algorithm) {
        if self.size == 0 && algorithm != Algorithm::Sha256 {
            self.hashed = Some(Hashed::by(algorithm));
        }
    }

    /// Writes a piece at the end of the upload.
    pub async fn append(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let (lease, offset, length) = (self.lease(), self.size, piece.len() as u64);
        let mut hashed = self.hashed.take();
        let written = self.backend.change("write upload", &self.folder, move |_| {
            lease.writer.write_at(&piece, offset)?;
            if let Some(hashed) = &mut hashed {
                hashed.update(&piece);
            }
            Ok(hashed)
        });
        self.hashed = written.await?;
        self.size += length;
        Ok(())
    }

    /// Removes the bytes after the first `size`. The rest is read again at the end, unless nothing is left.
    pub async fn cut(&mut self, size: u64) -> Result<(), StoreError> {
        let lease = self.lease();
        self.hashed = None;
        self.backend.run("write upload", &self.folder, move |_| lease.writer.cut(size)).await?;
        self.size = size;
        Ok(())
    }

    /// Checks the content against `expected` and syncs it. Returns the sha256, which the content is stored under.
    pub async fn verify(&mut self, expected: &Digest) -> Result<Digest, StoreError> {
        // The hashes are moved out and not kept again: an upload that ends is not resumed, and an upload that fails is
        // read again.
        let (lease, size, hashed) = (self.lease(), self.size, self.hashed.take());
        let algorithm = expected.algorithm();
        let verified = self.backend.change("sync upload", &self.folder, move |_| {
            let writer = &lease.writer;
            let (sha256, other) = match hashed {
                Some(hashed) => hashed.finish(algorithm),
                None => (hash(&**writer, size, Algorithm::Sha256)?, None),
            };
            let named = match (algorithm, other) {
                (Algorithm::Sha256, _) => sha256,
                (_, Some(other)) => other,
                (algorithm, None) => hash(&**writer, size, algorithm)?,
            };
            writer.sync()?;
            Ok((sha256, named))
        });
        let (sha256, found) = verified.await?;
        if found == *expected { Ok(sha256) } else { Err(StoreError::Mismatch { expected: *expected, found }) }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(hashed) = self.hashed.take() {
            self.table.park(self.id.clone(), hashed);
        }
    }
}
