//! What a file system cannot do, and the steps of a push that show it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{TEMPORARY, parent, rename_durably, write_new};
use super::located::located_step;
use super::locks::{Share, lock_for_all};
use super::unsupported::is_unsupported;
use crate::sys::random::random_id;

/// What the file systems of a store lack. The store works without it, but promises less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// There are no locks (`flock`), so only one process may use the store.
    pub locks: bool,
    /// A directory cannot be synced, so a crash of the machine may undo what has just been stored.
    pub directory_sync: bool,
    /// Arriving and complete content lie on different file systems, so a file is copied where it would be renamed.
    pub one_disk: bool,
}

impl Lacks {
    /// Returns what either lacks.
    pub fn and(self, other: Self) -> Self {
        Self {
            locks: self.locks || other.locks,
            directory_sync: self.directory_sync || other.directory_sync,
            one_disk: self.one_disk || other.one_disk,
        }
    }
}

/// Does what a push does: makes a file in one directory, locks and syncs it, moves it to another directory, and syncs that
/// one. A directory that does not exist stands for its nearest existing ancestor. Returns what the file systems lack. An error
/// names the step and the path. Everything that was made is removed again.
pub fn rehearse_push(from: &Path, to: &Path) -> io::Result<Lacks> {
    let (from, to) = (nearest_directory(from), nearest_directory(to));
    let name = format!("{TEMPORARY}{}", random_id());
    let (arriving, complete) = (from.join(&name), to.join(format!("{name}-moved")));
    let rehearsed = steps(&arriving, &complete);
    let _ = (fs::remove_file(&arriving), fs::remove_file(&complete));
    rehearsed
}

fn steps(arriving: &Path, complete: &Path) -> io::Result<Lacks> {
    located_step("create and sync a file in", parent(arriving), write_new(arriving, b"probe"))?;
    let file = located_step("open a file in", parent(arriving), File::open(arriving))?;
    let locks = located_step("lock a file in", parent(arriving), lacking(lock_for_all(&file, Share::Alone).map(drop)))?;
    located_step("move a file to", parent(complete), rename_durably(arriving, complete))?;
    let sync =
        |path: &Path| located_step("sync", path, lacking(File::open(path).and_then(|directory| directory.sync_all())));
    let directory_sync = sync(parent(arriving))? || sync(parent(complete))?;
    let disk = |path: &Path| located_step("examine", path, fs::metadata(path)).map(|found| found.dev());
    Ok(Lacks { locks, directory_sync, one_disk: disk(parent(arriving))? != disk(parent(complete))? })
}

/// Returns true if the operation is not supported.
fn lacking(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if is_unsupported(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

fn nearest_directory(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new(".")).to_owned()
}
