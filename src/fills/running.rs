//! The running fills: at most one for each digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::candidates::Standing;
use super::fill::{Fill, Phase};
use super::report::FillReport;
use super::shared::Shared;
use super::source::{BlobSource, Proof};
use super::task::FillTask;
use super::waiting::{Interest, Waiter};
use crate::oci::{Digest, MirroredName};
use crate::store::CacheStore;

/// The running fills of a server.
pub struct Fills {
    store: CacheStore,
    shared: Shared,
    /// A std `Mutex`: held for map operations only.
    running: Mutex<HashMap<Digest, Arc<Fill>>>,
}

/// The result of [`Fills::join`].
pub enum Joined {
    /// The caller started the fill.
    Started(Arc<Fill>, Waiter),
    /// The fill was running already.
    Running(Arc<Fill>, Waiter),
    /// The fill runs for other repositories. The caller must prove its right first, and then call [`Fills::join`] with
    /// [`Proof::Given`].
    MustProve,
}

impl Fills {
    /// Returns the fills of a server, none of which is running.
    pub fn new(store: CacheStore, shared: Shared) -> Arc<Self> {
        Arc::new(Self { store, shared, running: Mutex::default() })
    }

    /// Returns the running fill of a digest.
    pub fn running(&self, digest: &Digest) -> Option<Arc<Fill>> {
        self.map().get(digest).cloned()
    }

    /// Returns true if a fill of the digest is running for this source.
    pub fn is_for(&self, digest: &Digest, name: &MirroredName) -> bool {
        self.running(digest).is_some_and(|fill| matches!(fill.standing(name), Standing::Member))
    }

    /// Describes the running fills, sorted by digest.
    pub fn reports(&self) -> Vec<FillReport> {
        let mut reports: Vec<_> = self.map().values().map(|fill| FillReport::of(fill)).collect();
        reports.sort_by_cached_key(|report| report.digest.to_string());
        reports
    }

    /// Cancels the fill of a digest. Returns false if none is running.
    pub fn cancel(&self, digest: &Digest) -> bool {
        let fill = self.running(digest);
        fill.inspect(|fill| fill.cancel()).is_some()
    }

    /// Joins the fill of a digest, or starts it.
    pub fn join(self: &Arc<Self>, digest: &Digest, source: BlobSource, proof: Proof, interest: Interest) -> Joined {
        let mut running = self.map();
        if let Some(fill) = running.get(digest) {
            // The waiter joins before the fill's end is checked, because a fill without waiters may be about to end.
            let waiter = fill.waiters().join(interest);
            match (fill.standing(&source.name), proof) {
                (Standing::Member, _) => return Joined::Running(Arc::clone(fill), waiter),
                (Standing::Stranger, Proof::Pending) => return Joined::MustProve,
                (Standing::Stranger, Proof::Given) if fill.add(source.clone()) => {
                    return Joined::Running(Arc::clone(fill), waiter);
                }
                (Standing::Stranger | Standing::Ended, _) => {}
            }
        }
        let fill = Arc::new(Fill::new(*digest, source, proof));
        let waiter = fill.waiters().join(interest);
        running.insert(*digest, Arc::clone(&fill));
        let (fills, started) = (Arc::clone(self), Arc::clone(&fill));
        self.shared.machine.tasks.spawn(async move { fills.run(started).await });
        Joined::Started(fill, waiter)
    }

    async fn run(self: Arc<Self>, fill: Arc<Fill>) {
        // Dropped at the end, even if the task is cancelled or panics.
        let _running = RunningFill::new(Arc::clone(&self), Arc::clone(&fill));
        FillTask { store: &self.store, shared: &self.shared, fill: &fill }.run().await;
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Fill>>> {
        // Each change is one map operation, so a poisoned lock holds a complete map.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a fill in the map and in the metric while it runs.
struct RunningFill {
    fills: Arc<Fills>,
    fill: Arc<Fill>,
}

impl RunningFill {
    fn new(fills: Arc<Fills>, fill: Arc<Fill>) -> Self {
        fills.shared.metrics.fills_in_flight.inc();
        Self { fills, fill }
    }
}

impl Drop for RunningFill {
    fn drop(&mut self) {
        self.fills.shared.metrics.fills_in_flight.dec();
        let mut running = self.fills.map();
        if running.get(&self.fill.digest).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            running.remove(&self.fill.digest);
        }
        drop(running);
        if matches!(self.fill.progress().phase, Phase::Asking | Phase::Arriving | Phase::Repairing) {
            self.fill.end(Phase::Failed);
        }
    }
}
