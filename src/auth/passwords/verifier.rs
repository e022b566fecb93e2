//! Verifies passwords on blocking threads, a few at a time, and remembers verified passwords.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Semaphore;

use super::error::PasswordFileError;
use super::file::WatchedFile;
use super::htpasswd::Hash;
use crate::config::Secret;
use crate::metrics::Metrics;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::sys::{Clock, blocking, random_id};

/// The time for which a verified password is accepted without hashing it again. A pull of twenty layers sends it twenty times.
const REMEMBER_FOR: Duration = Duration::from_secs(5 * 60);

/// The number of verified passwords in memory.
const MAX_REMEMBERED: u64 = 10_000;

/// Verifies passwords against a password file.
#[derive(Debug)]
pub(in crate::auth) struct Verifier {
    file: Arc<WatchedFile>,
    /// One permit for each core. A flood of logins waits here instead of taking the whole machine or the threads that read files.
    permits: Arc<Semaphore>,
    /// The fingerprints of verified logins. A changed line of the file gives another fingerprint, so no entry must be invalidated.
    verified: Cache<Digest, ()>,
    /// The key of the fingerprints, so that they are worthless outside this process.
    key: String,
    metrics: Arc<Metrics>,
}

impl Verifier {
    /// Opens the password file. Blocks.
    pub(in crate::auth) fn new(path: &Path, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, PasswordFileError> {
        Ok(Self {
            file: Arc::new(WatchedFile::open(path, clock)?),
            permits: Arc::new(Semaphore::new(available_parallelism().map_or(1, |cores| cores.get()))),
            verified: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBER_FOR).build(),
            key: random_id() + &random_id(),
            metrics,
        })
    }

    /// Returns true if the file has this user with this password.
    pub(in crate::auth) async fn verify(&self, user: &str, password: &Secret) -> bool {
        let verified = self.is_correct(user, password).await;
        if !verified {
            self.metrics.logins.with_label_values(&["refused"]).inc();
        }
        verified
    }

    async fn is_correct(&self, user: &str, password: &Secret) -> bool {
        let users = self.file.users().await;
        let found = users.find(user);
        let Some(hash) = found.or(users.decoy()) else {
            return false;
        };
        let fingerprint = self.fingerprint(user, password, hash);
        if self.verified.get(&fingerprint).await.is_some() {
            return true;
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        // Another request with the same password may have been verified while this one waited.
        if self.verified.get(&fingerprint).await.is_some() {
            return true;
        }
        let (hash, password) = (Arc::clone(hash), password.clone());
        // The closure holds the permit, so that it is released when the hash is done, not when the client leaves.
        let (matches, _permit) = blocking(move || (hash.verify(&password), permit)).await;
        let correct = matches && found.is_some();
        if correct {
            self.metrics.logins.with_label_values(&["ok"]).inc();
            self.verified.insert(fingerprint, ()).await;
        }
        correct
    }

    /// Returns a keyed hash of the user, the password and the line of the file. Each part is preceded by its length, so that
    /// different parts never give the same text.
    fn fingerprint(&self, user: &str, password: &Secret, hash: &Hash) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for part in [&self.key, user, password.reveal(), hash.text()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finish()
    }
}
