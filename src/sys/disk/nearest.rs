//! The nearest existing ancestor of a path.

use std::fs;
use std::path::Path;

/// Returns the path itself if it exists, even as a link to nothing; otherwise its nearest existing ancestor.
pub fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(Path::new("."))
}
