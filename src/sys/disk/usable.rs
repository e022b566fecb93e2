//! Checks whether an entry of a directory can be used.

use std::fs;
use std::path::Path;

use super::files::open_file;

/// Returns true if a path names a directory that can be listed, or nothing.
pub fn is_usable_directory(path: &Path) -> bool {
    !exists(path) || fs::read_dir(path).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok()))
}

/// Returns true if a path names a file that can be opened for reading, or nothing.
pub fn is_usable_file(path: &Path) -> bool {
    !exists(path) || open_file(path).and_then(|file| file.metadata()).is_ok_and(|found| found.is_file())
}

/// Returns true if a path names a file that can be opened for reading and has at most `most` bytes, or nothing.
pub fn is_usable_record(path: &Path, most: u64) -> bool {
    is_usable_file(path) && fs::metadata(path).map_or(true, |found| found.len() <= most)
}

/// Returns true if a path names anything, also if it is not known what.
pub fn exists(path: &Path) -> bool {
    super::files::optional(fs::symlink_metadata(path)).map_or(true, |found| found.is_some())
}
