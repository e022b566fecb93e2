//! Locks on open files, which other processes respect too.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::optional;

/// The kind of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Other holders of a shared lock are admitted.
    Shared,
    /// No other holder is admitted.
    Alone,
}

/// Tries to take an exclusive lock on an open file. Returns false if this process or another one holds a lock on it.
/// The lock lasts as long as the file is open.
pub fn try_lock(file: &File) -> io::Result<bool> {
    try_share(file, Share::Alone)
}

/// Tries to take a lock of either kind, like [`try_lock`].
pub fn try_share(file: &File, share: Share) -> io::Result<bool> {
    let taken = match share {
        Share::Shared => file.try_lock_shared(),
        Share::Alone => file.try_lock(),
    };
    match taken {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns true if `path` still names the open file. The file may have been renamed after it was opened and before it
/// was locked.
pub fn names(path: &Path, file: &File) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, optional(fs::metadata(path))?);
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}
