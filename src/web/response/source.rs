//! Reading the bytes of a blob for an answer.

use bytes::Bytes;

use crate::registry::{Piece, Reader};
use crate::sys::Extent;

/// The number of bytes of a file that are read, and kept in memory for one client, at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The reason why a body could not be sent to its end. The connection is cut, so that the client does not take the body for complete.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cut(String);

impl Cut {
    pub(in crate::web) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    pub(super) fn too_short() -> Self {
        Self::new("the content is shorter than announced")
    }

    pub(super) fn too_long() -> Self {
        Self::new("the content is longer than announced")
    }
}

/// Turns the pieces of a blob's reader into bytes.
pub(super) struct BlobBytes {
    reader: Reader,
    /// The unread rest of an extent.
    extent: Option<Extent>,
}

impl BlobBytes {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, extent: None }
    }

    /// Returns the next bytes, which belong to one requested range; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let piece = self.read().await?;
        if piece.is_err() {
            // A cut discards unflushed bytes. Yielding lets the head and the earlier pieces go out first.
            tokio::task::yield_now().await;
        }
        Some(piece)
    }

    /// Returns the next bytes. The end of the content is an error here, because more is expected.
    pub(super) async fn next_or_cut(&mut self) -> Result<Bytes, Cut> {
        self.next().await.unwrap_or_else(|| Err(Cut::too_short()))
    }

    async fn read(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            if let Some(extent) = self.extent.as_mut().filter(|extent| !extent.is_empty()) {
                let piece = extent.read(PIECE_BYTES).await;
                return Some(piece.map_err(|error| Cut::new(format!("the stored blob cannot be read: {error}"))));
            }
            match self.reader.next().await? {
                Ok(Piece::Extent(extent)) => self.extent = Some(extent),
                Ok(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Ok(Piece::Bytes(bytes)) => return Some(Ok(bytes)),
                Err(error) => return Some(Err(Cut::new(error.to_string()))),
            }
        }
    }
}
