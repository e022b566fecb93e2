//! Temporary files that were left.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::directories::each;
use super::files::{TEMPORARY, remove};

/// Removes each temporary file below a directory whose last write was before `before`. A crash, or a disk that failed, has
/// left such files. Directories that cannot be read are skipped. Returns the number of removed files.
pub fn remove_temporary(directory: &Path, before: SystemTime) -> u64 {
    let (mut removed, mut within) = (0, Vec::new());
    // What cannot be read now may be readable next time.
    let _ = each(directory, |entry| {
        let path = directory.join(&entry.name);
        if entry.is_dir {
            within.push(path);
        } else if entry.name.starts_with(TEMPORARY) && is_older(&path, before) && remove(&path).unwrap_or(false) {
            removed += 1;
        }
    });
    removed + within.iter().map(|directory| remove_temporary(directory, before)).sum::<u64>()
}

fn is_older(path: &Path, before: SystemTime) -> bool {
    fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified < before)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let now = SystemTime::now();
        assert_eq!(remove_temporary(root.path(), now - Duration::from_secs(60)), 0);
        assert_eq!(remove_temporary(root.path(), now + Duration::from_secs(60)), 2);
        assert!(!within.join(".tmp-1").exists() && within.join("tmp-1").exists() && within.join("data").exists());
        assert_eq!(remove_temporary(&root.path().join("missing"), now), 0);
    }
}
