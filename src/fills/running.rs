//! The running fills: at most one for each digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::candidates::Standing;
use super::fill::Fill;
use super::outcome::TaskEnd;
use super::progress::Phase;
use super::report::FillReport;
use super::shared::Shared;
use super::source::{BlobSource, Proof};
use super::storing::{Storing, label};
use super::task::FillTask;
use super::waiting::{Interest, Waiter};
use crate::config::Unattended;
use crate::oci::{Digest, MirroredName};
use crate::store::CacheStore;

/// Storing a blob that is passed through is not tried again before this time has passed.
const RETRY_STORING: Duration = Duration::from_secs(10);

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

    /// Returns the running fill of a digest. A fill that has ended is not returned, even if it still holds its file.
    pub fn running(&self, digest: &Digest) -> Option<Arc<Fill>> {
        self.map().get(digest).filter(|fill| !fill.has_ended()).cloned()
    }

    /// Describes the running fills, sorted by digest.
    pub fn reports(&self) -> Vec<FillReport> {
        let map = self.map();
        let mut reports: Vec<_> =
            map.values().filter(|fill| !fill.has_ended()).map(|fill| FillReport::of(fill)).collect();
        drop(map);
        reports.sort_by_cached_key(|report| report.digest.to_string());
        reports
    }

    /// Cancels the fill of a digest. Returns false if none is running, or if its blob is verified already.
    pub fn cancel(&self, digest: &Digest) -> bool {
        let fill = self.running(digest).filter(|fill| fill.progress().phase.is_undecided() || fill.is_passing());
        fill.inspect(|fill| fill.cancel()).is_some()
    }

    /// Waits until the blob is stored, if its fill has verified it and clients may have read it to its end.
    pub async fn stored(&self, digest: &Digest) {
        if let Some(fill) = self.running(digest).filter(|fill| fill.progress().phase.is_verified()) {
            fill.over().await;
        }
    }

    /// Waits until all blobs are stored whose fills have verified them.
    pub async fn all_stored(&self) {
        let verified: Vec<_> =
            self.map().values().filter(|fill| fill.progress().phase.is_verified()).cloned().collect();
        for fill in verified {
            fill.over().await;
        }
    }

    /// Joins the fill of a digest if it runs for this source.
    pub fn join_own(&self, digest: &Digest, name: &MirroredName, interest: Interest) -> Option<(Arc<Fill>, Waiter)> {
        let fill = Arc::clone(self.map().get(digest)?);
        self.close_if_storable(&fill);
        // The waiter joins before the fill's end is checked, because a fill without waiters may be about to end.
        let waiter = fill.waiters().join(interest);
        matches!(fill.standing(name), Standing::Member).then_some((fill, waiter))
    }

    /// Joins the fill of a digest, or starts it.
    pub fn join(self: &Arc<Self>, digest: &Digest, source: BlobSource, proof: Proof, interest: Interest) -> Joined {
        let mut running = self.map();
        if let Some(fill) = running.get(digest) {
            self.close_if_storable(fill);
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
        let before = running.insert(*digest, Arc::clone(&fill));
        let (fills, started) = (Arc::clone(self), Arc::clone(&fill));
        self.shared.machine.tasks.spawn(async move { fills.run(started, before).await });
        Joined::Started(fill, waiter)
    }

    /// Runs a fill. `before` is a fill of the same digest that has ended, and may not have released its file yet.
    async fn run(self: Arc<Self>, fill: Arc<Fill>, before: Option<Arc<Fill>>) {
        // Dropped at the end, even if the task is cancelled or panics.
        let running = RunningFill::new(Arc::clone(&self), Arc::clone(&fill));
        if let Some(before) = before
            && !self.wait_for(&before, &fill).await
        {
            return self.count(label::FAILED);
        }
        let task = FillTask { store: &self.store, shared: &self.shared, fill: &fill };
        let blob = match task.run().await {
            TaskEnd::Verified(blob) => blob,
            TaskEnd::Ended(outcome) => return self.count(outcome),
            TaskEnd::Passing(reservation) => {
                self.count(label::UNSTORABLE);
                // The file is released, so a later fill that can store the blob need not wait.
                fill.set_over();
                fill.stopped(Unattended::Pause(Duration::ZERO)).await;
                return drop(reservation);
            }
        };
        let storing = Storing { store: self.store.clone(), shared: self.shared.clone(), fill };
        // Clients may have read the blob to its end, so it is stored even if the server is stopping.
        let finish = async move {
            let outcome = storing.run(blob).await;
            running.fills.count(outcome);
        };
        self.shared.machine.tasks.finish(finish).await;
    }

    /// Waits until the fill before this one has released its file. Returns false if this fill was stopped meanwhile.
    async fn wait_for(&self, before: &Fill, fill: &Fill) -> bool {
        tokio::select! {
            () = before.over() => true,
            () = fill.stopped(self.shared.settings.unattended) => {
                // The next fill waits for this one only.
                before.over().await;
                false
            }
        }
    }

    /// Closes a fill that passes its blob through, if the blob may be stored by now. Then the next request starts a fill that
    /// tries to. Present readers read on.
    fn close_if_storable(&self, fill: &Fill) {
        let now = self.shared.hosts.now();
        let is_due = |given_up: Duration| now.saturating_sub(given_up) >= RETRY_STORING;
        if fill.passing_since().is_some_and(is_due)
            && self.shared.ledger.may_have_room(&fill.digest, fill.progress().size)
        {
            fill.close_to_others();
        }
    }

    /// Counts a fill that has ended.
    fn count(&self, outcome: &str) {
        self.shared.metrics.fills.with_label_values(&[outcome]).inc();
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
        if self.fill.progress().phase.is_undecided() {
            self.fill.end(Phase::Failed);
        }
        self.fill.set_over();
    }
}
