//! The driver for a directory of a local or shared file system.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::verbs::{
    Changes, Child, Driver, Durability, FileLocks, LocalFile, LockGuard, ObjectStat, OpenedWriter, Writer,
};
use crate::oci::MAX_MANIFEST_BYTES;
use crate::store::StoredBlob;
use crate::store::key::ObjectKey;
use crate::sys::disk::{self, Changed, LockedFile, Share};

/// Keeps each object in a file below one root directory; the key is the path of the file.
#[derive(Debug)]
pub struct DiskDriver {
    root: PathBuf,
}

impl DiskDriver {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        if key.as_str().is_empty() { self.root.clone() } else { self.root.join(key.as_str()) }
    }
}

impl Driver for DiskDriver {
    fn describe(&self, key: &ObjectKey) -> String {
        self.path(key).display().to_string()
    }

    fn read(&self, key: &ObjectKey) -> io::Result<Option<Vec<u8>>> {
        disk::optional(disk::read_up_to(&self.path(key), MAX_MANIFEST_BYTES as u64))
    }

    fn write(&self, key: &ObjectKey, content: &[u8], durability: Durability) -> io::Result<()> {
        match durability {
            Durability::Synced => disk::write_atomic(&self.path(key), content),
            Durability::Unsynced => disk::write_into_durable(&self.path(key), content),
        }
    }

    fn open(&self, key: &ObjectKey) -> io::Result<Option<StoredBlob>> {
        LocalFile::new(self.path(key)).open()
    }

    fn stat(&self, key: &ObjectKey) -> io::Result<Option<ObjectStat>> {
        let path = self.path(key);
        let Some(found) = disk::optional(disk::metadata(&path))? else { return Ok(None) };
        if found.is_dir() {
            return disk::located(&path, Err(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Some(ObjectStat { size: found.len(), modified: found.modified().ok() }))
    }

    fn exists(&self, key: &ObjectKey) -> io::Result<bool> {
        Ok(disk::optional(disk::metadata(&self.path(key)))?.is_some())
    }

    fn each_child(&self, folder: &ObjectKey, visit: &mut dyn FnMut(Child)) -> io::Result<()> {
        disk::each(&self.path(folder), |entry| visit(Child { name: entry.name, is_folder: entry.is_dir }))
    }

    fn remove(&self, key: &ObjectKey) -> io::Result<bool> {
        disk::remove(&self.path(key))
    }

    fn remove_tree(&self, folder: &ObjectKey) -> io::Result<bool> {
        disk::remove_dir(&self.path(folder))
    }

    fn move_tree(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<bool> {
        disk::move_dir(&self.path(from), &self.path(to))
    }

    fn open_writer(&self, key: &ObjectKey) -> io::Result<OpenedWriter> {
        let path = self.path(key);
        let file = disk::open_writable(&path)?;
        let Some(file) = disk::try_lock(file)? else { return Ok(OpenedWriter::Busy) };
        // The file may have been committed between its opening and its lock: then the lock is on a published blob.
        if !disk::names(&path, file.file())? {
            return Ok(OpenedWriter::Moved);
        }
        Ok(OpenedWriter::Writer(Arc::new(file)))
    }

    fn commit(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<()> {
        disk::rename_durably(&self.path(from), &self.path(to))
    }

    fn adopt(&self, file: &LocalFile, to: &ObjectKey) -> io::Result<bool> {
        Ok(disk::optional(disk::link_or_copy(file.path(), &self.path(to)))?.is_some())
    }

    fn remove_empty_folders(&self, key: &ObjectKey, levels: usize) {
        disk::remove_empty(&self.path(key), levels);
    }

    fn changes(&self) -> Option<&dyn Changes> {
        Some(self)
    }

    fn file_locks(&self) -> Option<&dyn FileLocks> {
        Some(self)
    }
}

impl Changes for DiskDriver {
    fn changed(&self, folder: &ObjectKey) -> io::Result<Option<Changed>> {
        disk::changed(&self.path(folder))
    }
}

impl FileLocks for DiskDriver {
    fn create(&self, key: &ObjectKey) -> io::Result<()> {
        disk::open_writable(&self.path(key)).map(drop)
    }

    fn try_lock(&self, key: &ObjectKey, share: Share) -> io::Result<Option<LockGuard>> {
        let file = disk::open_writable(&self.path(key))?;
        Ok(disk::try_share(file, share)?.map(LockGuard::new))
    }
}

impl Writer for LockedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    fn write_at(&self, content: &[u8], offset: u64) -> io::Result<()> {
        self.file().write_all_at(content, offset)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.file().set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::disk::synced;

    /// A record may be lost in a crash. Its directories must not be: a synced object relies on them later.
    #[test]
    fn every_write_makes_its_directories_durable() {
        for durability in [Durability::Unsynced, Durability::Synced] {
            let root = tempfile::tempdir().unwrap();
            let driver = DiskDriver::new(root.path());
            let record = ObjectKey::new("entrepot/repositories/team/app/_pushes/sha256/ab");
            driver.write(&record, b"{}", durability).unwrap();
            let lost = synced::unsynced_above(&driver.path(&record), root.path());
            assert_eq!(lost, Vec::<PathBuf>::new(), "{durability:?}");
        }
    }
}
