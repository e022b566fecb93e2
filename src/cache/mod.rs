//! What the cache holds and how much it may: our own map of whole blobs, and least-recently-used eviction.

mod left;
mod reservation;
mod usage;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config;
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::store::{CacheStore, Right, StoreError};
use crate::sys::{Clock, Tasks};
use left::Left;

pub use reservation::{NoRoom, Reservation};
pub use usage::CacheUsage;

/// After this long a use is written to the disk again, so that a restart knows what was used.
const TOUCH_AFTER: Duration = Duration::from_secs(3600);

/// The cache gives up this much at a time to what comes first, so that it need not be asked for each piece.
pub const GIVEN_UP: u64 = 256 << 20;

/// This fraction of what is held is evicted beyond what is needed, so that the next fill need not evict again.
const SLACK: u64 = 50;

/// The whole blobs of the cache. The file system is the truth; this is rebuilt from it at start.
pub struct Quota {
    store: CacheStore,
    limits: config::Cache,
    clock: Clock,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    /// A std `Mutex`: held for map operations only.
    held: Mutex<Held>,
    /// One promise at a time, up to the last file that goes for it: the next would else count the same free bytes. An async
    /// lock, since it is held while files are removed.
    promising: tokio::sync::Mutex<()>,
    /// Are all blobs of the directories in `held`?
    indexed: AtomicBool,
}

#[derive(Default)]
struct Held {
    entries: HashMap<Digest, Entry>,
    bytes: u64,
    /// What is left of fills that did not come to an end, and what it takes together.
    left: HashMap<Digest, Left>,
    left_bytes: u64,
    /// What running fills have written.
    arriving: u64,
    /// What running fills have yet to write.
    reserved: u64,
}

struct Entry {
    size: u64,
    /// Milliseconds since 1970.
    last_used: u64,
    /// When the file's own time was last set, likewise.
    touched: u64,
    visibility: Visibility,
}

/// Who may be given the bytes because a manifest names them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// Some upstream gave them to a caller without credentials.
    Public,
    Unknown,
}

