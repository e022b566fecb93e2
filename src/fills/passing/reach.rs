//! Whether a reader or a stream reaches the end of a blob.

use super::prefix::Prefix;
use crate::oci::Span;

/// The number of bytes at the end of a blob that no reader gets before the whole blob is verified.
pub const WITHHELD: u64 = 64 << 10;

/// The reach of a reader: whether it reads up to the blob's last byte. It is decided once, from the size that the
/// client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The reader stops earlier, so it cannot wait until the whole blob is verified.
    Early,
    /// The reader's body ends only when the whole blob is verified.
    End,
}

impl Reach {
    /// Returns the reach of a reader that stops at `end`, of a blob of `size` bytes.
    pub fn of(end: Option<u64>, size: Option<u64>) -> Self {
        if end.zip(size).is_some_and(|(end, size)| end < size) { Self::Early } else { Self::End }
    }
}

/// The bytes that a new stream brings.
pub(super) enum PassRange {
    /// Everything after a prefix. It is verified at the end.
    Verified(Prefix),
    /// A range that ends before the end of the blob. It is not verified.
    Range(Span),
}
