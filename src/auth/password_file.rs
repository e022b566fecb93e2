//! The password file: read at start, and again when it changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::htpasswd::{BadLine, MOST_BYTES, Users};
use super::provision::{self, provision};
use super::{AuthError, Finding};
use crate::sys::disk::{self, Stamp};
use crate::sys::{Clock, Moment, blocking};

/// How often, at most, the file is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A password file and the users that were last read from it.
#[derive(Debug)]
pub(super) struct PasswordFile {
    path: PathBuf,
    clock: Clock,
    users: ArcSwap<Users>,
    /// When it was last looked at. A std mutex: held for a comparison, never across an await.
    looked: Mutex<Moment>,
    /// What was last seen, well-formed or not; `None` where nothing could be seen. A std mutex: held, through reading and
    /// parsing, by blocking threads alone, so that two changes cannot overtake each other.
    seen: Mutex<Option<Stamp>>,
}

impl PasswordFile {
    /// Reads the file; one that does not exist is made, with a random password that is logged this once, as `registry:2` does.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<Self, AuthError> {
        let unreadable = |source| AuthError::Read { path: path.to_owned(), source };
        let mut stamp = disk::optional(Stamp::of(path)).map_err(unreadable)?;
        if stamp.is_none() {
            let password = provision(path).map_err(|source| AuthError::Provision { path: path.to_owned(), source })?;
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
            users: ArcSwap::from_pointee(read(path)?),
            looked: Mutex::new(clock.moment()),
            seen: Mutex::new(stamp),
            clock,
        })
    }

    /// The users of the file as it is now, or was within the last second.
    pub(super) async fn users(self: &Arc<Self>) -> Arc<Users> {
        if self.is_due() {
            let file = Arc::clone(self);
            blocking(move || file.refresh()).await;
        }
        self.users.load_full()
    }

    /// Must it be looked at? Says so to one caller only; the others go on with what is known.
    fn is_due(&self) -> bool {
        let mut looked = lock(&self.looked);
        let due = self.clock.since(*looked) >= CHECK_EVERY;
        if due {
            *looked = self.clock.moment();
        }
        due
    }

    /// Reads the file again if it changed. The users stay as they are where it is broken or gone: an editor may be at work, and
    /// nobody shall be locked out by a slip of the hand.
    fn refresh(&self) {
        let mut seen = lock(&self.seen);
        let stamp = Stamp::of(&self.path).ok();
        if *seen == stamp {
            return;
        }
        *seen = stamp;
        match read(&self.path) {
            Ok(users) => {
                tracing::info!(path = %self.path.display(), users = users.len(), "the password file changed and was read again");
                self.users.store(Arc::new(users));
            }
            Err(error) => {
                tracing::warn!(%error, "the password file changed and cannot be used; its former users stay")
            }
        }
    }
}

/// What is to be said of the file before it is used; a file that does not exist will be made.
pub(super) fn examine(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let content = match disk::optional(disk::read_named(path, MOST_BYTES)) {
        Ok(Some(content)) => content,
        Ok(None) => {
            let user = provision::USER;
            return vec![Finding::Doubtful(format!(
                "names {shown}, which does not exist: `serve` makes it, with the user {user} and a password that it logs; \
                 `entrepot user add {shown} USER` makes it as you want it"
            ))];
        }
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return vec![Finding::Wrong(format!(
                "names {shown}: it is a directory, so that nobody could ever log in; write the path of a file, such as {} \
                 (`entrepot user add` makes one), or remove `auth` to let everybody in",
                path.join("htpasswd").display()
            ))];
        }
        Err(error) => return vec![Finding::Wrong(format!("names {shown}: {}", disk::why(path, &error)))],
    };
    let line = |bad: BadLine| Finding::Wrong(format!("names {shown}:{}: {}", bad.line, named(&bad.problem, path)));
    let mut findings: Vec<Finding> = Users::bad_lines(&content).into_iter().map(line).collect();
    if Users::parse(&content).is_ok_and(|users| users.len() == 0) {
        findings.push(Finding::Doubtful(format!(
            "names {shown}, which has no users: nobody can log in; `entrepot user add {shown} USER` adds one"
        )));
    }
    findings
}

fn read(path: &Path) -> Result<Users, AuthError> {
    let content =
        disk::read_named(path, MOST_BYTES).map_err(|source| AuthError::Read { path: path.to_owned(), source })?;
    Users::parse(&content).map_err(|bad| AuthError::Line {
        path: path.to_owned(),
        line: bad.line,
        problem: named(&bad.problem, path),
    })
}

/// With the file's own name in the command that mends it.
fn named(problem: &str, path: &Path) -> String {
    problem.replace(" FILE ", &format!(" {} ", path.display()))
}

/// What is guarded here stays whole if a holder panics: each writes one value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
