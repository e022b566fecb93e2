//! What a blob is read in.

use bytes::Bytes;

use crate::sys::Extent;

/// A piece of a blob.
pub enum Piece {
    /// To be sent from the file as it is.
    Extent(Extent),
    Bytes(Bytes),
}

/// Why a blob could not be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);
