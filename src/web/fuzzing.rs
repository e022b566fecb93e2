//! Access for `fuzz/` to the addresses in answers and to the ranges of chunks.

use super::request::ChunkRange;
use super::route::{At, Base};
use crate::oci::Digest;
use crate::registry::{Page, PageRequest, UploadId};

/// Parses the `Content-Range` of a chunk. Returns the position of its first byte and its length.
pub fn chunk_range(text: &str) -> Option<(u64, u64)> {
    ChunkRange::parse(text).map(|chunk| (chunk.first, chunk.len))
}

/// Writes the addresses in `Location` and `Link`.
pub struct Addresses(Base);

impl Addresses {
    /// Writes addresses below `prefix`, which begins and ends with `/`.
    pub fn below(prefix: &str) -> Option<Self> {
        Base::new(None, prefix).map(Self)
    }

    pub fn blob(&self, at: &At, digest: &Digest) -> http::HeaderValue {
        self.0.blob(at, digest)
    }

    pub fn manifest(&self, at: &At, digest: &Digest) -> http::HeaderValue {
        self.0.manifest(at, digest)
    }

    pub fn upload(&self, at: &At, id: &UploadId) -> http::HeaderValue {
        self.0.upload(at, id)
    }

    /// Returns the `Link` to the page after `page`.
    pub fn more_tags(&self, at: &At, asked: &PageRequest, page: &Page<String>) -> Option<http::HeaderValue> {
        self.0.more_tags(at, asked, page)
    }
}
