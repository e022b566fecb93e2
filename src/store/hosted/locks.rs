//! The locks of repositories. A request that only adds to a repository shares the lock with others. A request that
//! removes content holds the lock alone. So no content is removed between the check that it exists and the creation of
//! the link to it.
//!
//! Repositories share a fixed number of locks. Each is a lock in this process and, if the driver can, a locked file
//! that excludes the other processes on the same storage. While a caller holds all of them, no other caller changes
//! pushed content.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::store::driver::{Backend, Driver, FileLocks, LockGuard};
use crate::store::{StoreError, layout};
use crate::sys::disk::Share;

/// The number of locks.
const LOCKS: u8 = 64;

/// The pauses between attempts at a lock that another process holds: the first one, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// A wait for a lock that takes this long is logged.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// The locks in this process. They are async because a change holds one across its steps.
#[derive(Clone)]
pub struct Locks {
    backend: Backend,
    local: Arc<[Arc<RwLock<()>>]>,
}

/// Holds the lock of a repository until it is dropped.
pub struct RepositoryLock {
    /// Excludes other processes. Dropped first, so that the next holder in this process finds it free.
    _shared: Option<LockGuard>,
    _local: LocalGuard,
}

/// Holds the locks of all repositories until it is dropped.
pub struct AllLocks {
    _locks: Vec<RepositoryLock>,
}

#[expect(dead_code, reason = "the guards are held, and not read")]
enum LocalGuard {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Locks {
    pub fn new(backend: Backend) -> Self {
        Self { backend, local: (0..LOCKS).map(|_| Arc::default()).collect() }
    }

    /// Waits for the lock of a repository. A caller that stops waiting holds nothing.
    pub async fn lock(&self, repository: &RepositoryName, share: Share) -> Result<RepositoryLock, StoreError> {
        self.lock_number(number(repository), share).await
    }

    /// Waits for the locks of all repositories. They are taken in order, so that two such callers cannot block each
    /// other.
    pub async fn lock_all(&self) -> Result<AllLocks, StoreError> {
        let mut locks = Vec::new();
        for number in 0..LOCKS {
            locks.push(self.lock_number(number, Share::Alone).await?);
        }
        Ok(AllLocks { _locks: locks })
    }

    async fn lock_number(&self, number: u8, share: Share) -> Result<RepositoryLock, StoreError> {
        let lock = Arc::clone(&self.local[usize::from(number)]);
        let local = match share {
            Share::Shared => LocalGuard::Shared(lock.read_owned().await),
            Share::Alone => LocalGuard::Alone(lock.write_owned().await),
        };
        Ok(RepositoryLock { _shared: self.lock_file(number, share).await?, _local: local })
    }

    async fn lock_file(&self, number: u8, share: Share) -> Result<Option<LockGuard>, StoreError> {
        if self.backend.driver().file_locks().is_none() {
            return Ok(None);
        }
        let key = layout::lock(number);
        let (mut waiter, mut pause, mut waited) = (None, PAUSES[0], Duration::ZERO);
        loop {
            let attempt = move |driver: &dyn Driver| attempt(driver.file_locks(), number, share, waiter);
            waiter = match self.backend.change("lock", &key, attempt).await? {
                Attempt::Locked(guard) => return Ok(guard),
                Attempt::Excluded(waiter) => waiter,
            };
            // Waiting in the kernel would keep one thread for each waiter.
            tokio::time::sleep(pause).await;
            if waited < LONG_WAIT && waited + pause >= LONG_WAIT {
                let lock = self.backend.driver().describe(&key);
                tracing::warn!(lock, "another process has held the lock of a repository for 10 s; waiting for it");
            }
            (waited, pause) = (waited + pause, (pause * 2).min(PAUSES[1]));
        }
    }
}

/// The outcome of one attempt at a lock.
enum Attempt {
    Locked(Option<LockGuard>),
    /// Another process holds the lock. A caller that wants it alone may hold the waiter's lock meanwhile.
    Excluded(Option<LockGuard>),
}

/// Tries to lock the files of one lock. A caller that wants the lock alone holds the waiter's lock until it succeeds;
/// each other caller needs the waiter's lock for a moment, so callers that share the lock cannot follow each other
/// without end.
fn attempt(locks: Option<&dyn FileLocks>, number: u8, share: Share, waiter: Option<LockGuard>) -> io::Result<Attempt> {
    let Some(locks) = locks else { return Ok(Attempt::Locked(None)) };
    let waiter = match waiter {
        Some(waiter) => Some(waiter),
        None => locks.try_lock(&layout::lock_waiter(number), share)?,
    };
    if waiter.is_some()
        && let Some(guard) = locks.try_lock(&layout::lock(number), share)?
    {
        return Ok(Attempt::Locked(Some(guard)));
    }
    Ok(Attempt::Excluded(waiter.filter(|_| share == Share::Alone)))
}

/// Returns the number of the lock that a repository uses: the same in every process and version.
fn number(repository: &RepositoryName) -> u8 {
    let digest = Digest::of(Algorithm::Sha256, repository.as_str().as_bytes());
    u8::from_str_radix(&digest.hex()[..2], 16).map_or(0, |byte| byte % LOCKS)
}

/// Creates the files that are locked. Blocks.
pub fn create_files(driver: &dyn Driver) -> io::Result<()> {
    let Some(locks) = driver.file_locks() else { return Ok(()) };
    for number in 0..LOCKS {
        locks.create(&layout::lock(number))?;
        locks.create(&layout::lock_waiter(number))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_numbers_never_change() {
        let number = |name: &str| number(&name.parse().unwrap());
        assert_eq!([number("team/app"), number("a")], [36, 10]);
    }
}
