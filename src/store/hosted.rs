//! What was pushed, in `registry:2`'s directories: blobs, uploads and the list of repositories.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::holders::Holders;
use super::layout::Layout;
use super::names::{Names, Part};
use super::revisions::Revisions;
use super::tag_lists::TagLists;
use super::turns::Turns;
use super::upload::{Hashed, Parked, hash_file, lock};
use super::{CacheStore, Page, StoreError, StoredBlob, Upload, UploadId, on_disk};
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::sys::{Clock, disk};

/// Pushed content. Never evicted; nothing here is ever a cache.
#[derive(Clone)]
pub struct HostedStore {
    pub(super) layout: Arc<Layout>,
    pub(super) names: Names,
    pub(super) revisions: Arc<Revisions>,
    pub(super) holders: Arc<Holders>,
    pub(super) tag_lists: Arc<TagLists>,
    pub(super) turns: Arc<Turns>,
    parked: Parked,
    pub(super) clock: Clock,
}

/// An upload that is what its digest says.
pub struct Verified {
    upload: Upload,
    digest: Digest,
    /// The digest that its bytes will lie under.
    content: Digest,
}

/// What makes a directory a repository: also one that has layers and no manifest yet.
pub(super) const INHABITED: &[Part] = &[Part::Manifests, Part::Layers];

impl HostedStore {
    pub(super) fn new(layout: Arc<Layout>, clock: Clock) -> Self {
        let is_name = |name: &str| name.parse::<RepositoryName>().is_ok();
        let names = Names::new(layout.hosted_repositories(), is_name, clock.clone());
        let (revisions, holders, parked) = (Arc::default(), Arc::default(), Arc::new(Mutex::new(HashMap::new())));
        let (tag_lists, turns) = (Arc::new(TagLists::new()), Arc::new(Turns::new()));
        Self { layout, names, revisions, holders, tag_lists, turns, parked, clock }
    }

    /// At most `most` repositories that a manifest was pushed to, those that come after `after`, in byte order of the names.
    pub async fn repositories(&self, after: Option<&str>, most: usize) -> Result<Page<String>, StoreError> {
        self.names.page(&[Part::Manifests], after, most).await
    }

    /// At most `most` repositories that hold anything, as [`Self::repositories`].
    pub async fn inhabited_after(&self, after: Option<&str>, most: usize) -> Result<Page<String>, StoreError> {
        self.names.page(INHABITED, after, most).await
    }

    /// Every repository that holds anything: also one that has layers and no manifest yet.
    pub async fn inhabited(&self) -> Result<Vec<RepositoryName>, StoreError> {
        self.with(INHABITED).await
    }

    /// Every repository that is being pushed to.
    pub(super) async fn uploading(&self) -> Result<Vec<RepositoryName>, StoreError> {
        self.with(&[Part::Uploads]).await
    }

