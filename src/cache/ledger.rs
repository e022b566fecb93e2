//! The ledger: the list of the cache's blobs, with the size and the last use of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::leftovers::{Leftover, Leftovers};
use super::refused::RefusedBlobs;
use crate::config;
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::store::{CacheStore, Right};
use crate::sys::disk::Space;
use crate::sys::{Machine, Moment};

/// A use is written to the disk again after this long, so that eviction after a restart knows which blobs were used.
const TOUCH_AFTER: Duration = Duration::from_secs(3600);

/// The accounts of the cache: its blobs, leftovers and reservations. The files on the disk are the truth; the ledger is
/// rebuilt from them when the server starts.
pub struct Ledger {
    pub(super) store: CacheStore,
    limits: ArcSwap<config::Cache>,
    pub(super) machine: Machine,
    pub(super) metrics: Arc<Metrics>,
    /// A std `Mutex`: held for map operations only.
    accounts: Mutex<Accounts>,
    /// Held from the calculation of the missing space until the file of the last evicted blob is removed. Without it, a
    /// second caller would count the same free bytes. An async lock, since it is held while files are removed.
    pub(super) freeing: tokio::sync::Mutex<()>,
    /// True once the cache's directories have been read.
    indexed: AtomicBool,
}

/// The numbers of a [`Ledger`], which change together.
#[derive(Default)]
pub(super) struct Accounts {
    pub(super) blobs: HashMap<Digest, CachedEntry>,
    /// The sum of the blobs' sizes.
    pub(super) bytes: u64,
    pub(super) leftovers: Leftovers,
    /// The blobs of running fills, and the number of fills of each.
    pub(super) filling: HashMap<Digest, usize>,
    /// Bytes that running fills have written.
    pub(super) arriving: u64,
    /// Bytes that are reserved for running fills and not written yet.
    pub(super) reserved: u64,
    /// The space of the file system when space was last reserved.
    pub(super) space: Option<Space>,
    pub(super) refused: RefusedBlobs,
    /// The time at which links were last looked at for want of space.
    pub(super) swept: Option<Moment>,
}

/// A blob that the cache holds.
pub(super) struct CachedEntry {
    pub(super) size: u64,
    /// The time of the last use, in milliseconds since 1970.
    pub(super) last_used: u64,
    /// The time that the file's timestamp was last set, in milliseconds since 1970.
    touched: u64,
    visibility: Visibility,
}

/// Whether a repository may serve the bytes only because one of its manifests names them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// An upstream served the bytes without credentials.
    Public,
    Unknown,
}

