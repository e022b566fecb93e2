//! How much of the disk is taken, in all and by each repository.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{CacheUsage, Registry, RegistryError};
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

/// What lies on the disk and no repository has: it is in the totals, and of no use to anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlinked {
    /// It waits for garbage collection.
    pub hosted: Amount,
    /// It goes when the cache wants the room.
    pub cached: Amount,
}

/// One after the other, as they are found.
#[derive(Clone, Debug)]
pub enum UsageStep {
    Repository(RepositoryUsage),
    /// Comes after all repositories.
    Unlinked(Unlinked),
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

    fn knows_hosted(&self, digest: &Digest) -> bool {
        self.hosted.contains_key(&self.hasher.hash_one(digest))
    }

    fn knows_cached(&self, digest: &Digest) -> bool {
        self.cached.contains_key(&self.hasher.hash_one(digest))
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

    /// What each repository takes that `may_pull` allows, in the byte order of their names, one after the other; and then what
    /// none has. One caller at a time: all directories are read twice.
    pub fn usage_by_repository(
        self: &Arc<Self>,
        may_pull: impl Fn(&Target) -> bool + Send + Sync + 'static,
    ) -> mpsc::Receiver<Result<UsageStep, RegistryError>> {
        let (sender, receiver) = mpsc::channel(16);
        let registry = Arc::clone(self);
        let listened = sender.clone();
        let work = async move {
            let turn = registry.walking().lock().await;
            let end = registry.send_usage(&sender, &may_pull).await.map(|()| UsageStep::End);
            drop(turn);
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
        let census = Arc::new(census);
        let unlinked = self.unlinked(&census).await?;
        let mut line = Line { registry: self, sender, patience: PATIENCE_IN_ALL };
        let mut after = None;
        while let Some(batch) = self.next_targets(&mut after).await? {
            for target in batch.into_iter().filter(may_pull) {
                let digests = self.digests_of(&target).await?;
                let shared = |digest: &Digest| census.is_shared(&target, digest);
                let usage = self.usage_with(target.clone(), digests, shared).await?;
                line.send(UsageStep::Repository(usage)).await?;
            }
        }
        line.send(UsageStep::Unlinked(unlinked)).await
    }

    async fn unlinked(&self, census: &Arc<Census>) -> Result<Unlinked, RegistryError> {
        let known = Arc::clone(census);
        let hosted = self.store().hosted.amount_of(move |digest| !known.knows_hosted(digest)).await?;
        let known = Arc::clone(census);
        let cached = self.store().cache.amount_of(move |digest| !known.knows_cached(digest)).await?;
        Ok(Unlinked { hosted, cached })
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

/// Whoever is told of usage, and how much longer they may take.
struct Line<'r> {
    registry: &'r Registry,
    sender: &'r mpsc::Sender<Result<UsageStep, RegistryError>>,
    patience: Duration,
}

impl Line<'_> {
    async fn send(&mut self, step: UsageStep) -> Result<(), RegistryError> {
        let ready = self.registry.clock().moment();
        let sent = self.sender.send_timeout(Ok(step), PATIENCE.min(self.patience)).await;
        self.patience = self.patience.saturating_sub(self.registry.clock().since(ready));
        sent.map_err(|_| RegistryError::Storage("nobody listens any more".to_owned()))
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
    use crate::config;
    use crate::registry::Machine;
    use crate::store::Store;
    use crate::sys::{Clock, Tasks};

    /// A private registry with so many repositories that hold nothing but their names.
    async fn many(repositories: usize, directory: &std::path::Path, clock: &Clock) -> Arc<Registry> {
        for n in 0..repositories {
            let tags = format!("docker/registry/v2/repositories/r{n:03}/_manifests/tags/1");
            crate::sys::disk::make_dir(&directory.join(tags)).unwrap();
        }
        let source = config::SourceText { name: "test".to_owned(), text: "version: 0.1", built_in: false };
        let config = config::load(source, &[], &|_| Ok(String::new())).unwrap().config;
        let machine = Machine { clock: clock.clone(), tasks: Tasks::new(), metrics: Arc::default() };
        Registry::open(&config, Store::new(directory, clock.clone()), machine).await.unwrap()
    }

    /// Each line is read before patience with that line ends: all of them would take more than an hour.
    #[tokio::test]
    async fn who_reads_slowly_does_not_keep_the_turn() {
        const REPOSITORIES: usize = 200;
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let registry = many(REPOSITORIES, directory.path(), &clock).await;
        let mut slow = registry.usage_by_repository(|_| true);
        let (mut read, mut ended) = (0, None);
        while ended.is_none() {
            while slow.len() < slow.max_capacity() && !slow.is_closed() {
                tokio::task::yield_now().await;
            }
            // Time for the next line to be counted and to wait; where it was not, this one costs no patience.
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(PATIENCE / 2);
            match slow.recv().await.expect("an end is told") {
                Ok(UsageStep::Repository(_)) => read += 1,
                end => ended = Some(end),
            }
        }
        assert!(matches!(ended, Some(Err(RegistryError::Storage(_)))), "{ended:?} after {read}");
        assert!(read < REPOSITORIES);
        let first = Target::Hosted("r000".parse().unwrap());
        assert_eq!(registry.usage_of(&first).await.unwrap().tags, 1, "it is others' turn");

        let mut quick = registry.usage_by_repository(|_| true);
        let (mut read, mut whole) = (0, false);
        while let Some(step) = quick.recv().await {
            match step.unwrap() {
                UsageStep::Repository(_) => read += 1,
                UsageStep::Unlinked(_) => {}
                UsageStep::End => whole = true,
            }
        }
        assert_eq!((read, whole), (REPOSITORIES, true));
    }

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
