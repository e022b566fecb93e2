//! Verifies passwords on blocking threads, a few at a time, and remembers verified passwords.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;

use super::error::PasswordFileError;
use super::file::WatchedFile;
use super::queue::{Crowded, LoginQueue};
use crate::config::Secret;
use crate::metrics::Metrics;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::sys::{ClientAddress, Clock, blocking, random_id};

/// The time for which a verified password is accepted without hashing it again. A pull of twenty layers sends it twenty times.
const REMEMBER_FOR: Duration = Duration::from_secs(5 * 60);

/// The number of verified passwords in memory.
const MAX_REMEMBERED: u64 = 10_000;

/// The time for which a wrong password is refused without hashing it again. A script with an old password repeats it many times.
const REFUSE_FOR: Duration = Duration::from_secs(30);

/// The times for which logins are remembered.
#[derive(Debug)]
struct Lifetimes;

impl Expiry<Digest, bool> for Lifetimes {
    fn expire_after_create(&self, _fingerprint: &Digest, correct: &bool, _created: Instant) -> Option<Duration> {
        Some(if *correct { REMEMBER_FOR } else { REFUSE_FOR })
    }
}

/// The outcome of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum LoginVerdict {
    Verified,
    Refused,
    /// Too many logins wait; this one was not looked at.
    Crowded,
}

/// Verifies passwords against a password file.
#[derive(Debug)]
pub(in crate::auth) struct Verifier {
    file: Arc<WatchedFile>,
    /// As many hashes run at a time as there are cores. A flood of logins waits here instead of taking the threads that read files.
    queue: Arc<LoginQueue>,
    /// The fingerprints of logins, and whether they were right. A changed line of the file gives another fingerprint, so no entry
    /// must be invalidated. Requests with the same login wait for one hash.
    judged: Cache<Digest, bool>,
    /// The key of the fingerprints, so that they are worthless outside this process.
    key: String,
    metrics: Arc<Metrics>,
}

impl Verifier {
    /// Opens the password file. Blocks.
    pub(in crate::auth) fn new(path: &Path, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, PasswordFileError> {
        Ok(Self {
            file: Arc::new(WatchedFile::open(path, clock)?),
            queue: LoginQueue::new(available_parallelism().map_or(1, |cores| cores.get())),
            judged: Cache::builder().max_capacity(MAX_REMEMBERED).expire_after(Lifetimes).build(),
            key: random_id() + &random_id(),
            metrics,
        })
    }

    /// Reads the password file again.
    pub(in crate::auth) async fn reload(&self) {
        self.file.reload().await;
    }

    /// Looks up whether the file has this user with this password. `address` gives the client a fair turn.
    pub(in crate::auth) async fn verify(&self, address: ClientAddress, user: &str, password: &Secret) -> LoginVerdict {
        let verdict = self.judge(address, user, password).await;
        match verdict {
            LoginVerdict::Verified => {}
            LoginVerdict::Refused => self.metrics.logins.with_label_values(&["refused"]).inc(),
            LoginVerdict::Crowded => self.metrics.logins.with_label_values(&["crowded"]).inc(),
        }
        verdict
    }

    async fn judge(&self, address: ClientAddress, user: &str, password: &Secret) -> LoginVerdict {
        let users = self.file.users().await;
        // A user that is not in the file has no hash, so nothing that was verified earlier counts for it.
        let fingerprint = self.fingerprint(user, password, users.find(user).map(|hash| hash.text()));
        let (name, password) = (user.to_owned(), password.clone());
        let judged = self.judged.try_get_with(fingerprint, async {
            let turn = self.queue.turn(address, user).await?;
            // The closure holds the turn, so that it ends when the hash is done, not when the client leaves.
            let (correct, _turn) = blocking(move || (users.verify(&name, &password), turn)).await;
            if correct {
                self.queue.note_login(address, user);
                self.metrics.logins.with_label_values(&["ok"]).inc();
            }
            Ok::<_, Crowded>(correct)
        });
        match judged.await {
            Ok(true) => LoginVerdict::Verified,
            Ok(false) => LoginVerdict::Refused,
            Err(_) => LoginVerdict::Crowded,
        }
    }

    /// Returns a keyed hash of the user, the password and the hash in the file, if the file has the user. Each part is preceded by its
    /// length, so that different parts never give the same text.
    fn fingerprint(&self, user: &str, password: &Secret, hash: Option<&str>) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for part in [&self.key, user, password.reveal()].into_iter().chain(hash) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finish()
    }
}
