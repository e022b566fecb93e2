//! The errors of transfers.

use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// The reason why a transfer ended before the blob was complete.
#[derive(Debug)]
pub(in crate::fills) enum TransferError {
    /// This source failed. Another one may continue.
    Source(UpstreamError),
    /// The upstream has nothing after the bytes on the disk, so they are not the beginning of this blob.
    Unresumable,
    /// The disk failed. `None`: the cache has no space.
    Storage(Option<StoreError>),
    /// The fill has no waiters any more, or it was cancelled.
    Stopped,
}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        Self::Storage(Some(error))
    }
}
