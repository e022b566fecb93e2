//! Stored content that is open for reading, and its hash.

use std::io;
use std::sync::Arc;

use crate::oci::{Algorithm, Digest, Hasher, Span};
use crate::sys::{Extent, ReadAt};

/// Stored bytes that are open for reading. They stay readable when they are deleted.
#[derive(Clone, Debug)]
pub struct StoredBlob {
    pub(super) content: Arc<dyn ReadAt>,
    pub size: u64,
}

impl StoredBlob {
    pub(super) fn new(content: Arc<dyn ReadAt>, size: u64) -> Self {
        Self { content, size }
    }

    /// Returns the whole blob, to be sent unchanged.
    pub fn extent(&self) -> Extent {
        self.extent_of(Span { start: 0, end: self.size })
    }

    /// Returns an extent of the blob, to be sent unchanged.
    pub fn extent_of(&self, span: Span) -> Extent {
        Extent::new(Arc::clone(&self.content), span.start, span.len())
    }

    /// Reads the whole blob and returns its digest. Blocks.
    pub(super) fn hash(&self, algorithm: Algorithm) -> io::Result<Digest> {
        hash(&*self.content, self.size, algorithm)
    }
}

/// Hashes the first `size` bytes of some content. Blocks.
pub(super) fn hash(content: &dyn ReadAt, size: u64, algorithm: Algorithm) -> io::Result<Digest> {
    Ok(hash_span(content, Span { start: 0, end: size }, Hasher::new(algorithm))?.finish())
}

/// The number of bytes that are read back at a time: few enough to stay in the processor's cache until they are hashed.
const HASHED_PIECE: usize = 64 << 10;

/// Continues a running hash over a span of some content. Blocks.
pub(super) fn hash_span(content: &dyn ReadAt, span: Span, mut hasher: Hasher) -> io::Result<Hasher> {
    let longest = usize::try_from(span.len()).unwrap_or(usize::MAX).min(HASHED_PIECE);
    let mut buffer = Vec::new();
    let mut offset = span.start;
    while offset < span.end {
        let want = usize::try_from(span.end - offset).unwrap_or(usize::MAX).min(longest);
        if let Some(held) = content.held(offset, want) {
            hasher.update(&held);
            offset += held.len() as u64;
            continue;
        }
        buffer.resize(longest, 0);
        let read = content.read_at(&mut buffer[..want], offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    Ok(hasher)
}
