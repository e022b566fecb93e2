//! The directories of `registry:2`, written in its layout, as if another process changed the store.

use std::fs;
use std::path::{Path, PathBuf};

use entrepot::oci::Digest;

use super::client::digest_of;

/// The directories of a store; no server needs to run.
pub struct Volume {
    root: PathBuf,
}

impl Volume {
    /// Opens the store below `data`, the `rootdirectory`.
    pub fn at(data: &Path) -> Self {
        Self { root: data.join("docker/registry/v2") }
    }

    pub fn repository(&self, name: &str) -> PathBuf {
        self.root.join("repositories").join(name)
    }

    /// Writes the bytes of a blob.
    pub fn blob(&self, content: &[u8]) -> Digest {
        let digest = digest_of(content);
        write(&self.data(&digest), content);
        digest
    }

    pub fn data(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Adds a layer to a repository.
    pub fn layer(&self, name: &str, content: &[u8]) -> Digest {
        let digest = self.blob(content);
        write(&self.layer_link(name, &digest), digest.to_string().as_bytes());
        digest
    }

    pub fn layer_link(&self, name: &str, digest: &Digest) -> PathBuf {
        self.repository(name).join("_layers/sha256").join(digest.hex()).join("link")
    }

    /// Adds a manifest to a repository.
    pub fn manifest(&self, name: &str, body: &[u8]) -> Digest {
        let digest = self.blob(body);
        write(&self.revision(name, &digest).join("link"), digest.to_string().as_bytes());
        digest
    }

    pub fn revision(&self, name: &str, digest: &Digest) -> PathBuf {
        self.repository(name).join("_manifests/revisions/sha256").join(digest.hex())
    }

    pub fn tag(&self, name: &str, tag: &str, digest: &Digest) {
        let directory = self.repository(name).join("_manifests/tags").join(tag);
        for link in [directory.join("current/link"), directory.join("index/sha256").join(digest.hex()).join("link")] {
            write(&link, digest.to_string().as_bytes());
        }
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
