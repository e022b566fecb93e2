//! Directories: listing, making and removing them, and the time of their last change.

use std::fs::{self, Metadata};
use std::io;
use std::num::NonZeroI64;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::{optional, parent};
use super::located::located;
use super::nearest::nearest;

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

/// Lists the entries of a directory, sorted by name. A missing directory has no entries. Names that are not UTF-8 are
/// left out.
pub fn list(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    each(path, |entry| entries.push(entry))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Passes each entry of a directory to `visit`, in no order, while the directory is read: there may be millions.
/// Otherwise it does the same as [`list`].
pub fn each(path: &Path, mut visit: impl FnMut(DirEntry)) -> io::Result<()> {
    let Some(directory) = optional(located(path, fs::read_dir(path)))? else { return Ok(()) };
    for entry in directory {
        let entry = located(path, entry)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        visit(DirEntry { name, is_dir: located(path, entry.file_type())?.is_dir() });
    }
    Ok(())
}

/// The time when an entry was last added to a directory or removed from it, by the clock of its file system.
///
/// It is the inode's change time, which programs cannot set. They can set the modification time, as `touch` and `rsync`
/// do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(NonZeroI64);

impl Changed {
    /// The longest step in which a file system counts time is two seconds (FAT). One second is added, because the clock of a
    /// file server may differ by it.
    const TICK: Duration = Duration::from_secs(3);

    /// Returns true if the change is old enough: any change from `now` on gives the directory another time.
    pub fn is_settled(self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.0.get() < nanos(since).saturating_sub(nanos(Self::TICK))
    }
}

/// Returns the time of a directory's last change; `None` if there is no such directory.
pub fn changed(directory: &Path) -> io::Result<Option<Changed>> {
    let found = optional(located(directory, fs::metadata(directory)))?.filter(Metadata::is_dir);
    let nanos = |found: Metadata| found.ctime().saturating_mul(1_000_000_000).saturating_add(found.ctime_nsec());
    // Zero, the beginning of 1970, has no place in this type. Another constant stands for it, since times are only compared.
    Ok(found.map(|found| Changed(NonZeroI64::new(nanos(found)).unwrap_or(NonZeroI64::MIN))))
}

/// Makes a directory and its ancestors.
pub fn make_dir(path: &Path) -> io::Result<()> {
    located(nearest(path), fs::create_dir_all(path))
}

/// Makes a directory that only its owner may enter.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    located(nearest(path), fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// Removes up to `above` directories above `file`, from the innermost one upwards, until one is not empty.
pub fn remove_empty(file: &Path, above: usize) {
    let _ = file.ancestors().skip(1).take(above).try_for_each(fs::remove_dir);
}

/// Moves a directory with everything below it to a path that does not exist. That takes the same time however much is below it.
/// Returns false if there is no such directory. The error `CrossesDevices` means that the paths lie on different file systems.
pub fn move_dir(from: &Path, to: &Path) -> io::Result<bool> {
    fs::create_dir_all(parent(to))?;
    Ok(optional(fs::rename(from, to))?.is_some())
}

/// Removes a directory and everything below it. Returns false if it does not exist, which is no error.
pub fn remove_dir(path: &Path) -> io::Result<bool> {
    Ok(optional(fs::remove_dir_all(path))?.is_some())
}
