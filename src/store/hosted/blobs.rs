//! Blobs of hosted repositories: the bytes, which repositories share, and each repository's links to them.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use super::links;
use super::store::HostedStore;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::cache::CacheStore;
use crate::store::driver::Driver;
use crate::store::key::ObjectKey;
use crate::store::{Amount, StoreError, StoredBlob, layout};

/// Stored bytes, as a walk over all of them finds them.
#[derive(Clone, Copy, Debug)]
pub struct HostedBlob {
    pub digest: Digest,
    pub size: u64,
    /// The time at which the bytes were stored, if the driver knows it.
    pub stored_at: Option<SystemTime>,
}

impl HostedStore {
    /// Opens the bytes that the repository's link for `digest` names. Returns `None` if there is no such link, or if
    /// the bytes are gone.
    pub async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<StoredBlob>, StoreError> {
        let Some(content) = self.layer(repository, digest).await? else { return Ok(None) };
        let key = layout::blob(&content);
        let opened = key.clone();
        let blob = self.backend.run("open", &key, move |driver| driver.open(&opened)).await?;
        let found = blob.is_some();
        let blob = blob.filter(|blob| links::can_have_size(&content, blob.size));
        if found && blob.is_none() {
            let file = self.backend.driver().describe(&key);
            tracing::error!(file, %repository, "a blob is damaged on disk (its file is empty) and not served; push it again");
        }
        Ok(blob)
    }

    /// Returns the digest that a repository's link for a blob names: the bytes of the blob lie under it.
    pub async fn layer(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let link = layout::layer_link(repository, digest);
        let read = link.clone();
        self.backend.run("read", &link, move |driver| links::read(driver, &read)).await
    }

    /// Returns true if the bytes are stored, for any repository.
    pub async fn has_content(&self, content: &Digest) -> Result<bool, StoreError> {
        let content = *content;
        self.backend.run("read", &layout::blob(&content), move |driver| links::has_content(driver, &content)).await
    }

    /// Gives a repository the right to a blob whose bytes are stored under the digest `content`.
    pub async fn link_layer(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        content: &Digest,
    ) -> Result<(), StoreError> {
        let (link, content) = (layout::layer_link(repository, digest), *content);
        let written = link.clone();
        self.backend.change("link", &link, move |driver| links::write(driver, &written, &content)).await?;
        self.holders.add(repository.as_str(), &[*digest]);
        Ok(())
    }

    /// Copies a complete blob from the cache to hosted content, or links it if the driver can. The content is verified
    /// on the way. Returns its sha256; `None` if the cache does not hold the blob any more.
    pub async fn adopt(&self, cache: &CacheStore, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let (file, expected, place) = (cache.local_file(digest), *digest, layout::blob(digest));
        let adopted = self.backend.change("adopt", &place, move |driver| {
            let Some(blob) = file.open()? else { return Ok(None) };
            let content = blob.hash(Algorithm::Sha256)?;
            let found = match expected.algorithm() {
                Algorithm::Sha256 => content,
                Algorithm::Sha512 => blob.hash(Algorithm::Sha512)?,
            };
            // If the blob is evicted meanwhile, the client pushes its own.
            if found == expected && !driver.adopt(&file, &layout::blob(&content))? {
                return Ok(None);
            }
            Ok(Some((content, found)))
        });
        match adopted.await? {
            Some((_, found)) if found != *digest => Err(StoreError::Mismatch { expected: *digest, found }),
            adopted => Ok(adopted.map(|(content, _)| content)),
        }
    }

    /// Walks over all stored bytes, whichever repositories have links to them, and calls `visit` with each. The walk
    /// ends when `visit` breaks it.
    pub async fn walk_blobs(
        &self,
        mut visit: impl FnMut(HostedBlob) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let bad = Arc::clone(&self.bad);
        self.backend.run("list", &layout::blobs(), move |driver| walk((driver, &bad), &|_| true, &mut visit)).await
    }

