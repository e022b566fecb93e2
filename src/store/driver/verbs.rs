//! The interface of a driver.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::StoredBlob;
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::key::ObjectKey;
use crate::sys::disk::{self, Changed, Share};
use crate::sys::{Clock, ReadAt};

/// A storage of objects under keys. Every verb may block; call them through [`Backend::run`](super::Backend::run).
///
/// Drivers need no folders of their own: a folder is the common beginning of some keys, and one without objects may not
/// exist.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Returns the place of an object for messages, e.g. the path of its file.
    fn describe(&self, key: &ObjectKey) -> String;

    /// Reads a small object whole.
    fn read(&self, key: &ObjectKey) -> io::Result<Option<Vec<u8>>>;

    /// Writes a small object whole. A reader, or a crash, finds the old content or the new.
    fn write(&self, key: &ObjectKey, content: &[u8], durability: Durability) -> io::Result<()>;

    /// Opens an object for reading. It stays readable when it is removed or replaced.
    fn open(&self, key: &ObjectKey) -> io::Result<Option<StoredBlob>>;

    /// Returns the size and the time of an object.
    fn stat(&self, key: &ObjectKey) -> io::Result<Option<ObjectStat>>;

    /// Returns true if there is such an object or folder.
    fn exists(&self, key: &ObjectKey) -> io::Result<bool>;

    /// Shows each child of a folder to `visit` while the folder is read, in no order: there may be millions. A folder
    /// that does not exist has no children.
    fn each_child(&self, folder: &ObjectKey, visit: &mut dyn FnMut(Child)) -> io::Result<()>;

    /// Removes an object. Returns false if there was none.
    fn remove(&self, key: &ObjectKey) -> io::Result<bool>;

    /// Removes a folder with everything in it. Returns false if there was none.
    fn remove_tree(&self, folder: &ObjectKey) -> io::Result<bool>;

    /// Moves a folder with everything in it to a key that does not exist, in the same time however much is in it. Returns
    /// false if there was none. A driver that cannot do that fails with `CrossesDevices` and changes nothing.
    fn move_tree(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<bool>;

    /// Opens an object for writing at its end; creates it if it does not exist. Excludes other writers where the driver
    /// can.
    fn open_writer(&self, key: &ObjectKey) -> io::Result<OpenedWriter>;

    /// Moves a written and synced object to its final key, durably. An object that has this key already is replaced;
    /// its readers keep the old content.
    fn commit(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<()>;

    /// Copies a local file to a key, or links it if the driver can. Returns false if the file does not exist.
    fn adopt(&self, file: &LocalFile, to: &ObjectKey) -> io::Result<bool>;

    /// Removes the folders above an object that could not be written, up to `levels` of them, as far as they are empty.
    fn remove_empty_folders(&self, _key: &ObjectKey, _levels: usize) {}

    /// Returns the capability to see cheaply that a folder has not changed. Without it, folders are listed each time.
    fn changes(&self) -> Option<&dyn Changes> {
        None
    }

    /// Returns the capability to exclude other processes. Without it, one process may use the storage at a time.
    fn file_locks(&self) -> Option<&dyn FileLocks> {
        None
    }
}

impl dyn Driver + '_ {
    /// Returns the children of a folder, sorted by name.
    pub fn children(&self, folder: &ObjectKey) -> io::Result<Vec<Child>> {
        let mut children = Vec::new();
        self.each_child(folder, &mut |child| children.push(child))?;
        children.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(children)
    }

    /// Returns the children of a folder, sorted by name; none if it cannot be read, which is noted.
    pub fn readable_children(&self, folder: &ObjectKey, bad: &BadEntries) -> Vec<Child> {
        bad.accept(Wanted::Folder, || self.describe(folder), self.children(folder)).unwrap_or_default()
    }
}

/// The capability of a driver to see that a folder has not changed since it was listed.
pub trait Changes {
    /// Returns when an entry last appeared in a folder or disappeared from it; `None` if there is no such folder.
    fn changed(&self, folder: &ObjectKey) -> io::Result<Option<Changed>>;
}

/// The capability of a driver to lock something for all processes that use the storage.
pub trait FileLocks {
    /// Creates the object that a later lock of this key needs. A lock taken on a full storage then needs no space.
    fn create(&self, key: &ObjectKey) -> io::Result<()>;

    /// Takes a lock; `None` while another holder excludes it. Never waits.
    fn try_lock(&self, key: &ObjectKey, share: Share) -> io::Result<Option<LockGuard>>;
}

/// Holds a lock until it is dropped.
pub struct LockGuard {
    _held: Box<dyn Send + Sync>,
}

impl LockGuard {
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

/// An object that one request writes to.
pub trait Writer: ReadAt {
    /// Returns the number of bytes that the object had when it was opened, or has now.
    fn size(&self) -> io::Result<u64>;

    /// Writes bytes at an offset, which is the end of the object.
    fn write_at(&self, content: &[u8], offset: u64) -> io::Result<()>;

    /// Removes the bytes after the first `length`.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Makes all written bytes durable.
    fn sync(&self) -> io::Result<()>;
}

/// The outcome of [`Driver::open_writer`].
pub enum OpenedWriter {
    Writer(Arc<dyn Writer>),
    /// Another process is writing to the object.
    Busy,
    /// The object was moved away while it was opened.
    Moved,
}

/// Says whether a write survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the write returns, a crash cannot undo it.
    Synced,
    /// A crash may undo the write: for records that may be lost.
    Unsynced,
}

/// A child of a folder: an object, or a folder inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub name: String,
    pub is_folder: bool,
}

/// The properties of an object that a driver knows without reading it.
#[derive(Clone, Copy, Debug)]
pub struct ObjectStat {
    pub size: u64,
    pub modified: Option<SystemTime>,
}

impl ObjectStat {
    /// Returns how long ago the object was written; zero if that is unknown. A time from the future counts as very old.
    pub fn age(&self, clock: &Clock) -> Duration {
        self.modified.map_or(Duration::ZERO, |at| clock.age_of(at))
    }
}

/// A file of the local disk whose content may be adopted into the storage. Its path stays inside the driver and the
/// cache.
#[derive(Clone, Debug)]
pub struct LocalFile(PathBuf);

impl LocalFile {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(in crate::store) fn path(&self) -> &Path {
        &self.0
    }

    /// Opens the file for reading. Blocks.
    pub fn open(&self) -> io::Result<Option<StoredBlob>> {
        let Some(file) = disk::optional(disk::open(&self.0))? else { return Ok(None) };
        let found = file.metadata()?;
        if found.is_dir() {
            return disk::located(&self.0, Err(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Some(StoredBlob::new(Arc::new(file), found.len())))
    }
}