impl Quota {
    pub fn new(
        store: CacheStore,
        limits: config::Cache,
        clock: Clock,
        tasks: Tasks,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (held, promising, indexed) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { store, limits, clock, tasks, metrics, held, promising, indexed })
    }

    /// Reads the cache's directories. Serving does not wait for it.
    pub async fn rebuild(self: &Arc<Self>) -> Result<(), StoreError> {
        let quota = Arc::clone(self);
        let visit = move |blob: crate::store::CachedBlob| {
            quota.enter(blob.digest, blob.size, millis(blob.last_used), Visibility::Unknown);
        };
        self.store.walk_blobs(visit).await?;
        for partial in self.store.partials().await? {
            self.held().leave(partial.digest, Left { bytes: partial.bytes, last_used: millis(partial.last_used) });
        }
        for (upstream, repository) in self.store.repositories().await? {
            match self.store.links(&upstream, &repository).await {
                Ok(links) => {
                    let public = links.iter().filter(|(_, link)| link.right == Right::Public);
                    public.for_each(|(digest, _)| self.set_public(digest));
                }
                Err(error) => tracing::warn!(%error, "a repository of the cache cannot be read"),
            }
        }
        self.indexed.store(true, Ordering::Release);
        let (blobs, bytes) = self.count();
        tracing::info!(blobs, bytes, "the cache is indexed");
        self.enforce().await;
        Ok(())
    }

    /// A blob became whole.
    pub fn stored(&self, digest: Digest, size: u64, right: Right) {
        self.held().forget_left(&digest);
        let visibility = if right == Right::Public { Visibility::Public } else { Visibility::Unknown };
        self.enter(digest, size, self.now(), visibility);
    }

    /// A blob was served.
    pub fn used(&self, digest: &Digest) {
        let now = self.now();
        let stale = {
            let mut held = self.held();
            let Some(entry) = held.entries.get_mut(digest) else { return };
            entry.last_used = now;
            let stale = now.saturating_sub(entry.touched) > TOUCH_AFTER.as_millis() as u64;
            if stale {
                entry.touched = now;
            }
            stale
        };
        if stale {
            let (store, digest) = (self.store.clone(), *digest);
            self.tasks.spawn(async move {
                if let Err(error) = store.touch(&digest).await {
                    tracing::warn!(%error, "a use was not written down");
                }
            });
        }
    }

    /// A blob is gone: evicted, or found damaged.
    pub fn removed(&self, digest: &Digest) {
        let mut held = self.held();
        if let Some(entry) = held.entries.remove(digest) {
            held.bytes -= entry.size;
        }
        self.report(&held);
    }

    /// Did some upstream give these bytes to a caller without credentials? `None` before everything is indexed.
    pub fn is_public(&self, digest: &Digest) -> Option<bool> {
        let public = self.held().entries.get(digest).is_some_and(|entry| entry.visibility == Visibility::Public);
        (public || self.indexed.load(Ordering::Acquire)).then_some(public)
    }

    fn set_public(&self, digest: &Digest) {
        if let Some(entry) = self.held().entries.get_mut(digest) {
            entry.visibility = Visibility::Public;
        }
    }

    /// Whole blobs and their bytes.
    pub fn count(&self) -> (usize, u64) {
        let held = self.held();
        (held.entries.len(), held.bytes)
    }

    /// Evicts until what is promised fits.
    async fn make_room(&self) -> Result<(), NoRoom> {
        let _alone = self.promising.lock().await;
        let Ok(space) = self.store.space().await else { return Err(NoRoom) };
        let (max_size, reserve) = self.bounds(space);
        let wanted = {
            let held = self.held();
            let taken = held.bytes + held.left_bytes + held.arriving;
            let taken = taken.saturating_add(held.reserved);
            taken.saturating_sub(max_size).max(held.reserved.saturating_add(reserve).saturating_sub(space.free))
        };
        if wanted > 0 { self.evict(wanted).await } else { Ok(()) }
    }

    /// Brings the cache back within its limits, which may have been lowered while the server was down.
    async fn enforce(&self) {
        if self.make_room().await.is_err() {
            tracing::warn!(
                "the disk is fuller than mirror.cache.reserve allows, and the cache holds nothing that could go"
            );
        }
    }

    /// Evicts up to `wanted` bytes for something that comes first: a push. False when there is nothing to evict.
    pub async fn give_way(&self, wanted: u64) -> bool {
        let held = {
            let held = self.held();
            held.bytes + held.left_bytes
        };
        held > 0 && self.evict(wanted.min(held)).await.is_ok()
    }

    /// Removes what is left of fills, and then blobs, each least recently used first, until `wanted` bytes are gone.
    async fn evict(&self, wanted: u64) -> Result<(), NoRoom> {
        let mut gone = 0;
        let left = self.held().left_before(u64::MAX);
        for digest in left {
            if gone < wanted {
                gone += self.remove_left(&digest).await;
            }
        }
        match wanted.saturating_sub(gone) {
            0 => Ok(()),
            wanted => self.evict_blobs(wanted).await,
        }
    }

    async fn evict_blobs(&self, wanted: u64) -> Result<(), NoRoom> {
        let victims = {
            let mut held = self.held();
            if held.bytes < wanted {
                return Err(NoRoom);
            }
            let mut order: Vec<_> = held.entries.iter().map(|(digest, e)| (e.last_used, *digest, e.size)).collect();
            order.sort_unstable_by_key(|(last_used, ..)| *last_used);
            let goal = wanted + held.bytes / SLACK;
            let mut gone = 0;
            let victims: Vec<_> = order
                .into_iter()
                .take_while(|(.., size)| {
                    let before = gone;
                    gone += size;
                    before < goal
                })
                .collect();
            for (_, digest, size) in &victims {
                held.entries.remove(digest);
                held.bytes -= size;
            }
            self.report(&held);
            victims
        };
        for (_, digest, size) in victims {
            match self.store.remove(&digest).await {
                Ok(_) => {
                    self.metrics.evictions.inc();
                    self.metrics.evicted_bytes.inc_by(size);
                    tracing::debug!(%digest, size, "evicted");
                }
                Err(error) => tracing::warn!(%error, "a blob could not be evicted"),
            }
        }
        Ok(())
    }

    fn enter(&self, digest: Digest, size: u64, used: u64, visibility: Visibility) {
        let mut held = self.held();
        let known = held.entries.get(&digest);
        let visibility = known.map_or(visibility, |entry| match entry.visibility {
            Visibility::Public => Visibility::Public,
            Visibility::Unknown => visibility,
        });
        let before = known.map_or(0, |entry| entry.size);
        let used = known.map_or(used, |entry| entry.last_used.max(used));
        held.entries.insert(digest, Entry { size, last_used: used, touched: used, visibility });
        held.bytes = held.bytes - before + size;
        self.report(&held);
    }

    fn report(&self, held: &Held) {
        self.metrics.cache_bytes.set(i64::try_from(held.bytes).unwrap_or(i64::MAX));
        self.metrics.cache_partial_bytes.set(i64::try_from(held.left_bytes).unwrap_or(i64::MAX));
        self.metrics.cache_blobs.set(i64::try_from(held.entries.len()).unwrap_or(i64::MAX));
    }

    fn now(&self) -> u64 {
        millis(self.clock.now())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // The sums are set together with the map; a panic between them is not possible.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