impl Ledger {
    /// Creates an empty ledger. [`Ledger::rebuild`] fills it.
    pub fn new(store: CacheStore, limits: config::Cache, machine: &Machine, metrics: Arc<Metrics>) -> Arc<Self> {
        let (accounts, freeing, indexed) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicBool::new(false));
        let limits = ArcSwap::from_pointee(limits);
        Arc::new(Self { store, limits, machine: machine.clone(), metrics, accounts, freeing, indexed })
    }

    /// Takes other limits, and brings the cache within them.
    pub async fn set_limits(&self, limits: config::Cache) {
        self.limits.store(Arc::new(limits));
        self.enforce_limits().await;
    }

    /// Enters a blob that was stored completely.
    pub(super) fn enter_stored(&self, accounts: &mut Accounts, digest: Digest, size: u64, right: Right) {
        let now = self.now();
        let visibility = if right == Right::Public { Visibility::Public } else { Visibility::Unknown };
        accounts.leftovers.remove(&digest);
        self.enter(accounts, digest, CachedEntry { size, last_used: now, touched: now, visibility });
    }

    /// Records that a blob was served.
    pub fn used(&self, digest: &Digest) {
        let now = self.now();
        let stale = {
            let mut accounts = self.accounts();
            let Some(entry) = accounts.blobs.get_mut(digest) else { return };
            entry.last_used = now;
            let stale = now.checked_sub(entry.touched).is_none_or(|age| age > TOUCH_AFTER.as_millis() as u64);
            if stale {
                entry.touched = now;
            }
            stale
        };
        if stale {
            let (store, digest) = (self.store.clone(), *digest);
            self.machine.tasks.spawn(async move {
                if let Err(error) = store.touch(&digest).await {
                    tracing::warn!(%digest, %error, "cannot save the time of a blob's last use");
                }
            });
        }
    }

    /// Records that a blob was removed because a client evicted it or because it was damaged.
    pub fn removed(&self, digest: &Digest) {
        let mut accounts = self.accounts();
        if let Some(entry) = accounts.blobs.remove(digest) {
            accounts.bytes -= entry.size;
        }
        self.report(&accounts);
    }

    /// Records that a fill ended early and left `bytes` bytes of its blob on the disk.
    pub fn left_unfinished(&self, digest: &Digest, bytes: u64) {
        let last_used = self.now();
        let mut accounts = self.accounts();
        accounts.leftovers.remove(digest);
        if bytes > 0 {
            accounts.leftovers.add(*digest, Leftover { bytes, last_used });
        }
        self.report(&accounts);
    }

    /// Returns true if an upstream served these bytes without credentials, and `None` if that is unknown because the
    /// cache is not indexed yet.
    pub fn is_public(&self, digest: &Digest) -> Option<bool> {
        let public = self.accounts().blobs.get(digest).is_some_and(|entry| entry.visibility == Visibility::Public);
        (public || self.is_indexed()).then_some(public)
    }

    pub(super) fn set_public(&self, digest: &Digest) {
        if let Some(entry) = self.accounts().blobs.get_mut(digest) {
            entry.visibility = Visibility::Public;
        }
    }

    /// Returns the number of complete blobs and the sum of their sizes.
    pub fn count(&self) -> (usize, u64) {
        let accounts = self.accounts();
        (accounts.blobs.len(), accounts.bytes)
    }

    /// Enters a blob. A blob that is known already keeps its later time of use and its public visibility.
    fn enter(&self, accounts: &mut Accounts, digest: Digest, mut entry: CachedEntry) {
        let mut before = 0;
        if let Some(known) = accounts.blobs.get(&digest) {
            before = known.size;
            entry.last_used = known.last_used.max(entry.last_used);
            entry.touched = entry.last_used;
            if known.visibility == Visibility::Public {
                entry.visibility = Visibility::Public;
            }
        }
        accounts.bytes = accounts.bytes - before + entry.size;
        accounts.blobs.insert(digest, entry);
        self.report(accounts);
    }

    /// Records a blob that was found on the disk.
    pub(super) fn found(&self, digest: Digest, size: u64, last_used: u64) {
        let entry = CachedEntry { size, last_used, touched: last_used, visibility: Visibility::Unknown };
        self.enter(&mut self.accounts(), digest, entry);
    }

    /// Returns the maximum size of the cache, and the number of bytes that it leaves free on the file system.
    pub(super) fn bounds(&self, space: Space) -> (u64, u64) {
        let limits = self.limits.load();
        let limit = limits.max_size.unwrap_or(space.total / 5 * 4);
        (limit, limits.reserve.unwrap_or((space.total / 20).min(10 << 30)))
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.indexed.load(Ordering::Acquire)
    }

    pub(super) fn set_indexed(&self) {
        self.indexed.store(true, Ordering::Release);
    }

    /// Updates the metrics.
    pub(super) fn report(&self, accounts: &Accounts) {
        self.metrics.cache_bytes.set(i64::try_from(accounts.bytes).unwrap_or(i64::MAX));
        self.metrics.cache_partial_bytes.set(i64::try_from(accounts.leftovers.bytes()).unwrap_or(i64::MAX));
        self.metrics.cache_blobs.set(i64::try_from(accounts.blobs.len()).unwrap_or(i64::MAX));
        self.metrics.cache_links.set(i64::try_from(self.store.link_count()).unwrap_or(i64::MAX));
    }

    /// Returns the time of a file's last use in milliseconds since 1970. A time from the future counts as the oldest, since it
    /// would keep the file until the clock reaches it.
    pub(super) fn last_use(&self, at: SystemTime) -> u64 {
        if self.machine.clock.age_of(at) == Duration::MAX { 0 } else { millis(at).min(self.now()) }
    }

    /// Returns the time in milliseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        millis(self.machine.clock.now())
    }

    pub(super) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        // The sums change together with the map, and nothing between the changes can panic. So a poisoned lock is
        // usable.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Converts a time to milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
