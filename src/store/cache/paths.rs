//! The paths of cached content, and a helper that runs file operations on blocking threads.

use std::io;
use std::path::{Path, PathBuf};

use crate::oci::{Digest, MirroredName, Tag};
use crate::store::{StoreError, layout};
use crate::sys::{BlockingLimit, blocking};

/// The threads for operations that change something. Operations that only read never wait for them.
static CHANGES: BlockingLimit = BlockingLimit::new(128);

/// The paths below the folder of the cache.
#[derive(Debug)]
pub struct CachePaths {
    cache: PathBuf,
}

impl CachePaths {
    /// Returns the paths of the cache in the store at `root`.
    pub fn new(root: &Path) -> Self {
        Self { cache: root.join(layout::CACHE) }
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    pub fn blobs(&self) -> PathBuf {
        self.cache.join("blobs")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.blobs().join(digest.algorithm().as_str()).join(&hex[..2]).join(hex)
    }

    pub fn partials(&self) -> PathBuf {
        self.cache.join("partial")
    }

    /// Returns the directory of what was moved away and is being removed.
    pub fn trash(&self) -> PathBuf {
        self.cache.join("trash")
    }

    pub fn partial(&self, digest: &Digest) -> PathBuf {
        addressed(&self.partials(), digest)
    }

    pub fn repository(&self, name: &MirroredName) -> PathBuf {
        self.cache.join("repositories").join(name.upstream().as_str()).join(name.repository().as_str())
    }

    /// Returns the directory of the records of the digests that a repository may serve.
    pub fn links(&self, name: &MirroredName) -> PathBuf {
        self.repository(name).join("_links")
    }

    pub fn link(&self, name: &MirroredName, digest: &Digest) -> PathBuf {
        addressed(&self.links(name), digest)
    }

    pub fn tags(&self, name: &MirroredName) -> PathBuf {
        self.repository(name).join("_tags")
    }

    pub fn tag(&self, name: &MirroredName, tag: &Tag) -> PathBuf {
        self.tags(name).join(tag.as_str())
    }

    /// Returns the directory of the records of the pulls of tags.
    pub fn all_tag_pulls(&self, name: &MirroredName) -> PathBuf {
        self.repository(name).join("_pulls/tags")
    }

    pub fn tag_pulls(&self, name: &MirroredName, tag: &Tag) -> PathBuf {
        self.all_tag_pulls(name).join(tag.as_str())
    }

    /// Returns the directory of the records of the pulls of manifests by their digests.
    pub fn manifest_pulls(&self, name: &MirroredName) -> PathBuf {
        self.repository(name).join("_pulls/manifests")
    }

    pub fn manifest_pull(&self, name: &MirroredName, digest: &Digest) -> PathBuf {
        addressed(&self.manifest_pulls(name), digest)
    }

    /// Returns the path of the list of the tags that an upstream has, whether or not they are cached.
    pub fn tag_list(&self, name: &MirroredName) -> PathBuf {
        self.repository(name).join("_lists/tags")
    }

    /// Returns the path of the list of a manifest's referrers, as the upstream sent it.
    pub fn referrers(&self, name: &MirroredName, subject: &Digest) -> PathBuf {
        addressed(&self.repository(name).join("_lists/referrers"), subject)
    }
}

/// Returns `FOLDER/ALGORITHM/HEX`.
fn addressed(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(digest.algorithm().as_str()).join(digest.hex())
}

/// Runs file operations that only read off the async threads. Their error names the action and the path.
pub async fn on_disk<T: Send + 'static>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    blocking(work).await.map_err(|source| StoreError::io(action, path.display().to_string(), source))
}

/// Runs file operations that may change something. They may wait for others that do, but reading never waits for them.
pub async fn change_on_disk<T: Send + 'static>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    CHANGES.run(work).await.map_err(|source| StoreError::io(action, path.display().to_string(), source))
}
