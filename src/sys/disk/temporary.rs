//! Temporary files that were left.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::directories::each;
use super::files::{TEMPORARY, remove};
use crate::sys::clock::age_at;

/// Removes each temporary file below a directory whose last write is longer ago than `age`. A time far ahead of `now`, the
/// machine's clock, counts as long ago. A crash, or a disk that failed, has left such files. Directories that cannot be read are
/// skipped. Returns the number of removed files.
pub fn remove_temporary(directory: &Path, now: SystemTime, age: Duration) -> u64 {
    let (mut removed, mut within) = (0, Vec::new());
    // What cannot be read now may be readable next time.
    let _ = each(directory, |entry| {
        let path = directory.join(&entry.name);
        if entry.is_dir {
            within.push(path);
        } else if entry.name.starts_with(TEMPORARY) && is_older(&path, now, age) && remove(&path).unwrap_or(false) {
            removed += 1;
        }
    });
    removed + within.iter().map(|directory| remove_temporary(directory, now, age)).sum::<u64>()
}

fn is_older(path: &Path, now: SystemTime, age: Duration) -> bool {
    fs::symlink_metadata(path).and_then(|found| found.modified()).is_ok_and(|modified| age_at(modified, now) > age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_temporary_files_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let within = root.path().join("a/b");
        fs::create_dir_all(&within).unwrap();
        for name in [".tmp-1", "tmp-1", "data"] {
            fs::write(within.join(name), b"").unwrap();
        }
        std::os::unix::fs::symlink("/", root.path().join(".tmp-link")).unwrap();
        let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
        assert_eq!(remove_temporary(root.path(), now, minute), 0);
        let from_the_future = fs::File::create(within.join(".tmp-2")).unwrap();
        from_the_future.set_modified(now + 48 * 60 * minute).unwrap();
        assert_eq!(remove_temporary(root.path(), now, minute), 1);
        assert_eq!(remove_temporary(root.path(), now + 2 * minute, minute), 2);
        assert!(!within.join(".tmp-1").exists() && within.join("tmp-1").exists() && within.join("data").exists());
        assert_eq!(remove_temporary(&root.path().join("missing"), now, minute), 0);
    }
}
