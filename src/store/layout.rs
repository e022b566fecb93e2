//! The keys of hosted content: `registry:2`'s layout below `docker/registry/v2`, and Entrepot's own records below
//! `entrepot`.
//!
//! This is the only file that knows these keys. They never change: `registry:2` and older versions of
//! Entrepot may use the same storage.

use super::UploadId;
use super::key::ObjectKey;
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

pub const HOSTED: &str = "docker/registry/v2";

/// The folder of Entrepot's own records, which only the owner of the process may read.
pub const PRIVATE: &str = "entrepot";

/// The folder of cached content.
pub const CACHE: &str = "cache";

/// Returns the key of stored bytes. They are always stored under their sha256, as in `registry:2`.
pub fn blob(digest: &Digest) -> ObjectKey {
    blob_folder(digest).join("data")
}

/// Returns the folder that holds the bytes of a blob and nothing else.
pub fn blob_folder(digest: &Digest) -> ObjectKey {
    let hex = digest.hex();
    blobs().join(&format!("{}/{}/{hex}", digest.algorithm().as_str(), &hex[..2]))
}

pub fn blobs() -> ObjectKey {
    ObjectKey::new(HOSTED).join("blobs")
}

pub fn repositories() -> ObjectKey {
    ObjectKey::new(HOSTED).join("repositories")
}

pub fn repository(repository: &RepositoryName) -> ObjectKey {
    repositories().join(repository.as_str())
}

/// Returns the folder of the manifests and tags of a repository.
pub fn manifests(name: &RepositoryName) -> ObjectKey {
    repository(name).join("_manifests")
}

/// Returns the folder of the links of a repository to its layers.
pub fn layers(name: &RepositoryName) -> ObjectKey {
    repository(name).join("_layers")
}

/// Returns the folder that holds the link to a layer and nothing else.
pub fn layer(name: &RepositoryName, digest: &Digest) -> ObjectKey {
    addressed(&layers(name), digest)
}

pub fn layer_link(name: &RepositoryName, digest: &Digest) -> ObjectKey {
    layer(name, digest).join("link")
}

/// Returns the folder of the links of a repository to its manifests.
pub fn revisions(name: &RepositoryName) -> ObjectKey {
    manifests(name).join("revisions")
}

/// Returns the folder of the links to manifests whose digests are of one algorithm.
pub fn revisions_by(name: &RepositoryName, algorithm: Algorithm) -> ObjectKey {
    revisions(name).join(algorithm.as_str())
}

/// Returns the folder that holds the link to a manifest. `registry:2` may store more in it.
pub fn revision(name: &RepositoryName, digest: &Digest) -> ObjectKey {
    addressed(&revisions(name), digest)
}

pub fn revision_link(name: &RepositoryName, digest: &Digest) -> ObjectKey {
    revision(name, digest).join("link")
}

pub fn tags(name: &RepositoryName) -> ObjectKey {
    manifests(name).join("tags")
}

pub fn tag(name: &RepositoryName, tag: &Tag) -> ObjectKey {
    tags(name).join(tag.as_str())
}

/// Returns the link to the manifest that a tag names now.
pub fn tag_current(name: &RepositoryName, named: &Tag) -> ObjectKey {
    tag(name, named).join("current/link")
}

/// Returns the link to a manifest that a tag names or has named.
pub fn tag_index(name: &RepositoryName, named: &Tag, digest: &Digest) -> ObjectKey {
    addressed(&tag(name, named).join("index"), digest).join("link")
}

pub fn uploads(name: &RepositoryName) -> ObjectKey {
    repository(name).join("_uploads")
}

pub fn upload(name: &RepositoryName, id: &UploadId) -> ObjectKey {
    uploads(name).join(id.as_str())
}

/// Returns the record of the media type of a manifest whose body does not state it.
pub fn media_type(name: &RepositoryName, digest: &Digest) -> ObjectKey {
    addressed(&media_types(name), digest)
}

pub fn media_types(name: &RepositoryName) -> ObjectKey {
    records(name).join("_mediatypes")
}

