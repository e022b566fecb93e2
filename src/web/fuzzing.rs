//! Doors for `fuzz/`: the addresses that answers give, and the ranges of chunks.

use super::headers::ChunkRange;
use super::location::Base;
use super::route::At;
use crate::oci::Digest;
use crate::registry::{Page, PageRequest, UploadId};

/// The first byte and the length of a chunk that `Content-Range` speaks of.
pub fn chunk_range(text: &str) -> Option<(u64, u64)> {
    ChunkRange::parse(text).map(|chunk| (chunk.first, chunk.len))
}

/// Writes the addresses of things, as `Location` and `Link` have them.
pub struct Addresses(Base);

impl Addresses {
    /// Below `prefix`, which begins and ends with `/`.
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

    /// The `Link` to what follows `page`.
    pub fn more_tags(&self, at: &At, asked: &PageRequest, page: &Page) -> Option<http::HeaderValue> {
        self.0.more_tags(at, asked, page)
    }
}
