//! The walk over all repositories, hosted and mirrored.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cache::Ledger;
use crate::oci::{Digest, Target};
use crate::registry::error::RegistryError;
use crate::store::Store;
use crate::sys::Machine;

/// The number of repository names that are in memory at a time.
const BATCH: usize = 1000;

/// All repositories of the store.
pub(in crate::registry) struct Inventory {
    pub(super) store: Store,
    pub(super) ledger: Arc<Ledger>,
    pub(super) machine: Machine,
    /// Held while all directories are read, so that only one caller does that. An async lock, because it is held across awaits.
    pub(super) walking: tokio::sync::Mutex<()>,
}

impl Inventory {
    pub(in crate::registry) fn new(store: Store, ledger: Arc<Ledger>, machine: Machine) -> Arc<Self> {
        Arc::new(Self { store, ledger, machine, walking: tokio::sync::Mutex::default() })
    }

    /// Returns up to `limit` repositories after `last`, sorted by canonical name. A repository counts once it holds anything;
    /// during its first push that may be layers only.
    pub(super) async fn targets_after(&self, last: Option<&str>, limit: usize) -> Result<Vec<Target>, RegistryError> {
        let hosted = self.store.hosted.inhabited_after(last, limit).await?.entries;
        let mirrored = self.store.cache.repositories_after(last, limit).await?;
        let hosted = hosted.iter().filter_map(|name| name.parse().ok()).map(Target::Hosted);
        let mut targets: Vec<Target> = hosted.chain(mirrored.into_iter().map(Target::Mirror)).collect();
        targets.sort_by_cached_key(Target::to_string);
        targets.truncate(limit);
        Ok(targets)
    }

    /// Returns the next batch of repositories, and advances `last` behind it. `None` at the end.
    pub(super) async fn next_batch(&self, last: &mut Option<String>) -> Result<Option<Vec<Target>>, RegistryError> {
        let batch = self.targets_after(last.as_deref(), BATCH).await?;
        let Some(target) = batch.last() else { return Ok(None) };
        *last = Some(target.to_string());
        Ok(Some(batch))
    }

    /// Returns true if the store has anything of a repository.
    pub(in crate::registry) async fn has(&self, target: &Target) -> Result<bool, RegistryError> {
        Ok(match target {
            Target::Hosted(name) => self.store.hosted.exists(name).await?,
            Target::Mirror(name) => self.store.cache.has_repository(name).await?,
        })
    }

    pub(super) async fn count_tags(&self, target: &Target) -> Result<u64, RegistryError> {
        Ok(match target {
            Target::Hosted(name) => self.store.hosted.count_tags(name).await?,
            Target::Mirror(name) => self.store.cache.count_tags(name).await?,
        })
    }

    /// Returns the digests of a repository's blobs and manifests.
    pub(super) async fn digests_of(&self, target: &Target) -> Result<Vec<Digest>, RegistryError> {
        Ok(match target {
            Target::Hosted(name) => self.store.hosted.digests(name).await?,
            Target::Mirror(name) => self.store.cache.digests(name).await?,
        })
    }

    pub(super) async fn sizes_of(&self, target: &Target, digests: Vec<Digest>) -> Result<Vec<u64>, RegistryError> {
        Ok(match target {
            Target::Hosted(_) => self.store.hosted.sizes(digests).await?,
            Target::Mirror(_) => self.store.cache.sizes(digests).await?,
        })
    }

    /// Returns `None` if the outcome is that one entry of this repository cannot be used, which is noted. A walk then goes on.
    pub(super) fn unless_bad<T>(&self, outcome: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(RegistryError::BadEntry(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns those of these digests that no other repository of the same kind has. Reads all repositories.
    pub(super) async fn exclusive(
        &self,
        target: &Target,
        mut digests: HashSet<Digest>,
    ) -> Result<HashSet<Digest>, RegistryError> {
        let mut last = None;
        while !digests.is_empty()
            && let Some(batch) = self.next_batch(&mut last).await?
        {
            for other in batch.iter().filter(|other| *other != target && is_hosted(other) == is_hosted(target)) {
                for digest in self.unless_bad(self.digests_of(other).await)?.unwrap_or_default() {
                    digests.remove(&digest);
                }
            }
        }
        Ok(digests)
    }
}

fn is_hosted(target: &Target) -> bool {
    matches!(target, Target::Hosted(_))
}
