//! Errors of the store.

use std::io;
use std::sync::Arc;

use crate::oci::Digest;

/// The reason why the store could not do its work. Cheap to clone, so that each waiter for one operation can have it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage failed. `place` names the file, or whatever holds the object.
    #[error("cannot {action} {place}: {source}")]
    Io { action: &'static str, place: String, source: Arc<io::Error> },
    #[error("the content has the digest {found}, not {expected}")]
    Mismatch { expected: Digest, found: Digest },
    /// The upload does not exist: it was finished, cancelled or purged, or it never began.
    #[error("no such upload")]
    NoUpload,
    /// Another request, in this process or another, is writing to the upload.
    #[error("the upload is being written by another request")]
    Busy,
}

impl StoreError {
    /// Returns true if the storage is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Returns true if this process lacks the permission.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    pub(super) fn io(action: &'static str, place: String, source: io::Error) -> Self {
        Self::Io { action, place, source: Arc::new(source) }
    }
}
