//! Files: blocking calls, to be run through [`super::blocking`].
#![expect(clippy::disallowed_methods, reason = "this is the seam: the one place that touches the file system")]

mod named;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::num::NonZeroI64;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use std::fs::Metadata;

pub use named::{NAMED_BYTES, read_named};

use super::random_id;

/// The space of a file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub total: u64,
    /// What an unprivileged process may still use.
    pub free: u64,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
}

/// By what a change of a file is seen: also one that replaces it, or keeps its length.
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

/// Turns "not found" into `None`.
pub fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file of our own. What somebody names is read by [`read_named`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens for reading and writing; made, with its directories, where it does not exist; never truncated.
pub fn open_writable(path: &Path) -> io::Result<File> {
    make_parent(path)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Makes a file that was not there, with this mode from the first moment on.
pub fn make_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Gives an open file to a user and a group, where it is not theirs already: only root may give to others.
pub fn give(file: &File, user: u32, group: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (user, group) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, (now.uid() != user).then_some(user), (now.gid() != group).then_some(group))
}

/// Where a file really lies, behind all links.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

pub fn metadata(path: &Path) -> io::Result<Metadata> {
    fs::metadata(path)
}

/// The entries of a directory, sorted by name; none where there is no directory. Names that are not UTF-8 are left out.
pub fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    each(path, |entry| entries.push(entry))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Shows the entries of a directory to `visit` while they are read, in no order: there may be millions. Otherwise as [`list`].
pub fn each(path: &Path, mut visit: impl FnMut(Entry)) -> io::Result<()> {
    let Some(directory) = optional(fs::read_dir(path))? else { return Ok(()) };
    for entry in directory {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        visit(Entry { name, is_dir: entry.file_type()?.is_dir() });
    }
    Ok(())
}

/// When something last came into a directory or left it, by the clock of its file system.
///
/// It is the time of the inode's change, which nobody can set back, as `touch` and `rsync` do with that of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(NonZeroI64);

impl Changed {
    /// The coarsest clock of a file system ticks every two seconds (FAT); a second more for one that goes wrong by that.
    const TICK: Duration = Duration::from_secs(3);

    /// Is it so long ago that whatever changes from `now` on gives the directory another time?
    pub fn is_settled(self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.0.get() < nanos(since).saturating_sub(nanos(Self::TICK))
    }
}

/// When a directory last changed; `None` where there is none.
pub fn changed(directory: &Path) -> io::Result<Option<Changed>> {
    let found = optional(fs::metadata(directory))?.filter(Metadata::is_dir);
    let nanos = |found: Metadata| found.ctime().saturating_mul(1_000_000_000).saturating_add(found.ctime_nsec());
    // Any other time does for that of 1970, as long as it is the same each time.
    Ok(found.map(|found| Changed(NonZeroI64::new(nanos(found)).unwrap_or(NonZeroI64::MIN))))
}

pub fn make_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes a directory that only its owner may enter.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a file; that it was not there is no error. Says whether it was.
pub fn remove(path: &Path) -> io::Result<bool> {
    Ok(optional(fs::remove_file(path))?.is_some())
}

/// Removes the directories that a file was to be written to, so many of them upwards, as far as they are empty.
pub fn remove_empty(file: &Path, above: usize) {
    let _ = file.ancestors().skip(1).take(above).try_for_each(fs::remove_dir);
}

/// Removes a directory and all below it; that it was not there is no error. Says whether it was.
pub fn remove_dir(path: &Path) -> io::Result<bool> {
    Ok(optional(fs::remove_dir_all(path))?.is_some())
}

/// Writes a whole file so that a reader, or a crash, sees the old content or the new: temporary file, sync, rename, sync of the directory.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path);
    let written = make_durably(parent(path))
        .and_then(|()| write_new(&temporary, content))
        .and_then(|()| rename_durably(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// As [`write_atomic`], but a crash may lose it: for records of the cache, which may be lost any time.
pub fn write_replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path);
    let written =
        make_parent(path).and_then(|()| fs::write(&temporary, content)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Renames a file that was synced to where it shall be found, and makes the rename itself durable.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    make_durably(parent(to))?;
    fs::rename(from, to)?;
    sync_parent(to)
}

/// The same, where nothing has that name yet; else an error of the kind `AlreadyExists`, and `from` stays.
pub fn name_durably(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from)?,
        // Where the file system cannot link.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)?
        }
        Err(error) => return Err(error),
    }
    sync_parent(to)
}

