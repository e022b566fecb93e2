//! Links: small objects that hold a digest. A repository may serve content only if it has a link to it.
//!
//! Every link is read and written here. All functions block.

use std::io;

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::store::driver::{Driver, Durability};
use crate::store::key::ObjectKey;
use crate::store::layout;

/// Reads the digest that a link names; `None` if there is no link. A link that names no digest is damaged and counts as
/// missing.
pub fn read(driver: &dyn Driver, link: &ObjectKey) -> io::Result<Option<Digest>> {
    let content = driver.read(link)?;
    Ok(content.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok()))
}

/// Writes a link, durably.
pub fn write(driver: &dyn Driver, link: &ObjectKey, content: &Digest) -> io::Result<()> {
    driver.write(link, content.to_string().as_bytes(), Durability::Synced)
}

/// Returns the digest that the bytes of a repository's manifest lie under.
pub fn manifest_content(
    driver: &dyn Driver,
    repository: &RepositoryName,
    digest: &Digest,
) -> io::Result<Option<Digest>> {
    let link = |digest: &Digest| read(driver, &layout::revision_link(repository, digest));
    match link(digest)? {
        // `registry:2` removes the link by sha256, the only one that it knows. Then the manifest is gone under every
        // digest.
        Some(content) if content != *digest && link(&content)?.is_none() => Ok(None),
        content => Ok(content),
    }
}

/// Returns the digests of one folder of links: its children `HEX`, or `HEX/link`.
pub fn digests_in(driver: &dyn Driver, folder: &ObjectKey, algorithm: Algorithm) -> io::Result<Vec<Digest>> {
    let mut found = Vec::new();
    driver.each_child(folder, &mut |child| found.extend(Digest::from_parts(algorithm.as_str(), &child.name)))?;
    Ok(found)
}

/// Returns the digests of the layers that a repository has links to.
pub fn layers(driver: &dyn Driver, repository: &RepositoryName) -> io::Result<Vec<Digest>> {
    let mut found = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let folder = layout::layers(repository).join(algorithm.as_str());
        found.extend(digests_in(driver, &folder, algorithm)?);
    }
    Ok(found)
}

/// Returns true if the bytes of this content are stored, as far as their size tells.
pub fn has_content(driver: &dyn Driver, content: &Digest) -> io::Result<bool> {
    let found = driver.stat(&layout::blob(content))?;
    Ok(found.is_some_and(|found| can_have_size(content, found.size)))
}

/// Returns true if content of this size can have this digest. An empty object is mostly the rest of a write that was
/// not synced before a power cut; `registry:2` does not sync. Longer content would have to be hashed to know.
pub fn can_have_size(content: &Digest, size: u64) -> bool {
    size > 0 || *content == Digest::of(content.algorithm(), b"")
}
