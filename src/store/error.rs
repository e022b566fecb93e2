//! Errors of the store.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::oci::Digest;
use crate::sys::disk;

/// The reason why the store could not do its work. Cheap to clone, so that each waiter for one operation can have it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage failed. `place` names the file, or whatever holds the object.
    #[error("cannot {action} {}: {source}", exact(.place, .source))]
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
        matches!(self, Self::Io { source, .. } if disk::is_full(source))
    }

    /// Returns the path that there is no space for; `None` if the error is another one.
    pub fn full_place(&self) -> Option<&Path> {
        match self {
            Self::Io { source, place, .. } if disk::is_full(source) => {
                Some(disk::place_of(source).unwrap_or(Path::new(place)))
            }
            _ => None,
        }
    }

    /// Returns true if this process lacks the permission.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Returns the path that failed, if it is known more precisely than the place in the message.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { source, .. } => disk::place_of(source),
            _ => None,
        }
    }

    pub(super) fn io(action: &'static str, place: String, source: io::Error) -> Self {
        Self::Io { action, place, source: Arc::new(source) }
    }
}

/// Returns the path that an error is about. An error of a step names it itself.
fn exact<'e>(place: &'e str, source: &'e io::Error) -> Cow<'e, str> {
    match disk::place_of(source) {
        Some(path) if !source.to_string().contains(&*path.to_string_lossy()) => path.to_string_lossy(),
        _ => place.into(),
    }
}