    /// Removes stored bytes. The caller makes sure, under all locks, that no repository has a link to them. Returns
    /// false if they were not stored.
    pub async fn remove_blob(&self, content: &Digest) -> Result<bool, StoreError> {
        let key = layout::blob(content);
        let folder = layout::blob_folder(content);
        self.backend.change("remove", &key, move |driver| driver.remove_tree(&folder)).await
    }

    /// Returns the amount of all pushed content, whichever repositories may serve it. Looks at every object.
    pub async fn amount(&self) -> Result<Amount, StoreError> {
        self.amount_of(|_| true).await
    }

    /// Returns the amount of the pushed content that `counts` accepts. Looks at every object of it.
    pub async fn amount_of(&self, counts: impl Fn(&Digest) -> bool + Send + 'static) -> Result<Amount, StoreError> {
        let bad = Arc::clone(&self.bad);
        self.backend
            .run("list", &layout::blobs(), move |driver| {
                let mut amount = Amount::default();
                walk((driver, &bad), &counts, &mut |blob| {
                    amount.add(blob.size);
                    ControlFlow::Continue(())
                })?;
                Ok(amount)
            })
            .await
    }

    /// Returns the sizes of stored bytes; 0 for those that are gone or cannot be read.
    pub async fn sizes(&self, digests: Vec<Digest>) -> Result<Vec<u64>, StoreError> {
        let bad = Arc::clone(&self.bad);
        self.backend
            .run("read", &layout::blobs(), move |driver| {
                let stat =
                    |key: &ObjectKey| bad.accept(Wanted::Object, || driver.describe(key), driver.stat(key)).flatten();
                Ok(digests.iter().map(|digest| stat(&layout::blob(digest)).map_or(0, |found| found.size)).collect())
            })
            .await
    }
}

/// A driver, and the entries that cannot be used.
type Survey<'d> = (&'d dyn Driver, &'d BadEntries);

/// Walks over `blobs/ALGORITHM/AB/HEX/data` and visits the blobs that `counts` accepts. Entries that cannot be used are noted.
fn walk(
    (driver, bad): Survey,
    counts: &dyn Fn(&Digest) -> bool,
    visit: &mut dyn FnMut(HostedBlob) -> ControlFlow<()>,
) -> io::Result<()> {
    // Without this folder nothing is known of any blob.
    for algorithm in driver.children(&layout::blobs())? {
        let folder = layout::blobs().join(&algorithm.name);
        if !algorithm.is_folder {
            bad.foreign(driver.describe(&folder), &algorithm.name);
            continue;
        }
        for first in driver.readable_children(&folder, bad) {
            let within = folder.join(&first.name);
            if !first.is_folder || !is_prefix(&first.name) {
                bad.foreign(driver.describe(&within), &first.name);
            } else if walk_folder((driver, bad), &algorithm.name, &within, (counts, visit)).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

type Visitor<'v> = (&'v dyn Fn(&Digest) -> bool, &'v mut dyn FnMut(HostedBlob) -> ControlFlow<()>);

/// Returns true for the two digits that the blobs of a folder begin with.
fn is_prefix(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn walk_folder(
    (driver, bad): Survey,
    algorithm: &str,
    folder: &ObjectKey,
    (counts, visit): Visitor,
) -> ControlFlow<()> {
    for child in driver.readable_children(folder, bad) {
        let inside = folder.join(&child.name);
        let Ok(digest) = Digest::from_parts(algorithm, &child.name) else {
            bad.foreign(driver.describe(&inside), &child.name);
            continue;
        };
        if !counts(&digest) {
            continue;
        }
        let data = inside.join("data");
        let found = bad.accept(Wanted::Object, || driver.describe(&data), driver.stat(&data)).flatten();
        let Some(found) = found else { continue };
        visit(HostedBlob { digest, size: found.size, stored_at: found.modified })?;
    }
    ControlFlow::Continue(())
}
