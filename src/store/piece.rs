//! The pieces that a blob is read in.

use bytes::Bytes;

use crate::sys::Extent;

/// A piece of a blob.
pub enum Piece {
    /// An extent of stored content, to be sent unchanged.
    Extent(Extent),
    Bytes(Bytes),
}

/// The reason why a blob could not be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);
