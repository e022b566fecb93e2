//! Decodes content that arrived encoded.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::arrivals::Arrivals;
use super::paths::on_disk;
use crate::oci::{Algorithm, ContentCoding, Digest, Hasher};
use crate::store::StoreError;
use crate::sys::ReadAt;

/// The number of bytes that are decoded at a time.
const DECODED_AT_ONCE: usize = 1 << 20;

/// The decoder of a file, and the hash of everything that it has decoded.
pub struct Decoding {
    /// `None` while a thread decodes, and for good if the caller has left meanwhile.
    state: Option<(Box<dyn Read + Send>, Hasher)>,
}

impl Decoding {
    /// Prepares to decode everything that has arrived without a hole.
    pub fn new(arrivals: &Arrivals, coding: ContentCoding, algorithm: Algorithm) -> Self {
        let arrived = ArrivedContent { content: arrivals.content(), position: 0, end: arrivals.prefix() };
        Self { state: Some((coding.reader(arrived), Hasher::new(algorithm))) }
    }

    /// Returns the next decoded bytes. They are empty at the end. `None` means that the content cannot be decoded.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some((mut decoder, mut hasher)) = self.state.take() else { return Ok(None) };
        let decode = move || {
            let mut decoded = Vec::new();
            match decoder.by_ref().take(DECODED_AT_ONCE as u64).read_to_end(&mut decoded) {
                Ok(_) => {}
                Err(error) if ContentCoding::cannot_decode(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            hasher.update(&decoded);
            Ok(Some((decoded, (decoder, hasher))))
        };
        // The path of the file is not known here.
        let Some((decoded, state)) = on_disk("read back", Path::new("a partial blob"), decode).await? else {
            return Ok(None);
        };
        self.state = Some(state);
        Ok(Some(decoded.into()))
    }

    /// Returns the digest of the decoded bytes.
    pub fn digest(self) -> Option<Digest> {
        self.state.map(|(_, hasher)| hasher.finish())
    }
}

/// Reads the beginning of a file.
struct ArrivedContent {
    content: Arc<dyn ReadAt>,
    position: u64,
    end: u64,
}

impl Read for ArrivedContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.content.read_at(&mut buffer[..left], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
