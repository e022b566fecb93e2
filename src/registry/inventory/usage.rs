//! The use of the disk, in total and by repository.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::walk::Inventory;
use crate::cache::CacheUsage;
use crate::oci::{Digest, Target};
use crate::registry::error::RegistryError;
use crate::store::{Amount, BadEntry};

/// A receiver that takes no line for this long gets no more lines, because other callers wait for the walk.
const LINE_LIMIT: Duration = Duration::from_secs(60);

/// The longest time that one receiver may take for all lines, for the same reason.
const LIST_LIMIT: Duration = Duration::from_secs(300);

/// The use of the disk in total.
#[derive(Clone, Debug)]
pub struct UsageReport {
    /// The pushed content.
    pub hosted: Amount,
    /// The unfinished uploads.
    pub uploads: Amount,
    pub cache: CacheUsage,
    /// The size of the file system, in bytes.
    pub total: u64,
    /// The free space of the file system, in bytes.
    pub free: u64,
    /// The entries of the store that cannot be used, sorted by place.
    pub bad_entries: Vec<BadEntry>,
}

/// The use of the disk by one repository.
#[derive(Clone, Debug)]
pub struct RepositoryUsage {
    pub target: Target,
    pub tags: u64,
    /// The repository's blobs and manifests.
    pub held: Amount,
    /// The part of them that no other repository has.
    pub own: Amount,
}

/// The content that no repository has. It counts in the totals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlinked {
    /// Waits for garbage collection.
    pub hosted: Amount,
    /// Is evicted when the cache needs the space.
    pub cached: Amount,
}

/// A line of the usage by repository. Lines are sent as they are found.
#[derive(Clone, Debug)]
pub enum UsageStep {
    Repository(RepositoryUsage),
    /// Follows after all repositories.
    Unlinked(Unlinked),
    /// Ends a complete answer. Without it, lines are missing.
    End,
}

/// The number of repositories that have a digest: only one or several matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    One,
    Several,
}

/// Counts the owners of all digests. The keys are hashes: there may be millions of digests, and a digest takes four times the
/// memory.
#[derive(Default)]
struct OwnerCounts {
    hasher: RandomState,
    /// Hosted and cached content lies under separate roots and shares no files.
    hosted: HashMap<u64, Owners>,
    cached: HashMap<u64, Owners>,
}

impl OwnerCounts {
    fn count(&mut self, target: &Target, digests: &[Digest]) {
        let owners = match target {
            Target::Hosted(_) => &mut self.hosted,
            Target::Mirror(_) => &mut self.cached,
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
            Target::Mirror(_) => &self.cached,
        };
        owners.get(&self.hasher.hash_one(digest)) == Some(&Owners::Several)
    }
}

impl Inventory {
    /// Returns the use of the disk in total. Reads every file of the private store.
    pub(in crate::registry) async fn usage(&self) -> Result<UsageReport, RegistryError> {
        let _walk = self.walking.lock().await;
        self.survey().await?;
        let (hosted, uploads) = (self.store.hosted.amount().await?, self.store.hosted.uploads_amount().await?);
        let space = self.store.cache.space().await?;
        let cache = self.ledger.usage(space).await?;
        let bad_entries = [self.store.hosted.bad_entries().await, self.store.cache.bad_entries().await].concat();
        Ok(UsageReport { hosted, uploads, cache, total: space.total, free: space.free, bad_entries })
    }

    /// Looks at the links and tags of every repository, so that entries which cannot be used are known.
    async fn survey(&self) -> Result<(), RegistryError> {
        let mut last = None;
        while let Some(batch) = self.next_batch(&mut last).await? {
            for target in batch {
                let surveyed = match &target {
                    Target::Hosted(name) => self.store.hosted.survey(name).await,
                    Target::Mirror(name) => self.store.cache.survey(name).await,
                };
                self.unless_bad(surveyed.map_err(RegistryError::from))?;
            }
        }
        Ok(())
    }

    /// Returns the use by each repository that `may_pull` allows, sorted by canonical name, and then the content that no
    /// repository has. One caller is served at a time, because all directories are read twice.
    pub(in crate::registry) fn usage_by_repository(
        self: &Arc<Self>,
        may_pull: impl Fn(&Target) -> bool + Send + Sync + 'static,
    ) -> mpsc::Receiver<Result<UsageStep, RegistryError>> {
        let (sender, receiver) = mpsc::channel(16);
        let inventory = Arc::clone(self);
        let watched = sender.clone();
        let work = async move {
            let walk = inventory.walking.lock().await;
            let end = inventory.send_usage(&sender, &may_pull).await.map(|()| UsageStep::End);
            drop(walk);
            // A receiver that has left does not need the last line.
            let _ = sender.send_timeout(end, LINE_LIMIT).await;
        };
        self.machine.tasks.spawn(async move { while_received(&watched, work).await });
        receiver
    }

    /// Returns the use by one repository.
    pub(in crate::registry) async fn usage_of(&self, target: &Target) -> Result<RepositoryUsage, RegistryError> {
        let _walk = self.walking.lock().await;
        let digests = self.digests_of(target).await?;
        let tags = self.count_tags(target).await?;
        if digests.is_empty() && tags == 0 {
            return Err(RegistryError::NameUnknown(format!("nothing of {target} is stored here")));
        }
        let exclusive = self.exclusive(target, digests.iter().copied().collect()).await?;
        self.usage_with(target.clone(), digests, |digest| !exclusive.contains(digest)).await
    }

