//! Locks on open files. Other processes respect them, unless the file system has no locks: then they hold in this process alone.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::files::optional;
use super::unsupported::is_unsupported;

/// The kind of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Other holders of a shared lock are admitted.
    Shared,
    /// No other holder is admitted.
    Alone,
}

/// An open file that this process has locked. The lock lasts as long as the file is open, unless it is released before.
#[derive(Debug)]
pub struct LockedFile {
    // Dropped before the file is closed: afterwards another file may get the same number.
    claim: Mutex<Option<Claim>>,
    file: File,
}

/// The lock of this process on a file: its file system and its number there.
#[derive(Debug)]
struct Claim((u64, u64));

/// The files that this process has locked, with the number of shared locks; 0 stands for a lock that is not shared. Locks of
/// the file system (`flock`) would exclude holders in this process too, but not every file system has them.
static CLAIMS: Mutex<BTreeMap<(u64, u64), u32>> = Mutex::new(BTreeMap::new());

/// Tries to take an exclusive lock on an open file. Returns `None` if this process or another one holds a lock on it.
pub fn try_lock(file: File) -> io::Result<Option<LockedFile>> {
    try_share(file, Share::Alone)
}

/// Tries to take a lock of either kind, like [`try_lock`].
pub fn try_share(file: File, share: Share) -> io::Result<Option<LockedFile>> {
    let Some(claim) = Claim::take(&file, share)? else { return Ok(None) };
    match lock_for_all(&file, share) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) if is_unsupported(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Some(LockedFile { claim: Mutex::new(Some(claim)), file }))
}

/// Tries to take a lock of the file system. Returns false if another holder excludes it.
pub(super) fn lock_for_all(file: &File, share: Share) -> io::Result<bool> {
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

/// Returns true if `path` still names the open file. The file may have been renamed after it was opened and before it
/// was locked.
pub fn names(path: &Path, file: &File) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, optional(fs::metadata(path))?);
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

impl LockedFile {
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Releases the lock, although the file stays open.
    pub fn unlock(&self) -> io::Result<()> {
        let unlocked = self.file.unlock();
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
        unlocked.or_else(|error| if is_unsupported(&error) { Ok(()) } else { Err(error) })
    }
}

impl Claim {
    /// Takes a lock for this process. Returns `None` if another holder in it excludes this one.
    fn take(file: &File, share: Share) -> io::Result<Option<Self>> {
        let found = file.metadata()?;
        let file = (found.dev(), found.ino());
        let mut claims = claims();
        let shared = match (claims.get(&file), share) {
            (None, Share::Shared) => 1,
            (None, Share::Alone) => 0,
            (Some(1..), Share::Shared) => claims[&file] + 1,
            (Some(_), _) => return Ok(None),
        };
        claims.insert(file, shared);
        Ok(Some(Self(file)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = claims();
        match claims.get_mut(&self.0) {
            Some(shared @ 2..) => *shared -= 1,
            _ => drop(claims.remove(&self.0)),
        }
    }
}

fn claims() -> MutexGuard<'static, BTreeMap<(u64, u64), u32>> {
    // Each change is one operation on the map, so a poisoned lock holds a right map.
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The locks of this process alone, as on a file system without locks.
    #[test]
    fn claims_exclude_as_locks_do() {
        let directory = tempfile::tempdir().unwrap();
        let open = || File::create(directory.path().join("file")).unwrap();
        let take = |share| Claim::take(&open(), share).unwrap();
        let alone = take(Share::Alone);
        assert!(alone.is_some() && take(Share::Alone).is_none() && take(Share::Shared).is_none());
        drop(alone);
        let shared = [take(Share::Shared), take(Share::Shared)];
        assert!(shared.iter().all(Option::is_some) && take(Share::Alone).is_none());
        let [first, second] = shared;
        drop(first);
        assert!(take(Share::Alone).is_none());
        drop(second);
        assert!(take(Share::Alone).is_some());
    }
}