/// Returns the record of the digest that a tag was pushed with, if that is not the sha256.
pub fn tag_digest(name: &RepositoryName, tag: &Tag) -> ObjectKey {
    tag_digests(name).join(tag.as_str())
}

pub fn tag_digests(name: &RepositoryName) -> ObjectKey {
    records(name).join("_tags")
}

/// Returns the record of the account that pushed a manifest, and of the time.
pub fn push(name: &RepositoryName, digest: &Digest) -> ObjectKey {
    addressed(&pushes(name), digest)
}

pub fn pushes(name: &RepositoryName) -> ObjectKey {
    records(name).join("_pushes")
}

/// Returns the record of the last pull of a tag.
pub fn pull(name: &RepositoryName, tag: &Tag) -> ObjectKey {
    pulls(name).join(tag.as_str())
}

pub fn pulls(name: &RepositoryName) -> ObjectKey {
    records(name).join("_pulls")
}

/// Returns the folder of a deleted manifest, named by the digest of its bytes. It exists until every tag of the manifest is
/// removed.
pub fn deleted(name: &RepositoryName, content: &Digest) -> ObjectKey {
    addressed(&all_deleted(name), content)
}

pub fn all_deleted(name: &RepositoryName) -> ObjectKey {
    records(name).join("_deleted")
}

/// Returns the folder of content that was moved away and is being removed. All of it may be removed at any time.
pub fn trash() -> ObjectKey {
    ObjectKey::new(PRIVATE).join("trash")
}

/// Returns the file that a process locks while it changes repositories.
pub fn lock(number: u8) -> ObjectKey {
    ObjectKey::new(PRIVATE).join(&format!("locks/{number:02}"))
}

/// Returns the file that a process locks while it waits for the exclusive lock of the same number. It decides only who
/// comes first: two processes that use different files here still exclude each other by [`lock`].
pub fn lock_waiter(number: u8) -> ObjectKey {
    ObjectKey::new(PRIVATE).join(&format!("locks/{number:02}.waiting"))
}

pub fn mirrored_repositories() -> ObjectKey {
    ObjectKey::new(CACHE).join("repositories")
}

/// Returns the folder of Entrepot's own records of a hosted repository.
fn records(name: &RepositoryName) -> ObjectKey {
    ObjectKey::new(PRIVATE).join("repositories").join(name.as_str())
}

/// Returns `FOLDER/ALGORITHM/HEX`.
fn addressed(folder: &ObjectKey, digest: &Digest) -> ObjectKey {
    folder.join(&format!("{}/{}", digest.algorithm().as_str(), digest.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other programs read these keys, and an older version wrote them.
    #[test]
    fn layout_is_registry_2s() {
        let (name, release) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
        let (digest, id) = (Digest::of(Algorithm::Sha256, b""), UploadId::random());
        let hex = digest.hex();
        let base = "docker/registry/v2/repositories/team/app";
        for (key, expected) in [
            (blob(&digest), format!("docker/registry/v2/blobs/sha256/e3/{hex}/data")),
            (layer_link(&name, &digest), format!("{base}/_layers/sha256/{hex}/link")),
            (revision_link(&name, &digest), format!("{base}/_manifests/revisions/sha256/{hex}/link")),
            (tag_current(&name, &release), format!("{base}/_manifests/tags/v1/current/link")),
            (tag_index(&name, &release, &digest), format!("{base}/_manifests/tags/v1/index/sha256/{hex}/link")),
            (upload(&name, &id), format!("{base}/_uploads/{}", id.as_str())),
            (media_type(&name, &digest), format!("entrepot/repositories/team/app/_mediatypes/sha256/{hex}")),
            (tag_digest(&name, &release), "entrepot/repositories/team/app/_tags/v1".to_owned()),
            (lock(7), "entrepot/locks/07".to_owned()),
            (lock_waiter(7), "entrepot/locks/07.waiting".to_owned()),
        ] {
            assert_eq!(key.as_str(), expected);
        }
    }
}
