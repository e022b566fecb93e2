//! Verifying passwords: off the async threads, a few at a time, and not twice the same within minutes.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Semaphore;

use super::htpasswd::Hash;
use super::password_file::PasswordFile;
use super::{AuthError, Credentials, Unproven};
use crate::metrics::Metrics;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::sys::{Clock, blocking, random_id};

/// How long a verified password is believed without hashing it again: a pull of twenty layers asks twenty times.
const BELIEVED: Duration = Duration::from_secs(5 * 60);

/// So many verified passwords are remembered.
const REMEMBERED: u64 = 10_000;

/// Verifies passwords against a password file.
#[derive(Debug)]
pub(super) struct Verifier {
    file: Arc<PasswordFile>,
    /// One for each core: a flood of logins waits here, and takes neither the machine nor the threads that files need.
    turns: Arc<Semaphore>,
    /// What was found right. A user whose line changed is another entry, so nothing must be thrown out.
    proven: Cache<Digest, ()>,
    /// What fingerprints are made with, so that they are worth nothing outside this process.
    key: String,
    metrics: Arc<Metrics>,
}

impl Verifier {
    pub(super) fn new(path: &Path, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, AuthError> {
        Ok(Self {
            file: Arc::new(PasswordFile::open(path, clock)?),
            turns: Arc::new(Semaphore::new(available_parallelism().map_or(1, |cores| cores.get()))),
            proven: Cache::builder().max_capacity(REMEMBERED).time_to_live(BELIEVED).build(),
            key: random_id() + &random_id(),
            metrics,
        })
    }

    /// Is this a user of the file, with this password?
    pub(super) async fn verify(&self, credentials: &Credentials) -> Result<(), Unproven> {
        if self.is_right(credentials).await {
            return Ok(());
        }
        self.metrics.logins.with_label_values(&["refused"]).inc();
        Err(Unproven::Mismatch { user: credentials.user().to_owned() })
    }

    async fn is_right(&self, credentials: &Credentials) -> bool {
        let users = self.file.users().await;
        let found = users.find(credentials.user());
        let Some(hash) = found.or(users.decoy()) else {
            return false;
        };
        let fingerprint = self.fingerprint(credentials, hash);
        if self.proven.get(&fingerprint).await.is_some() {
            return true;
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        // Whoever came with the same password at the same time may have had its turn before us.
        if self.proven.get(&fingerprint).await.is_some() {
            return true;
        }
        let (hash, password) = (Arc::clone(hash), credentials.password().clone());
        // The turn goes with the work: it is over when the hash is done, not when the client leaves.
        let (matches, _turn) = blocking(move || (hash.verify(&password), turn)).await;
        let right = matches && found.is_some();
        if right {
            self.metrics.logins.with_label_values(&["ok"]).inc();
            self.proven.insert(fingerprint, ()).await;
        }
        right
    }

    /// A keyed hash of who says what against which line; each part with its length before it, so that no two run together.
    fn fingerprint(&self, credentials: &Credentials, hash: &Hash) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for part in [&self.key, credentials.user(), credentials.password().reveal(), hash.text()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finish()
    }
}
