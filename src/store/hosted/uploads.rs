//! Begins, resumes, verifies, publishes, discards and purges uploads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::store::HostedStore;
use super::upload::{Hashed, Upload, UploadTable};
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::directory::Part;
use crate::store::driver::{Driver, Durability, OpenedWriter};
use crate::store::key::ObjectKey;
use crate::store::{Amount, StoreError, UploadId, layout};
use crate::sys::Clock;

/// The pause between two attempts at an upload that another request holds.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An upload whose content has the expected digest.
pub struct VerifiedUpload {
    upload: Upload,
    digest: Digest,
    /// The digest that its bytes will lie under.
    content: Digest,
}

impl VerifiedUpload {
    /// Returns a second handle, for one attempt to publish the upload.
    pub fn again(&self) -> Self {
        Self { upload: self.upload.again(), ..*self }
    }
}

impl HostedStore {
    /// Begins an upload of content that will be pushed with a digest of this algorithm, unless the end of the upload
    /// says otherwise.
    pub async fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId, StoreError> {
        let id = UploadId::random();
        // Held until it has begun, so that it is not taken for abandoned.
        let _held = self.uploads.hold(&id);
        self.begin(repository, &id).await?;
        // The algorithm is remembered with the hashes. Without them the upload is read again at the end, when it is
        // known anyway.
        if algorithm != Algorithm::Sha256 {
            self.uploads.park(id.clone(), Hashed::by(algorithm));
        }
        Ok(id)
    }

    /// Begins an upload and takes it for the same request.
    pub async fn start_held_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Upload, StoreError> {
        let id = UploadId::random();
        let held = self.uploads.hold(&id);
        self.begin(repository, &id).await?;
        let (backend, table) = (self.backend.clone(), Arc::clone(&self.uploads));
        let mut upload = Upload::open_held(backend, (repository.clone(), id), table, held).await?;
        upload.expect(algorithm);
        Ok(upload)
    }

    async fn begin(&self, repository: &RepositoryName, id: &UploadId) -> Result<(), StoreError> {
        let folder = layout::upload(repository, id);
        let started = humantime::format_rfc3339_seconds(self.clock.now()).to_string();
        let key = folder.join("startedat");
        let write = move |driver: &dyn Driver| driver.write(&key, started.as_bytes(), Durability::Synced);
        self.backend.change("begin upload", &folder, write).await
    }

    /// Takes an upload to write to it; `Busy` while another request holds it.
    pub async fn upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<Upload, StoreError> {
        Upload::open(self.backend.clone(), repository.clone(), id.clone(), Arc::clone(&self.uploads)).await
    }

