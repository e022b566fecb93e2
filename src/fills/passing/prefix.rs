//! The hash of the beginning of a blob.

use crate::oci::{Algorithm, Digest, Hasher};

/// The hash of everything before an offset of a blob. Continued from there, it verifies the whole blob.
#[derive(Clone)]
pub struct Prefix {
    end: u64,
    hasher: Hasher,
}

impl Prefix {
    /// Returns the hash of the first `end` bytes, which `hasher` has hashed.
    pub fn new(end: u64, hasher: Hasher) -> Self {
        Self { end, hasher }
    }

    /// Returns the hash of nothing.
    pub fn empty(algorithm: Algorithm) -> Self {
        Self::new(0, Hasher::new(algorithm))
    }

    /// Returns the offset before which everything is hashed.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the bytes that follow.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.end += bytes.len() as u64;
    }

    /// Returns the digest of everything before the end.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}
