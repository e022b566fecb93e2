//! Tests whether a file system has space and admits new files.

use std::fs;
use std::io;
use std::path::Path;

use super::files::write_new;
use super::located::located;
use super::nearest::nearest;
use crate::sys::random::random_id;

/// The space of a file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub total: u64,
    /// The space that an unprivileged process may still use.
    pub free: u64,
}

/// Returns the space of the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
}

/// Checks that a file can be made in this directory: makes one, syncs it and removes it.
pub fn probe_writable(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".probe-{}", random_id()));
    let probed = write_new(&path, b"probe");
    let _ = fs::remove_file(&path);
    located(directory, probed)
}

/// Checks that this directory can be made or, if it exists, that a file can be made in it. Everything that the check
/// makes is removed again.
pub fn probe_makeable(directory: &Path) -> io::Result<()> {
    let existing = nearest(directory);
    if existing == directory {
        let found = fs::metadata(directory)?;
        return if found.is_dir() { probe_writable(directory) } else { Err(io::ErrorKind::NotADirectory.into()) };
    }
    let trial = existing.join(format!(".probe-{}", random_id()));
    located(existing, fs::create_dir(&trial))?;
    fs::remove_dir(&trial)
}