    async fn with(&self, parts: &'static [Part]) -> Result<Vec<RepositoryName>, StoreError> {
        Ok(self.names.all(parts).await?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Does the repository hold anything at all?
    pub async fn exists(&self, repository: &RepositoryName) -> Result<bool, StoreError> {
        let path = self.layout.hosted_repository(repository);
        let inside = path.clone();
        on_disk("read", &path, move || {
            let parts = ["_manifests", "_layers"];
            Ok(parts.iter().any(|part| disk::metadata(&inside.join(part)).is_ok()))
        })
        .await
    }

    /// The bytes that the repository's link for `digest` names; `None` when it has no such link, or the bytes are gone.
    pub async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<StoredBlob>, StoreError> {
        let Some(content) = self.layer(repository, digest).await? else { return Ok(None) };
        let path = self.layout.hosted_blob(&content);
        let opened = path.clone();
        let blob = on_disk("open", &path, move || StoredBlob::open(&opened)).await?;
        let found = blob.is_some();
        let blob = blob.filter(|blob| may_be(&content, blob.size));
        if found && blob.is_none() {
            let file = path.display();
            tracing::error!(%file, %repository, "a blob is damaged on disk (its file is empty) and not served; push it again");
        }
        Ok(blob)
    }

    /// What the repository's link for a blob names: the digest its bytes lie under.
    pub async fn layer(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        self.read_link(&self.layout.layer_link(repository, digest)).await
    }

    /// Does the store hold these bytes, whoever may read them?
    pub async fn has_content(&self, content: &Digest) -> Result<bool, StoreError> {
        let path = self.layout.hosted_blob(content);
        let (layout, content) = (Arc::clone(&self.layout), *content);
        on_disk("read", &path, move || is_there(&layout, &content)).await
    }

    /// Gives a repository the right to a blob whose bytes lie under `content`.
    pub async fn link_layer(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        content: &Digest,
    ) -> Result<(), StoreError> {
        self.write_link(&self.layout.layer_link(repository, digest), content).await?;
        self.holders.add(repository.as_str(), &[*digest]);
        Ok(())
    }

    /// Takes that right away. Says whether there was one; the bytes stay until garbage is collected.
    pub async fn unlink_layer(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StoreError> {
        let link = self.layout.layer_link(repository, digest);
        let directory = link.parent().unwrap_or(&link).to_owned();
        let was = on_disk("remove", &link, move || disk::remove_dir(&directory)).await?;
        self.holders.remove(repository.as_str(), digest);
        Ok(was)
    }

    /// Takes a whole blob out of the cache into the private root: linked where that is possible, else copied. The content is
    /// verified on the way; its sha256 is returned. `None` when the cache does not hold it any more.
    pub async fn adopt(&self, cache: &CacheStore, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let from = cache.blob_path(digest);
        let (layout, expected, path) = (Arc::clone(&self.layout), *digest, from.clone());
        let adopted = on_disk("adopt", &path, move || {
            let Some(blob) = StoredBlob::open(&from)? else { return Ok(None) };
            let content = hash_file(&blob.file, blob.size, Algorithm::Sha256)?;
            let found = match expected.algorithm() {
                Algorithm::Sha256 => content,
                Algorithm::Sha512 => hash_file(&blob.file, blob.size, Algorithm::Sha512)?,
            };
            // Evicted meanwhile: then the client pushes its own.
            if found == expected && disk::optional(disk::link_or_copy(&from, &layout.hosted_blob(&content)))?.is_none()
            {
                return Ok(None);
            }
            Ok(Some((content, found)))
        });
        match adopted.await? {
            Some((_, found)) if found != *digest => Err(StoreError::Mismatch { expected: *digest, found }),
            adopted => Ok(adopted.map(|(content, _)| content)),
        }
    }

    /// Begins an upload of what will be called by a digest of this algorithm, as far as is known.
    pub async fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId, StoreError> {
        let id = UploadId::random();
        let directory = self.layout.upload(repository, &id);
        let started = humantime::format_rfc3339_seconds(self.clock.now()).to_string();
        let made = directory.clone();
        on_disk("begin upload", &directory, move || disk::write_atomic(&made.join("startedat"), started.as_bytes()))
            .await?;
        // Remembered with the hashes: without those all is read again at the end, and then it is known anyway.
        if algorithm != Algorithm::Sha256 {
            lock(&self.parked).insert(id.clone(), Hashed::by(algorithm));
        }
        Ok(id)
    }

    /// Takes an upload, to write to it.
    pub async fn upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<Upload, StoreError> {
        let directory = self.layout.upload(repository, id);
        Upload::open(id.clone(), repository.clone(), directory, Arc::clone(&self.parked)).await
    }

    /// How many bytes of an upload are here. Asking takes nothing from whoever writes to it.
    pub async fn upload_size(&self, repository: &RepositoryName, id: &UploadId) -> Result<u64, StoreError> {
        let directory = self.layout.upload(repository, id);
        let asked = directory.clone();
        let size = on_disk("read upload", &directory, move || {
            if disk::optional(disk::metadata(&asked.join("startedat")))?.is_none() {
                return Ok(None);
            }
            Ok(Some(disk::optional(disk::metadata(&asked.join("data")))?.map_or(0, |data| data.len())))
        });
        size.await?.ok_or(StoreError::NoUpload)
    }

    /// Removes an upload and what it received; `Busy` while somebody writes to it.
    pub async fn discard_upload(&self, repository: &RepositoryName, id: &UploadId) -> Result<(), StoreError> {
        let mut upload = self.upload(repository, id).await?;
        self.discard(&mut upload).await
    }

    /// The same of an upload that is held: whoever writes to it has it to himself.
    pub async fn discard(&self, upload: &mut Upload) -> Result<(), StoreError> {
        upload.forget();
        self.clear(upload.directory().to_owned()).await
    }

    /// Holds an upload against the digest that it shall be called by, and syncs it. On a mismatch it is gone.
    pub async fn verify(&self, mut upload: Upload, digest: &Digest) -> Result<Verified, StoreError> {
        match upload.verify(digest).await {
            Ok(content) => Ok(Verified { upload, digest: *digest, content }),
            Err(mismatch @ StoreError::Mismatch { .. }) => {
                self.clear(upload.directory().to_owned()).await?;
                Err(mismatch)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends an upload: renamed to where its sha256 is looked for, linked into the repository as its digest.
    pub async fn publish(&self, verified: Verified) -> Result<(), StoreError> {
        let Verified { upload, digest, content } = verified;
        let (directory, lock) = (upload.directory().to_owned(), upload.lock());
        // The link first: one to what is not there yet counts for nothing, and should the disk be full, all can be tried again.
        self.link_layer(upload.repository(), &digest, &content).await?;
        let (from, to) = (directory.join("data"), self.layout.hosted_blob(&content));
        on_disk("store", &directory, move || {
            // Held until the file is where it belongs, also when the client leaves meanwhile.
            let _lock = lock;
            // Over what is there, which may be damaged; who reads that reads on. This was verified and synced.
            disk::rename_durably(&from, &to)
        })
        .await?;
        if let Err(error) = self.clear(directory).await {
            tracing::warn!(%error, "what is left of an upload was not removed; its age will see to it");
        }
        Ok(())
    }

    async fn clear(&self, directory: PathBuf) -> Result<(), StoreError> {
        let gone = directory.clone();
        on_disk("discard upload", &directory, move || disk::remove_dir(&gone).map(|_| ())).await
    }

    /// Removes uploads that nobody wrote to for longer than `age`. Returns how many.
    pub async fn purge_uploads(&self, age: Duration) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let mut purged = 0;
        for repository in self.uploading().await? {
            let directory = self.layout.hosted_repository(&repository).join("_uploads");
            let looked = directory.clone();
            purged += on_disk("purge uploads", &directory, move || purge(&looked, now, age)).await?;
        }
        if purged > 0 {
            // Hashes of what is gone; those of the others are made again by reading.
            lock(&self.parked).clear();
        }
        Ok(purged)
    }

    pub(super) async fn read_link(&self, link: &Path) -> Result<Option<Digest>, StoreError> {
        let path = link.to_owned();
        on_disk("read", link, move || read_link(&path)).await
    }

    pub(super) async fn write_link(&self, link: &Path, content: &Digest) -> Result<(), StoreError> {
        let (path, text) = (link.to_owned(), content.to_string());
        on_disk("link", link, move || disk::write_atomic(&path, text.as_bytes())).await
    }
}

/// May a file of this size be the content? One of no bytes is mostly what a power cut left of a write that was not synced, as
/// `registry:2`'s are not. Longer ones would have to be hashed to know.
fn may_be(content: &Digest, size: u64) -> bool {
    size > 0 || *content == Digest::of(content.algorithm(), b"")
}

/// Is there a file for this content, as far as its size tells? To be called off the async threads.
pub(super) fn is_there(layout: &Layout, content: &Digest) -> io::Result<bool> {
    let file = disk::optional(disk::metadata(&layout.hosted_blob(content)))?;
    Ok(file.is_some_and(|file| may_be(content, file.len())))
}

/// What a link names; `None` where there is none.
pub(super) fn read_link(link: &Path) -> io::Result<Option<Digest>> {
    let content = disk::optional(disk::read(link))?;
    // A link that names no digest is a damaged one: the repository does not hold it.
    Ok(content.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok()))
}

/// Removes the uploads below `_uploads` that are older than `age` and that nobody holds.
fn purge(uploads: &Path, now: std::time::SystemTime, age: Duration) -> std::io::Result<usize> {
    let mut purged = 0;
    for entry in disk::list(uploads)? {
        let directory = uploads.join(&entry.name);
        let newest = ["data", "startedat"].iter().filter_map(|file| disk::metadata(&directory.join(file)).ok());
        let idle = newest.map(|metadata| disk::age(&metadata, now)).min();
        if idle.is_none_or(|idle| idle <= age) {
            continue;
        }
        // Locked until it is gone, so that nobody takes it up meanwhile.
        let file = disk::optional(disk::open(&directory.join("data")))?;
        let free = file.as_ref().map_or(Ok(true), disk::try_lock)?;
        if free && disk::remove_dir(&directory)? {
            purged += 1;
        }
    }
    Ok(purged)
}
