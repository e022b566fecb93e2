//! Errors that say that a file system has no such operation.

use std::io;

use rustix::io::Errno;

/// Returns true if the error means that the file system has no such operation.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    // NFS without its lock service answers ENOLCK. CIFS and FUSE answer EINVAL for the sync of a directory.
    const UNSUPPORTED: [Errno; 4] = [Errno::NOLCK, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS];
    error
        .raw_os_error()
        .is_some_and(|number| UNSUPPORTED.iter().any(|unsupported| unsupported.raw_os_error() == number))
}
