//! The directories that were synced, for tests: a test cannot cut the power.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

thread_local! {
    static SYNCED: RefCell<HashSet<PathBuf>> = RefCell::default();
}

/// Notes that this thread synced a directory.
pub fn note(directory: &Path) {
    SYNCED.with_borrow_mut(|synced| synced.insert(directory.to_owned()));
}

/// Returns the directories above `file` and below `root` that a crash may lose: this thread did not sync the directory
/// that holds them.
pub fn unsynced_above(file: &Path, root: &Path) -> Vec<PathBuf> {
    let above = file.ancestors().skip(1).take_while(|directory| *directory != root);
    let is_lost = |directory: &&Path| {
        SYNCED.with_borrow(|synced| directory.parent().is_none_or(|parent| !synced.contains(parent)))
    };
    above.filter(is_lost).map(Path::to_owned).collect()
}
