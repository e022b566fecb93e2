//! An upload: append-only, resumable, found under its digest only when it is whole.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{StoreError, on_disk};
use crate::oci::{Algorithm, Digest, Hasher, RepositoryName, Span};
use crate::sys::{disk, random_id};

/// The name of an upload: a UUID, so that it cannot be guessed and is safe in a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    pub(crate) fn random() -> Self {
        Self(random_id())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let dash = |index: usize| matches!(index, 8 | 13 | 18 | 23);
        let valid = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| if dash(i) { b == b'-' } else { b.is_ascii_hexdigit() });
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(StoreError::NoUpload) }
    }
}

/// Hashes of uploads that no request holds at the moment, so that a resumed one need not be read again.
/// A std `Mutex`: held for a map operation, never across an await.
pub(super) type Parked = Arc<Mutex<HashMap<UploadId, Hashed>>>;

/// The hashes of the first `size` bytes.
#[derive(Clone)]
pub(super) struct Hashed {
    /// What the content is stored under, whatever it is called.
    sha256: Hasher,
    /// What it will be called, where that is known to be by another algorithm.
    other: Option<Hasher>,
    size: u64,
}

impl Hashed {
    /// Of nothing yet.
    pub(super) fn by(algorithm: Algorithm) -> Self {
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

    /// The sha256, and the other if that is by this algorithm.
    fn finish(self, algorithm: Algorithm) -> (Digest, Option<Digest>) {
        let other = self.other.map(Hasher::finish).filter(|digest| digest.algorithm() == algorithm);
        (self.sha256.finish(), other)
    }
}

/// An upload held by one request; nobody else can take it meanwhile. Dropping it leaves it resumable.
pub struct Upload {
    id: UploadId,
    repository: RepositoryName,
    directory: PathBuf,
    /// Locked (`flock`) as long as it is open.
    file: Arc<File>,
    size: u64,
    /// `None` when what is on disk was not hashed by this process: it is read again at the end.
    hashed: Option<Hashed>,
    parked: Parked,
}

impl Upload {
    pub(super) async fn open(
        id: UploadId,
        repository: RepositoryName,
        directory: PathBuf,
        parked: Parked,
    ) -> Result<Self, StoreError> {
        let path = directory.join("data");
        let started = directory.join("startedat");
        let opened = on_disk("open upload", &directory, move || {
            // registry:2 makes the data file with the first byte only.
            if disk::optional(disk::metadata(&started))?.is_none() {
                return Ok(None);
            }
            let file = disk::open_writable(&path)?;
            if !disk::try_lock(&file)? {
                return Ok(Some(None));
            }
            // Committed since it was opened: what was locked is a published blob.
            if !disk::names(&path, &file)? {
                return Ok(None);
            }
            let size = file.metadata()?.len();
            Ok(Some(Some((file, size))))
        });
        let (file, size) = opened.await?.ok_or(StoreError::NoUpload)?.ok_or(StoreError::Busy)?;
        let hashed = lock(&parked).remove(&id).filter(|hashed| hashed.size == size);
        let hashed = hashed.or_else(|| (size == 0).then(|| Hashed::by(Algorithm::Sha256)));
        Ok(Self { id, repository, directory, file: Arc::new(file), size, hashed, parked })
    }

    /// Bytes received so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whoever has this has the lock, for as long.
    pub(super) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Its hashes will not be wanted again.
    pub(super) fn forget(&mut self) {
        self.hashed = None;
    }

    /// It will be called by a digest of this algorithm: hashed so while it arrives, it need not be read again at the end.
    pub fn expect(&mut self, algorithm: Algorithm) {
        if self.size == 0 && algorithm != Algorithm::Sha256 {
            self.hashed = Some(Hashed::by(algorithm));
        }
    }

    /// Writes a piece at its end.
    pub async fn append(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let (file, offset, length) = (Arc::clone(&self.file), self.size, piece.len() as u64);
        let mut hashed = self.hashed.take();
        self.hashed = on_disk("write upload", &self.directory, move || {
            file.write_all_at(&piece, offset)?;
            if let Some(hashed) = &mut hashed {
                hashed.update(&piece);
            }
            Ok(hashed)
        })
        .await?;
        self.size += length;
        Ok(())
    }

    /// Checks the content against `expected` and syncs it. Returns its sha256, under which it is stored whatever it is called.
    pub(super) async fn verify(&mut self, expected: &Digest) -> Result<Digest, StoreError> {
        // Taken, not parked when this is dropped: an upload that ends is not taken up again, and one that fails is read again.
        let (file, size, hashed) = (Arc::clone(&self.file), self.size, self.hashed.take());
        let algorithm = expected.algorithm();
        let verified = on_disk("sync upload", &self.directory, move || {
            let (sha256, other) = match hashed {
                Some(hashed) => hashed.finish(algorithm),
                None => (hash_file(&file, size, Algorithm::Sha256)?, None),
            };
            let named = match (algorithm, other) {
                (Algorithm::Sha256, _) => sha256,
                (_, Some(other)) => other,
                (algorithm, None) => hash_file(&file, size, algorithm)?,
            };
            file.sync_all()?;
            Ok((sha256, named))
        });
        let (sha256, found) = verified.await?;
        if found == *expected { Ok(sha256) } else { Err(StoreError::Mismatch { expected: *expected, found }) }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(hashed) = self.hashed.take() {
            lock(&self.parked).insert(self.id.clone(), hashed);
        }
    }
}

pub(super) fn lock(parked: &Parked) -> std::sync::MutexGuard<'_, HashMap<UploadId, Hashed>> {
    // A map of hashes is whole whatever its last holder did.
    parked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hashes the first `size` bytes of a file.
pub(super) fn hash_file(file: &File, size: u64, algorithm: Algorithm) -> io::Result<Digest> {
    Ok(hash_on(file, Span { start: 0, end: size }, Hasher::new(algorithm))?.finish())
}

/// Goes on with a running hash over a stretch of a file.
pub(super) fn hash_on(file: &File, span: Span, mut hasher: Hasher) -> io::Result<Hasher> {
    let longest = usize::try_from(span.len()).unwrap_or(usize::MAX).min(256 << 10);
    let mut buffer = vec![0; longest];
    let mut offset = span.start;
    while offset < span.end {
        let want = usize::try_from(span.end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(&mut buffer[..want], offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    Ok(hasher)
}
