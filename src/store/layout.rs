//! Where everything lies below the root (PRODUCT.md, "On disk"). The one place that knows paths.

use std::path::{Path, PathBuf};

use super::UploadId;
use crate::oci::{Algorithm, Digest, HostName, RepositoryName, Tag};

/// The paths below one root.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is neither image nor cache: only its owner may look.
    pub fn private(&self) -> PathBuf {
        self.root.join("entrepot")
    }

    /// What whoever changes a repository locks.
    pub fn turn(&self, number: u8) -> PathBuf {
        self.private().join("locks").join(format!("{number:02}"))
    }

    /// Where whoever wants to be alone with one stands until it is.
    pub fn door(&self, number: u8) -> PathBuf {
        self.turn(number).with_extension("door")
    }

    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The bytes of pushed content; always under a sha256, as `registry:2` has it.
    pub fn hosted_blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.hosted_blobs().join(digest.algorithm().as_str()).join(&hex[..2]).join(hex).join("data")
    }

    pub fn hosted_blobs(&self) -> PathBuf {
        self.hosted().join("blobs")
    }

    pub fn hosted_repositories(&self) -> PathBuf {
        self.hosted().join("repositories")
    }

    pub fn hosted_repository(&self, repository: &RepositoryName) -> PathBuf {
        self.hosted_repositories().join(repository.as_str())
    }

    pub fn layer_link(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        self.layers(repository, digest.algorithm()).join(digest.hex()).join("link")
    }

    /// The links to layers of one algorithm.
    pub fn layers(&self, repository: &RepositoryName, algorithm: Algorithm) -> PathBuf {
        self.hosted_repository(repository).join("_layers").join(algorithm.as_str())
    }

    pub fn revisions(&self, repository: &RepositoryName, algorithm: Algorithm) -> PathBuf {
        self.hosted_repository(repository).join("_manifests/revisions").join(algorithm.as_str())
    }

    pub fn revision(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        self.revisions(repository, digest.algorithm()).join(digest.hex())
    }

    pub fn hosted_tags(&self, repository: &RepositoryName) -> PathBuf {
        self.hosted_repository(repository).join("_manifests/tags")
    }

    pub fn hosted_tag(&self, repository: &RepositoryName, tag: &Tag) -> PathBuf {
        self.hosted_tags(repository).join(tag.as_str())
    }

    /// The link that says what a tag names.
    pub fn current(&self, repository: &RepositoryName, tag: &Tag) -> PathBuf {
        self.hosted_tag(repository, tag).join("current/link")
    }

    pub fn tag_index(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> PathBuf {
        addressed(&self.hosted_tag(repository, tag).join("index"), digest).join("link")
    }

    pub fn upload(&self, repository: &RepositoryName, id: &UploadId) -> PathBuf {
        self.hosted_repository(repository).join("_uploads").join(id.as_str())
    }

    /// The media type of a pushed manifest that does not tell it by itself.
    pub fn media_type(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        addressed(&self.media_types(repository), digest)
    }

    pub fn media_types(&self, repository: &RepositoryName) -> PathBuf {
        self.kept_of(repository).join("_mediatypes")
    }

    /// The digest by which a tag names its manifest, where that is not the sha256.
    pub fn tagged_as(&self, repository: &RepositoryName, tag: &Tag) -> PathBuf {
        self.tag_names(repository).join(tag.as_str())
    }

    pub fn tag_names(&self, repository: &RepositoryName) -> PathBuf {
        self.kept_of(repository).join("_tags")
    }

    /// What is known of a pushed repository beyond `registry:2`'s layout.
    fn kept_of(&self, repository: &RepositoryName) -> PathBuf {
        self.private().join("repositories").join(repository.as_str())
    }

    pub fn cached_blobs(&self) -> PathBuf {
        self.cache().join("blobs")
    }

    pub fn cached_blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.cached_blobs().join(digest.algorithm().as_str()).join(&hex[..2]).join(hex)
    }

    pub fn partials(&self) -> PathBuf {
        self.cache().join("partial")
    }

    pub fn partial(&self, digest: &Digest) -> PathBuf {
        addressed(&self.partials(), digest)
    }

    pub fn mirrored_repositories(&self) -> PathBuf {
        self.cache().join("repositories")
    }

    pub fn mirrored_repository(&self, upstream: &HostName, repository: &RepositoryName) -> PathBuf {
        self.mirrored_repositories().join(upstream.as_str()).join(repository.as_str())
    }

    pub fn mirrored_link(&self, upstream: &HostName, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        addressed(&self.mirrored_repository(upstream, repository).join("_links"), digest)
    }

    pub fn mirrored_tag(&self, upstream: &HostName, repository: &RepositoryName, tag: &Tag) -> PathBuf {
        self.mirrored_tags(upstream, repository).join(tag.as_str())
    }

    pub fn mirrored_tags(&self, upstream: &HostName, repository: &RepositoryName) -> PathBuf {
        self.mirrored_repository(upstream, repository).join("_tags")
    }

    /// The tags that an upstream has, held here or not.
    pub fn tag_list(&self, upstream: &HostName, repository: &RepositoryName) -> PathBuf {
        self.mirrored_repository(upstream, repository).join("_lists/tags")
    }

    /// What refers to a manifest, as the upstream lists it.
    pub fn referrers(&self, upstream: &HostName, repository: &RepositoryName, subject: &Digest) -> PathBuf {
        addressed(&self.mirrored_repository(upstream, repository).join("_lists/referrers"), subject)
    }

    fn hosted(&self) -> PathBuf {
        self.root.join("docker/registry/v2")
    }
}

/// `DIRECTORY/ALG/HEX`.
fn addressed(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join(digest.algorithm().as_str()).join(digest.hex())
}
