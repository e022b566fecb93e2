//! The nearest existing ancestor of a path, and the disk that it lies on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the path itself if it exists, even as a link to nothing; otherwise its nearest existing ancestor.
pub fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(Path::new("."))
}

/// Returns true if two paths lie on the same disk, or if that is not known. A path that does not exist stands for its nearest
/// existing ancestor.
pub fn shares_disk(one: &Path, other: &Path) -> bool {
    let disk = |path: &Path| path.ancestors().find_map(|path| fs::metadata(path).ok()).map(|found| found.dev());
    disk(one).is_none_or(|one| disk(other).is_none_or(|other| one == other))
}
