//! How much of the disk is taken, in all and by each repository.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Registry, RegistryError};
use crate::oci::{Digest, Target};
use crate::store::Amount;

/// So many names of repositories are held at a time.
const BATCH: usize = 1000;
/// Who reads no line for so long does not get the next ones: others wait for the turn.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long a listener may take in all: others wait for the turn meanwhile.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(300);

/// What is taken in all.
#[derive(Clone, Copy, Debug)]
pub struct UsageReport {
    /// What was pushed.
    pub hosted: Amount,
    /// What is being pushed, or was begun.
    pub uploads: Amount,
    pub cache: CacheUsage,
    /// The size of the file system, in bytes.
    pub total: u64,
    /// What of it may still be used.
    pub free: u64,
}

/// What the cache takes.
#[derive(Clone, Copy, Debug)]
pub struct CacheUsage {
    pub whole: Amount,
    /// What is left of fills that did not come to an end.
    pub left: Amount,
    /// Bytes that running fills have written.
    pub arriving: u64,
    /// The most that the cache may hold, in bytes.
    pub limit: u64,
    /// What it leaves free of the file system.
    pub reserve: u64,
}

/// What a repository takes.
#[derive(Clone, Debug)]
pub struct RepositoryUsage {
    pub target: Target,
    pub tags: u64,
    /// Blobs and manifests that it has, and their bytes.
    pub held: Amount,
    /// Those of them that no other repository has.
    pub own: Amount,
}

/// One after the other, as they are found.
#[derive(Clone, Debug)]
pub enum UsageStep {
    Repository(RepositoryUsage),
    /// These were all. Where it does not come, some are missing.
    End,
}

/// What became of a repository that was removed.
#[derive(Clone, Copy, Debug)]
pub struct Removed {
    pub tags: u64,
    /// Bytes that are free at once; what was pushed waits for garbage collection.
    pub freed: u64,
}

/// How many repositories have a digest, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    One,
    Several,
}

/// Who has what, by fingerprints: a full digest takes four times the memory, and there may be millions.
#[derive(Default)]
struct Census {
    hasher: RandomState,
    /// The two roots share nothing.
    hosted: HashMap<u64, Owners>,
    cached: HashMap<u64, Owners>,
}

impl Census {
    fn count(&mut self, target: &Target, digests: &[Digest]) {
        let owners = match target {
            Target::Hosted(_) => &mut self.hosted,
            Target::Mirror(..) => &mut self.cached,
        };
        for digest in digests {
            match owners.entry(self.hasher.hash_one(digest)) {
                Entry::Vacant(entry) => drop(entry.insert(Owners::One)),
                Entry::Occupied(mut entry) => drop(entry.insert(Owners::Several)),
            }
        }
    }

    fn is_shared(&self, target: &Target, digest: &Digest) -> bool {
        let owners = match target {
            Target::Hosted(_) => &self.hosted,
            Target::Mirror(..) => &self.cached,
        };
        owners.get(&self.hasher.hash_one(digest)) == Some(&Owners::Several)
    }
}

impl Registry {
    /// What is taken in all. Looks at every file of the private store.
    pub async fn usage(&self) -> Result<UsageReport, RegistryError> {
        let _turn = self.walking().lock().await;
        let (hosted, uploads) = (self.store().hosted.amount().await?, self.store().hosted.uploads_amount().await?);
        let space = self.store().cache.space().await?;
        Ok(UsageReport {
            hosted,
            uploads,
            cache: self.quota().usage(space).await?,
            total: space.total,
            free: space.free,
        })
    }

    /// What each repository takes that `may_pull` allows, in the byte order of their names, one after the other. One caller at
    /// a time: all directories are read twice.
    pub fn usage_by_repository(
        self: &Arc<Self>,
        may_pull: impl Fn(&Target) -> bool + Send + Sync + 'static,
    ) -> mpsc::Receiver<Result<UsageStep, RegistryError>> {
        let (sender, receiver) = mpsc::channel(16);
        let registry = Arc::clone(self);
        let listened = sender.clone();
        let work = async move {
            let _turn = registry.walking().lock().await;
            let end = registry.send_usage(&sender, &may_pull).await.map(|()| UsageStep::End);
            // Who does not listen any more need not hear it.
            let _ = sender.send_timeout(end, PATIENCE).await;
        };
        self.tasks().spawn(async move { while_heard(&listened, work).await });
        receiver
    }