    async fn send_usage(
        &self,
        sender: &mpsc::Sender<Result<UsageStep, RegistryError>>,
        may_pull: &(dyn Fn(&Target) -> bool + Send + Sync),
    ) -> Result<(), RegistryError> {
        let (mut counts, mut last) = (OwnerCounts::default(), None);
        while let Some(batch) = self.next_batch(&mut last).await? {
            for target in batch {
                counts.count(&target, &self.unless_bad(self.digests_of(&target).await)?.unwrap_or_default());
            }
        }
        let counts = Arc::new(counts);
        let unlinked = self.unlinked(&counts).await?;
        let mut lines = Lines { inventory: self, sender, left: LIST_LIMIT };
        let mut last = None;
        while let Some(batch) = self.next_batch(&mut last).await? {
            for target in batch.into_iter().filter(may_pull) {
                let digests = self.unless_bad(self.digests_of(&target).await)?.unwrap_or_default();
                let is_shared = |digest: &Digest| counts.is_shared(&target, digest);
                let usage = self.usage_with(target.clone(), digests, is_shared).await?;
                lines.send(UsageStep::Repository(usage)).await?;
            }
        }
        lines.send(UsageStep::Unlinked(unlinked)).await
    }

    async fn unlinked(&self, counts: &Arc<OwnerCounts>) -> Result<Unlinked, RegistryError> {
        let known = Arc::clone(counts);
        let hosted = self.store.hosted.amount_of(move |digest| !known.knows_hosted(digest)).await?;
        let known = Arc::clone(counts);
        let cached = self.store.cache.amount_of(move |digest| !known.knows_cached(digest)).await?;
        Ok(Unlinked { hosted, cached })
    }

    async fn usage_with(
        &self,
        target: Target,
        digests: Vec<Digest>,
        is_shared: impl Fn(&Digest) -> bool,
    ) -> Result<RepositoryUsage, RegistryError> {
        let tags = self.unless_bad(self.count_tags(&target).await)?.unwrap_or_default();
        let sizes = self.sizes_of(&target, digests.clone()).await?;
        let (mut held, mut own) = (Amount::default(), Amount::default());
        for (digest, size) in digests.iter().zip(sizes).filter(|(_, size)| *size > 0) {
            held.add(size);
            if !is_shared(digest) {
                own.add(size);
            }
        }
        Ok(RepositoryUsage { target, tags, held, own })
    }
}

/// Sends lines to a receiver, which has a limited time to take them.
struct Lines<'i> {
    inventory: &'i Inventory,
    sender: &'i mpsc::Sender<Result<UsageStep, RegistryError>>,
    left: Duration,
}

impl Lines<'_> {
    async fn send(&mut self, step: UsageStep) -> Result<(), RegistryError> {
        let clock = &self.inventory.machine.clock;
        let ready = clock.moment();
        let sent = self.sender.send_timeout(Ok(step), LINE_LIMIT.min(self.left)).await;
        self.left = self.left.saturating_sub(clock.since(ready));
        sent.map_err(|_| RegistryError::Storage("the client does not read the list, or reads it too slowly".to_owned()))
    }
}

/// Works as long as the receiver is there. After it has left, no directory is read for it and it does not keep the walk.
async fn while_received<T>(sender: &mpsc::Sender<T>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = sender.closed() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Ledger;
    use crate::config::Cache;
    use crate::store::Store;
    use crate::sys::{Clock, Machine, Tasks};

    /// Returns the inventory of a private registry whose repositories hold nothing but their names.
    fn inventory_of(repositories: usize, directory: &std::path::Path, clock: &Clock) -> Arc<Inventory> {
        for n in 0..repositories {
            let tags = format!("docker/registry/v2/repositories/r{n:03}/_manifests/tags/1");
            crate::sys::disk::make_dir(&directory.join(tags)).unwrap();
        }
        let machine = Machine { clock: clock.clone(), tasks: Tasks::new() };
        let store = Store::new(directory, clock.clone());
        let ledger =
            Ledger::new(store.cache.clone(), Cache { max_size: None, reserve: None }, &machine, Arc::default());
        Inventory::new(store, ledger, machine)
    }

    /// Each line is read within the time for one line. All lines together would take more than an hour.
    #[tokio::test]
    async fn slow_reader_does_not_keep_the_walk() {
        const REPOSITORIES: usize = 200;
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let inventory = inventory_of(REPOSITORIES, directory.path(), &clock);
        let mut slow = inventory.usage_by_repository(|_| true);
        let (mut read, mut ended) = (0, None);
        while ended.is_none() {
            while slow.len() < slow.max_capacity() && !slow.is_closed() {
                tokio::task::yield_now().await;
            }
            // Leaves time for the next line to be made and to wait. Without it, that line would cost none of the time for the list.
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(LINE_LIMIT / 2);
            match slow.recv().await.expect("the end is sent") {
                Ok(UsageStep::Repository(_)) => read += 1,
                end => ended = Some(end),
            }
        }
        assert!(matches!(ended, Some(Err(RegistryError::Storage(_)))), "{ended:?} after {read}");
        assert!(read < REPOSITORIES);
        let first = Target::Hosted("r000".parse().unwrap());
        assert_eq!(inventory.usage_of(&first).await.unwrap().tags, 1, "other callers can walk");

        let mut quick = inventory.usage_by_repository(|_| true);
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
    async fn work_ends_when_the_receiver_has_left() {
        let (sender, receiver) = mpsc::channel::<()>(1);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        let held = Arc::clone(&lock).lock_owned().await;
        let mut waiting = std::pin::pin!(while_received(&sender, async { drop(lock.lock().await) }));
        tokio::select! {
            biased;
            () = &mut waiting => panic!("the lock is held by another caller"),
            () = std::future::ready(()) => {}
        }
        drop(receiver);
        assert!(tokio::time::timeout(LINE_LIMIT, waiting).await.is_ok());
        drop(held);
    }
}