    /// Takes an upload as [`Self::upload`] does. While another request holds it, waits until that one ends; `Busy` if that one
    /// receives bytes, or does not end within `limit`.
    pub async fn upload_after(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
        limit: Duration,
    ) -> Result<Upload, StoreError> {
        let (begun, mut seen) = (self.clock.moment(), None);
        loop {
            // Another request may release the upload between the attempt and the wait.
            let mut released = std::pin::pin!(self.uploads.released());
            released.as_mut().enable();
            match self.upload(repository, id).await {
                Err(StoreError::Busy) => {}
                taken => return taken,
            }
            let size = self.upload_size(repository, id).await?;
            if seen.is_some_and(|seen| seen != size) || self.clock.since(begun) >= limit {
                return Err(StoreError::Busy);
            }
            seen = Some(size);
            tokio::select! {
                () = released => {}
                // Another process does not notify this one.
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Returns the number of bytes that an upload has received, without taking it.
    pub async fn upload_size(&self, repository: &RepositoryName, id: &UploadId) -> Result<u64, StoreError> {
        let folder = layout::upload(repository, id);
        let (started, data) = (folder.join("startedat"), folder.join("data"));
        let size = self.backend.run("read upload", &folder, move |driver| {
            if driver.stat(&started)?.is_none() {
                return Ok(None);
            }
            Ok(Some(driver.stat(&data)?.map_or(0, |found| found.size)))
        });
        size.await?.ok_or(StoreError::NoUpload)
    }

    /// Removes an upload with everything it received; `Busy` while another request writes to it.
    pub async fn discard_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<(), StoreError> {
        let mut upload = self.upload(repository, id).await?;
        self.discard(&mut upload).await
    }

    /// Removes an upload that the caller holds.
    pub async fn discard(&self, upload: &mut Upload) -> Result<(), StoreError> {
        upload.forget_hashes();
        self.clear(upload.folder().clone()).await
    }

    /// Checks an upload against the digest that it is pushed with, and syncs it. On a mismatch the upload is removed.
    pub async fn verify(&self, mut upload: Upload, digest: &Digest) -> Result<VerifiedUpload, StoreError> {
        match upload.verify(digest).await {
            Ok(content) => Ok(VerifiedUpload { upload, digest: *digest, content }),
            Err(mismatch @ StoreError::Mismatch { .. }) => {
                self.clear(upload.folder().clone()).await?;
                Err(mismatch)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends an upload: moves it to the key of its sha256, and links it into the repository under its digest.
    pub async fn publish(&self, verified: VerifiedUpload) -> Result<(), StoreError> {
        let VerifiedUpload { upload, digest, content } = verified;
        let (folder, lease) = (upload.folder().clone(), upload.lease());
        // The link comes first: a link to missing content counts for nothing, and if the storage is full, everything
        // can be tried again.
        self.link_layer(upload.repository(), &digest, &content).await?;
        let (from, to) = (folder.join("data"), layout::blob(&content));
        let commit = move |driver: &dyn Driver| {
            // The lock is held until the object is in its place, even if the client leaves meanwhile.
            let _lease = lease;
            // This replaces what is there, which may be damaged. The upload was verified and synced.
            driver.commit(&from, &to)
        };
        self.backend.change("store", &folder, commit).await?;
        if let Err(error) = self.clear(folder).await {
            tracing::warn!(%error, "the rest of a finished upload could not be removed; it is purged when it is old enough");
        }
        Ok(())
    }

    async fn clear(&self, folder: ObjectKey) -> Result<(), StoreError> {
        let at = folder.clone();
        self.backend.change("discard upload", &at, move |driver| driver.remove_tree(&folder).map(drop)).await
    }

    /// Removes uploads that received nothing for longer than `age`. Returns how many.
    pub async fn purge_uploads(&self, age: Duration) -> Result<usize, StoreError> {
        let mut purged = 0;
        for repository in self.uploading().await? {
            let (uploads, clock, table) = (layout::uploads(&repository), self.clock.clone(), Arc::clone(&self.uploads));
            let listed = uploads.clone();
            let purge = move |driver: &dyn Driver| purge(driver, &listed, (&clock, age), &table);
            match self.backend.change("purge uploads", &uploads, purge).await {
                Ok(removed) => purged += removed,
                Err(error) => {
                    tracing::warn!(%error, "the uploads of a repository cannot be listed, so none is removed")
                }
            }
        }
        if purged > 0 {
            // Some hashes belong to removed uploads; the others are made again by reading.
            self.uploads.forget_all();
        }
        Ok(purged)
    }

    /// Returns the number and the bytes of the uploads that were begun and not finished.
    pub async fn uploads_amount(&self) -> Result<Amount, StoreError> {
        let mut amount = Amount::default();
        for repository in self.uploading().await? {
            let uploads = layout::uploads(&repository);
            let listed = uploads.clone();
            let bad = Arc::clone(&self.bad);
            let count = move |driver: &dyn Driver| Ok(count(driver, &listed, &bad));
            let found = self.backend.run("list", &uploads, count);
            let found = found.await?;
            amount = Amount { count: amount.count + found.count, bytes: amount.bytes + found.bytes };
        }
        Ok(amount)
    }

    /// Returns every repository that has uploads.
    pub(super) async fn uploading(&self) -> Result<Vec<RepositoryName>, StoreError> {
        Ok(self.names.all(&[Part::Uploads]).await?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// Returns the number and the bytes of the uploads below `_uploads`.
fn count(driver: &dyn Driver, uploads: &ObjectKey, bad: &BadEntries) -> Amount {
    let mut found = Amount::default();
    for upload in driver.readable_children(uploads, bad) {
        let folder = uploads.join(&upload.name);
        if !upload.is_folder {
            bad.foreign(driver.describe(&folder), &upload.name);
            continue;
        }
        let data = folder.join("data");
        let data = bad.accept(Wanted::Object, || driver.describe(&data), driver.stat(&data));
        found.add(data.flatten().map_or(0, |data| data.size));
    }
    found
}

/// Removes the uploads below `_uploads` that are older than `age` and that no request holds. An upload that cannot be
/// removed does not keep the others.
fn purge(
    driver: &dyn Driver,
    uploads: &ObjectKey,
    (clock, age): (&Clock, Duration),
    table: &Arc<UploadTable>,
) -> io::Result<usize> {
    let mut purged = 0;
    for child in driver.children(uploads)? {
        let folder = uploads.join(&child.name);
        let removed = match idle_for(driver, &folder, clock) {
            Ok(Some(idle)) if idle > age => remove_idle(driver, &folder, &child.name, table),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        match removed {
            Ok(removed) => purged += usize::from(removed),
            Err(error) => {
                let upload = driver.describe(&folder);
                tracing::warn!(%error, upload, "an abandoned upload cannot be removed; remove it by hand");
            }
        }
    }
    Ok(purged)
}

/// Returns the time for which an upload has received nothing; `None` if there is no such upload.
pub(super) fn idle_for(driver: &dyn Driver, folder: &ObjectKey, clock: &Clock) -> io::Result<Option<Duration>> {
    let parts = [driver.stat(&folder.join("data"))?, driver.stat(&folder.join("startedat"))?];
    Ok(parts.iter().flatten().map(|found| found.age(clock)).min())
}

/// Removes an upload unless a request holds it. It is held until it is removed, so that no request resumes it meanwhile.
pub(super) fn remove_idle(
    driver: &dyn Driver,
    folder: &ObjectKey,
    id: &str,
    table: &Arc<UploadTable>,
) -> io::Result<bool> {
    let held = match id.parse() {
        Ok(id) => table.hold(&id).map(Some),
        Err(_) => Some(None),
    };
    let Some(_held) = held else { return Ok(false) };
    let data = folder.join("data");
    // The writer excludes other processes. NFS grants an exclusive lock only on a file that is open for writing.
    let writer = driver.stat(&data)?.map(|_| driver.open_writer(&data)).transpose()?;
    let is_free = matches!(writer, None | Some(OpenedWriter::Writer(_)));
    Ok(is_free && driver.remove_tree(folder)?)
}