    /// What one repository takes.
    pub async fn usage_of(&self, target: &Target) -> Result<RepositoryUsage, RegistryError> {
        let _turn = self.walking().lock().await;
        let digests = self.digests_of(target).await?;
        let tags = self.count_tags(target).await?;
        if digests.is_empty() && tags == 0 {
            return Err(RegistryError::NameUnknown(format!("nothing is held of {target}")));
        }
        let alone = self.alone(target, digests.iter().copied().collect()).await?;
        self.usage_with(target.clone(), digests, |digest| !alone.contains(digest)).await
    }

    /// Those of these digests that no other repository of the same root has. Looks through all of them.
    pub(super) async fn alone(
        &self,
        target: &Target,
        mut digests: HashSet<Digest>,
    ) -> Result<HashSet<Digest>, RegistryError> {
        let mut after = None;
        while !digests.is_empty() {
            let batch = self.targets_after(after.clone(), BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.to_string());
            for other in batch.iter().filter(|other| *other != target && is_hosted(other) == is_hosted(target)) {
                for digest in self.digests_of(other).await? {
                    digests.remove(&digest);
                }
            }
        }
        Ok(digests)
    }

    async fn send_usage(
        &self,
        sender: &mpsc::Sender<Result<UsageStep, RegistryError>>,
        may_pull: &(dyn Fn(&Target) -> bool + Send + Sync),
    ) -> Result<(), RegistryError> {
        let (mut census, mut after) = (Census::default(), None);
        while let Some(batch) = self.next_targets(&mut after).await? {
            for target in batch {
                census.count(&target, &self.digests_of(&target).await?);
            }
        }
        let (mut after, mut patience) = (None, PATIENCE_IN_ALL);
        while let Some(batch) = self.next_targets(&mut after).await? {
            for target in batch.into_iter().filter(may_pull) {
                let digests = self.digests_of(&target).await?;
                let shared = |digest: &Digest| census.is_shared(&target, digest);
                let usage = self.usage_with(target.clone(), digests, shared).await?;
                let ready = self.clock().moment();
                let sent = sender.send_timeout(Ok(UsageStep::Repository(usage)), PATIENCE.min(patience)).await;
                patience = patience.saturating_sub(self.clock().since(ready));
                if sent.is_err() {
                    return Err(RegistryError::Storage("nobody listens any more".to_owned()));
                }
            }
        }
        Ok(())
    }

    async fn next_targets(&self, after: &mut Option<String>) -> Result<Option<Vec<Target>>, RegistryError> {
        let batch = self.targets_after(after.clone(), BATCH).await?;
        let Some(last) = batch.last() else { return Ok(None) };
        *after = Some(last.to_string());
        Ok(Some(batch))
    }

    async fn usage_with(
        &self,
        target: Target,
        digests: Vec<Digest>,
        is_shared: impl Fn(&Digest) -> bool,
    ) -> Result<RepositoryUsage, RegistryError> {
        let (tags, sizes) = (self.count_tags(&target).await?, self.sizes_of(&target, digests.clone()).await?);
        let (mut held, mut own) = (Amount::default(), Amount::default());
        for (digest, size) in digests.iter().zip(sizes).filter(|(_, size)| *size > 0) {
            held.add(size);
            if !is_shared(digest) {
                own.add(size);
            }
        }
        Ok(RepositoryUsage { target, tags, held, own })
    }

    pub(super) async fn digests_of(&self, target: &Target) -> Result<Vec<Digest>, RegistryError> {
        Ok(match target {
            Target::Hosted(name) => self.store().hosted.digests(name).await?,
            Target::Mirror(upstream, name) => self.store().cache.digests(upstream, name).await?,
        })
    }

    async fn sizes_of(&self, target: &Target, digests: Vec<Digest>) -> Result<Vec<u64>, RegistryError> {
        Ok(match target {
            Target::Hosted(_) => self.store().hosted.sizes(digests).await?,
            Target::Mirror(..) => self.store().cache.sizes(digests).await?,
        })
    }
}

/// Works as long as somebody listens. Who has left waits for no turn and has no directory read: others wait behind.
async fn while_heard<T>(sender: &mpsc::Sender<T>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = sender.closed() => {}
    }
}

fn is_hosted(target: &Target) -> bool {
    matches!(target, Target::Hosted(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_left_is_not_worked_for() {
        let (sender, receiver) = mpsc::channel::<()>(1);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let held = Arc::clone(&turn).lock_owned().await;
        let mut waiting = std::pin::pin!(while_heard(&sender, async { drop(turn.lock().await) }));
        tokio::select! {
            biased;
            () = &mut waiting => panic!("it is not its turn"),
            () = std::future::ready(()) => {}
        }
        drop(receiver);
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok());
        drop(held);
    }
}