/// Gives a file a second name; an existing one is replaced. Where the file system cannot link, it copies.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = sibling(to);
    make_durably(parent(to))?;
    let copy = || fs::copy(from, &temporary).and_then(|_| File::open(&temporary)?.sync_all());
    let made = fs::hard_link(from, &temporary).or_else(|_| copy()).and_then(|()| rename_durably(&temporary, to));
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    made
}

/// Sets a file's modification time, which is how "last used" is remembered.
pub fn touch(path: &Path, time: SystemTime) -> io::Result<()> {
    OpenOptions::new().append(true).open(path)?.set_modified(time)
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Beside others who hold it so.
    Shared,
    Alone,
}

/// Takes an exclusive lock on an open file if nobody holds one, in this process or another. It lives as long as the file is open.
pub fn try_lock(file: &File) -> io::Result<bool> {
    try_share(file, Share::Alone)
}

/// As [`try_lock`], or beside others.
pub fn try_share(file: &File, share: Share) -> io::Result<bool> {
    let taken = match share {
        Share::Shared => file.try_lock_shared(),
        Share::Alone => file.try_lock(),
    };
    match taken {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Is the open file still the one that `path` names? A file may have been renamed between its opening and its lock.
pub fn names(path: &Path, file: &File) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, optional(fs::metadata(path))?);
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

/// The space of the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
}

/// Can a file be made in this directory? It is made, synced and removed.
pub fn probe_writable(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".probe-{}", random_id()));
    let probed = write_new(&path, b"probe");
    let _ = fs::remove_file(&path);
    probed
}

/// Could this directory be made, or, where it is there, a file in it? What is made to find out is removed.
pub fn probe_makeable(directory: &Path) -> io::Result<()> {
    let existing = nearest(directory);
    if existing == directory {
        let found = fs::metadata(directory)?;
        return if found.is_dir() { probe_writable(directory) } else { Err(io::ErrorKind::NotADirectory.into()) };
    }
    let trial = existing.join(format!(".probe-{}", random_id()));
    fs::create_dir(&trial)?;
    fs::remove_dir(&trial)
}

/// The path itself if something is there, be it a link that leads nowhere; else the nearest above it that is there.
pub fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(Path::new("."))
}

/// What is written as `~/…` lies in the home of this process's user.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Who owns this path: user and group number.
pub fn owner(path: &Path) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.uid(), metadata.gid()))
}

/// The user and group this process runs as.
pub fn process_owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Why the file that somebody named cannot be read, and what to do: `it does not exist; write …`.
pub fn why(path: &Path, error: &io::Error) -> String {
    if let Some(unfit) = error.get_ref().and_then(|error| error.downcast_ref::<named::Unfit>()) {
        return unfit.to_string();
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if path.starts_with("~") => {
            "it does not exist, and `~` is not filled in here; write the whole path".to_owned()
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            // Where a relative path begins is what people forget.
            let from = std::env::current_dir().ok().filter(|_| path.is_relative());
            let from = from.map(|from| format!(" in {}, where this was started", from.display())).unwrap_or_default();
            format!("it does not exist{from}; make it, or write the path of one that does")
        }
        io::ErrorKind::IsADirectory => "it is a directory; write the path of a file in it".to_owned(),
        io::ErrorKind::PermissionDenied => {
            let (user, group) = process_owner();
            format!(
                "it may not be read by {user}:{group}, as whom this runs; let that user read it, or run as its owner"
            )
        }
        _ => format!("it cannot be read: {error}"),
    }
}

/// How long ago a file was last modified, on the machine's clock.
pub fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    metadata.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn make_parent(path: &Path) -> io::Result<()> {
    let parent = parent(path);
    if parent.is_dir() { Ok(()) } else { fs::create_dir_all(parent) }
}

/// Makes a directory and those above it, each synced into the one that holds it: else a crash could lose it with all it holds.
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
    File::open(parent(path))?.sync_all()
}

/// The directory that holds `path`; of a bare name, the current one.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// A name beside `path` that nobody else uses.
fn sibling(path: &Path) -> std::path::PathBuf {
    let mut name = std::ffi::OsString::from(".tmp-");
    name.push(random_id());
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_file_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let said = |path: &Path| why(path, &read(path).unwrap_err());
        assert!(said(&missing).starts_with("it does not exist; make it"), "{}", said(&missing));
        assert!(
            said(Path::new("missing/file")).contains(", where this was started; "),
            "relative paths begin somewhere"
        );
        assert!(said(Path::new("~/missing")).contains("`~` is not filled in"));
        assert!(said(directory.path()).contains("a directory; write the path of a file in it"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let (user, group) = process_owner();
        assert!(why(&missing, &denied).contains(&format!("may not be read by {user}:{group}")));
    }
}
