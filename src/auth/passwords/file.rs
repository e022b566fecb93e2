//! The password file of the running server: read at start, and again when it changes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::error::{PasswordFileError, with_file_name};
use super::htpasswd::{BadLine, MAX_BYTES, Users};
use super::provision::{self, provision};
use crate::sys::disk::{self, Stamp};
use crate::sys::{Clock, Moment, blocking};

/// The shortest time between two checks of the file for changes.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A password file and the users that were last read from it.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    clock: Clock,
    users: ArcSwap<Users>,
    /// True while a thread checks the file. If the disk hangs, no second thread waits for it.
    checking: AtomicBool,
    /// The time of the last check. A std mutex, because it is held for one comparison and never across an await.
    checked: Mutex<Moment>,
    /// The stamp of the file that was last read, even if it was malformed; `None` if there was no file. A std mutex, because only
    /// blocking threads hold it. They hold it while they read and parse, so that an older change cannot overwrite a newer one.
    seen: Mutex<Option<Stamp>>,
}

impl WatchedFile {
    /// Reads the file. A file that does not exist is created with a random password, which is logged once, as `registry:2` does.
    /// Blocks.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<Self, PasswordFileError> {
        let unreadable = |source| PasswordFileError::Read { path: path.to_owned(), source };
        let mut stamp = disk::optional(Stamp::of(path)).map_err(unreadable)?;
        if stamp.is_none() {
            let provisioned = provision(path);
            let password =
                provisioned.map_err(|source| PasswordFileError::Provision { path: path.to_owned(), source })?;
            tracing::warn!(
                user = provision::USER,
                password = password.reveal(),
                path = %path.display(),
                "htpasswd is missing, provisioning with default user"
            );
            stamp = Some(Stamp::of(path).map_err(unreadable)?);
        }
        Ok(Self {
            path: path.to_owned(),
            // The check of the configuration has warned of lines that cannot be used.
            users: ArcSwap::from_pointee(read(path)?.0),
            checking: AtomicBool::new(false),
            checked: Mutex::new(clock.moment()),
            seen: Mutex::new(stamp),
            clock,
        })
    }

    /// Returns the users of the file, at most a second old.
    pub(super) async fn users(self: &Arc<Self>) -> Arc<Users> {
        if self.is_check_due() {
            let file = Arc::clone(self);
            let check = move || {
                file.refresh();
                file.checking.store(false, Ordering::Release);
            };
            blocking(check).await;
        }
        self.users.load_full()
    }

    /// Reads the file now, whether or not it seems to have changed.
    pub(super) async fn reload(self: &Arc<Self>) {
        let file = Arc::clone(self);
        blocking(move || {
            *lock(&file.seen) = None;
            file.refresh();
        })
        .await;
    }

    /// Returns true if the file must be checked now. Only one caller gets true; the others go on with the users in memory.
    fn is_check_due(&self) -> bool {
        let mut checked = lock(&self.checked);
        let due = self.clock.since(*checked) >= CHECK_EVERY && !self.checking.swap(true, Ordering::AcqRel);
        if due {
            *checked = self.clock.moment();
        }
        due
    }

    /// Reads the file again if it changed. If the file is malformed or missing, the former users stay: an editor may be at work,
    /// and a slip must not lock the users out.
    fn refresh(&self) {
        let mut seen = lock(&self.seen);
        let stamp = Stamp::of(&self.path).ok();
        if *seen == stamp {
            return;
        }
        *seen = stamp;
        match read(&self.path) {
            Ok((users, bad)) => {
                for bad in bad {
                    let problem = with_file_name(&bad.problem, &self.path);
                    tracing::warn!(path = %self.path.display(), line = bad.line, problem, "a line of the password file cannot be used and is ignored");
                }
                tracing::info!(path = %self.path.display(), users = users.len(), "the password file changed and was read again");
                self.users.store(Arc::new(users));
            }
            Err(error) => {
                tracing::warn!(%error, "the password file changed and cannot be used; the former users stay valid")
            }
        }
    }
}

/// Reads the file. Returns its users, and the lines that cannot be used.
fn read(path: &Path) -> Result<(Users, Vec<BadLine>), PasswordFileError> {
    let content = disk::read_named(path, MAX_BYTES)
        .map_err(|source| PasswordFileError::Read { path: path.to_owned(), source })?;
    Users::parse_usable(&content).map_err(|bad| PasswordFileError::Line {
        path: path.to_owned(),
        line: bad.line,
        problem: with_file_name(&bad.problem, path),
    })
}

/// Locks a mutex, even if a thread panicked while it held the lock: each holder writes one value, so the content stays valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
