//! Reading of a manifest with its recorded media type.

use std::io;

use bytes::Bytes;

use super::links;
use crate::oci::{Digest, MAX_MANIFEST_BYTES, MediaType, RepositoryName};
use crate::store::driver::Driver;
use crate::store::layout;

/// A manifest as it was pushed.
pub struct StoredManifest {
    pub body: Bytes,
    /// The media type that was recorded beside the body because the body does not state it.
    pub media_type: Option<MediaType>,
}

/// Reads a manifest of a repository. Returns `None` also if the object does not have its digest: a manifest is short
/// enough to be hashed whenever it is read. Blocks.
pub fn read(driver: &dyn Driver, repository: &RepositoryName, digest: &Digest) -> io::Result<Option<StoredManifest>> {
    let Some(content) = links::manifest_content(driver, repository, digest)? else { return Ok(None) };
    let key = layout::blob(&content);
    let size = driver.stat(&key)?.map(|found| found.size);
    if size.is_none_or(|size| size > MAX_MANIFEST_BYTES as u64) {
        return Ok(None);
    }
    let Some(body) = driver.read(&key)? else { return Ok(None) };
    let found = Digest::of(content.algorithm(), &body);
    if found != content {
        let file = driver.describe(&key);
        tracing::error!(file, %repository, %found, "a manifest is damaged on disk and not served; push it again");
        return Ok(None);
    }
    let media_type = driver.read(&layout::media_type(repository, digest))?;
    let media_type = media_type.and_then(|text| MediaType::parse(&String::from_utf8_lossy(&text)));
    Ok(Some(StoredManifest { body: Bytes::from(body), media_type }))
}
