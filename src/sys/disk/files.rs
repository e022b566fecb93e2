//! Files: reading, writing, renaming and linking them so that a crash leaves either the old state or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// The names of temporary files begin with this. They exist while a file is written.
pub(super) const TEMPORARY: &str = ".tmp-";

/// The most bytes of a file that is read whole. No record and no list has as many.
const WHOLE_BYTES: u64 = 64 << 20;

/// The most pieces that the kernel takes in one call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

pub use std::fs::Metadata;

use super::located::{located, located_full};
use super::unsupported::is_unsupported;
use crate::sys::clock::age_at;
use crate::sys::random::random_id;

/// The properties of a file that show whether it changed. They also change if the file is replaced, or keeps its
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl Stamp {
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { modified: metadata.modified().ok(), size: metadata.len(), inode: metadata.ino() })
    }
}

/// Turns "not found" into `None`. A file whose name the file system cannot hold does not exist either. Every other error
/// is returned, since it leaves open whether the file exists.
pub fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file that Entrepot wrote. Use [`super::read_named`] for files that a user names.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, WHOLE_BYTES)
}

/// Reads a file like [`read`]. A file of more than `most` bytes is an error of the kind `FileTooLarge`.
pub fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let read = || {
        let file = open_file(path)?;
        let size = file.metadata()?.len();
        let mut content = Vec::new();
        if size <= most {
            content.reserve(usize::try_from(size).unwrap_or(0));
            file.take(most + 1).read_to_end(&mut content)?;
        }
        if size.max(content.len() as u64) > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
        }
        Ok(content)
    };
    located(path, read())
}

/// Opens a file for reading. A pipe or a device is an error, and is not waited for.
pub fn open(path: &Path) -> io::Result<File> {
    located(path, open_file(path))
}

pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

/// Opens a file for reading and writing without truncating it. The file and its directories are made if they do not
/// exist.
pub fn open_writable(path: &Path) -> io::Result<File> {
    located(path, make_parent(path))?;
    located(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path))
}

/// Makes a new file with this mode from the first moment on. It is an error if the file exists.
pub fn make_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Returns the path of a file with all links resolved.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// Returns the metadata of a file or directory.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    located(path, fs::metadata(path))
}

/// Returns the time since a file was last modified. A time far ahead of `now`, the machine's clock, counts as very old.
pub fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    metadata.modified().map_or(Duration::ZERO, |at| age_at(at, now))
}

/// Removes a file. Returns false if it does not exist, which is no error.
pub fn remove(path: &Path) -> io::Result<bool> {
    Ok(optional(fs::remove_file(path))?.is_some())
}

/// Writes a whole file so that a reader, or a crash, sees the old content or the new one. It writes a temporary file,
/// syncs it, renames it, and syncs the directory.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path);
    let written = make_durably(parent(path))
        .and_then(|()| write_new(&temporary, content))
        .and_then(|()| rename_durably(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    located_full(path, written)
}

/// Writes a whole file like [`write_atomic`], but a crash may lose it. It serves records of the cache, which may be
/// lost.
pub fn write_replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path);
    let written =
        make_parent(path).and_then(|()| fs::write(&temporary, content)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a whole file like [`write_replace`], but into a durable directory. Otherwise a file that is synced into the same
/// directory later would hang below directories that a crash may lose.
pub fn write_into_durable(path: &Path, content: &[u8]) -> io::Result<()> {
    located_full(path, make_durably(parent(path)).and_then(|()| write_replace(path, content)))
}

/// Writes consecutive pieces at an offset. Few long writes take less than half the time of many short ones.
pub fn write_all_at(file: &File, mut offset: u64, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    // Skips empty pieces at the beginning.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let written = match rustix::io::pwritev(file, &left[..left.len().min(MAX_SLICES)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        offset += written as u64;
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Renames a synced file and makes the rename itself durable.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    let renamed = make_durably(parent(to)).and_then(|()| rename_or_copy(from, to)).and_then(|()| sync_parent(to));
    located_full(to, renamed)
}

/// Renames a synced file. If the new name is on another file system, it copies the file beside the new name, syncs the copy
/// and renames that.
fn rename_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        renamed => return renamed,
    }
    let temporary = sibling(to);
    let moved = copy_synced(from, &temporary).and_then(|()| fs::rename(&temporary, to));
    if moved.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    moved.and_then(|()| fs::remove_file(from))
}

fn copy_synced(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Renames a synced file like [`rename_durably`], unless the new name exists. Then the error has the kind
/// `AlreadyExists`, and `from` stays.
pub fn name_durably(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from)?,
        // The file system does not support links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && fs::symlink_metadata(to).is_err() => {
            rename_or_copy(from, to)?
        }
        Err(error) => return Err(error),
    }
    sync_parent(to)
}

/// Gives a file a second name and replaces an existing file of that name. It copies the file if the file system does
/// not support links.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = sibling(to);
    located_full(to, make_durably(parent(to)))?;
    let linked = fs::hard_link(from, &temporary).or_else(|_| copy_synced(from, &temporary));
    let made = linked.and_then(|()| rename_durably(&temporary, to));
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    located_full(to, made)
}

/// Sets the modification time of a file, which records its last use.
pub fn touch(path: &Path, time: SystemTime) -> io::Result<()> {
    OpenOptions::new().append(true).open(path)?.set_modified(time)
}

/// Replaces a leading `~/` by the home directory of this process's user.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Returns the directory that holds `path`; for a bare name, the current directory.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Writes a file that does not exist yet, and syncs it.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn make_parent(path: &Path) -> io::Result<()> {
    let parent = parent(path);
    if parent.is_dir() { Ok(()) } else { fs::create_dir_all(parent) }
}

/// Makes a directory and its ancestors and syncs each into its parent. Otherwise a crash could lose the directory with
/// its content.
fn make_durably(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    make_durably(parent(directory))?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(directory),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match File::open(parent(path))?.sync_all() {
        // A file system that cannot sync a directory is known by [`super::Lacks`].
        Err(error) if is_unsupported(&error) => {}
        synced => synced?,
    }
    #[cfg(test)]
    super::synced::note(parent(path));
    Ok(())
}

/// Returns an unused name beside `path`.
fn sibling(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(TEMPORARY);
    name.push(random_id());
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_is_only_a_file_that_cannot_exist() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| optional(metadata(&directory.path().join(name))).map(|found| found.is_some());
        write_replace(&directory.path().join("file"), b"").unwrap();
        std::os::unix::fs::symlink("loop", directory.path().join("loop")).unwrap();
        assert!(at("file").unwrap());
        for missing in ["none", "none/below", "file/below", &"long".repeat(100)] {
            assert!(!at(missing).unwrap(), "{missing}");
        }
        assert!(at("loop").is_err() && at("loop/below").is_err());
    }
}
