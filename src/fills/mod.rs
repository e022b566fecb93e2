//! All fills that are running: one for each digest, any number of readers.

mod audience;
mod error;
mod fill;
mod follow;
mod hosts;
mod report;
mod source;
mod transfer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::{GIVEN_UP, Reservation};
use crate::oci::{Digest, Hasher, MediaType};
use crate::store::{Arrivals, CacheStore, LinkRecord, Partial, Right, StoreError, verified};
use crate::sys::Tasks;
use crate::upstream::UpstreamError;
use fill::Standing;
use transfer::{Broken, Transfer};

pub use audience::{Attention, Interest};
pub use error::FillError;
pub use fill::{Fill, Progress, State};
pub use follow::{Arriving, Direct, Follower};
pub use report::FillReport;
pub use source::{Proof, Source, SourceKey};
pub use transfer::Means;

/// The running fills.
pub struct Fills {
    store: CacheStore,
    means: Means,
    tasks: Tasks,
    /// A std `Mutex`: held for map operations only.
    running: Mutex<HashMap<Digest, Arc<Fill>>>,
}

/// A fill, whether this request began it, and what makes this request one that waits for it.
pub enum Joined {
    Started(Arc<Fill>, Attention),
    Running(Arc<Fill>, Attention),
    /// It runs for other repositories: prove the right to it first, and call [`Fills::join`] with [`Proof::Given`].
    MustProve,
}

/// Everything that a source sent, not yet verified.
struct Arrived {
    partial: Partial,
    /// Has seen all of it.
    hasher: Hasher,
    /// Kept until the blob is counted as stored: nobody else is promised it meanwhile.
    room: Option<Reservation>,
}

/// How the bytes came, or did not.
enum Outcome {
    Whole,
    /// Nobody has the right content.
    Wrong(StoreError),
    /// Every source has failed, or it was stopped.
    Failed,
    /// The disk, or the quota.
    Storage(Option<StoreError>),
}

impl Fills {
    pub fn new(store: CacheStore, means: Means, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { store, means, tasks, running: Mutex::default() })
    }

    /// The fill that is running for a digest.
    pub fn running(&self, digest: &Digest) -> Option<Arc<Fill>> {
        self.map().get(digest).cloned()
    }

    /// Does a fill of this digest run for this repository?
    pub fn is_for(&self, digest: &Digest, key: &SourceKey) -> bool {
        self.running(digest).is_some_and(|fill| matches!(fill.standing(key), Standing::Ours))
    }

    /// What is arriving now.
    pub fn reports(&self) -> Vec<FillReport> {
        let mut reports: Vec<_> = self.map().values().map(|fill| FillReport::of(fill)).collect();
        reports.sort_by_cached_key(|report| report.digest.to_string());
        reports
    }

    /// Stops a fill. Says whether there was one.
    pub fn cancel(&self, digest: &Digest) -> bool {
        let fill = self.running(digest);
        fill.inspect(|fill| fill.cancel()).is_some()
    }

    /// Joins the fill of a digest, or begins it.
    pub fn join(self: &Arc<Self>, digest: &Digest, source: Source, proof: Proof, interest: Interest) -> Joined {
        let mut running = self.map();
        if let Some(fill) = running.get(digest) {
            // Before the look whether it has ended: one that nobody waits for may be about to.
            let attention = fill.audience().attend(interest);
            match (fill.standing(&source.key()), proof) {
                (Standing::Ours, _) => return Joined::Running(Arc::clone(fill), attention),
                (Standing::Others, Proof::Pending) => return Joined::MustProve,
                (Standing::Others, Proof::Given) if fill.add(source.clone()) => {
                    return Joined::Running(Arc::clone(fill), attention);
                }
                (Standing::Others | Standing::Ended, _) => {}
            }
        }
        let fill = Arc::new(Fill::new(*digest, source, proof));
        let attention = fill.audience().attend(interest);
        running.insert(*digest, Arc::clone(&fill));
        let (fills, task) = (Arc::clone(self), Arc::clone(&fill));
        self.tasks.spawn(async move { fills.run(task).await });
        Joined::Started(fill, attention)
    }

    async fn run(self: Arc<Self>, fill: Arc<Fill>) {
        // Rides along so that the gauge and the map are right even when the task is cancelled or panics.
        let _running = Running::new(Arc::clone(&self), Arc::clone(&fill));
        if let Ok(Some(stored)) = self.store.blob(&fill.digest).await {
            fill.set_arrivals(Arc::new(Arrivals::whole(&stored)));
            return self.vouch(&fill, State::Complete).await;
        }
        let mut partial = self.store.partial(&fill.digest).await;
        if partial.as_ref().is_err_and(StoreError::is_full) && self.means.quota.give_way(GIVEN_UP).await {
            partial = self.store.partial(&fill.digest).await;
        }
        let outcome = match partial {
            Ok(partial) => self.fetch(&fill, partial).await,
            Err(error) => {
                tracing::error!(digest = %fill.digest, %error, "a blob cannot be stored; it is served without being kept");
                fill.give_up(0, Hasher::new(fill.digest.algorithm()));
                "unstorable"
            }
        };
        self.means.metrics.fills.with_label_values(&[outcome]).inc();
    }

    /// The blob became whole between the joiner's look at the disk and this fill: nothing is fetched, but a source must
    /// still say that it has it. The others are asked when they come again.
    async fn vouch(&self, fill: &Fill, end: State) {
        let size = fill.progress().arrived;
        while let Some(source) = fill.next_source(|| {}) {
            let proof = fill.verdict(&source.key());
            let asked = match proof {
                Ok(true) => Ok(()),
                _ => source.upstream.head_blob(&source.repository, &fill.digest).await.map(|_| ()),
            };
            if let Err(error) = asked {
                fill.failed(&source.key(), error);
                continue;
            }
            fill.answered(&source.key(), Some(size));
            if end == State::Complete {
                self.record_rights(fill, size).await;
            }
            return fill.end(end);
        }
        fill.end(State::Failed);
    }

    /// Tries one source after another until the blob is whole. Returns the outcome's name.
    async fn fetch(&self, fill: &Fill, partial: Partial) -> &'static str {
        fill.set_arrivals(Arc::clone(partial.arrivals()));
        let transfer = Transfer::new(&self.means, fill, &partial);
        if self.everything_is_there(fill, &transfer).await {
            drop(transfer);
            return self.take_over(fill, partial).await;
        }
        let outcome = self.ask_sources(fill, &partial, &transfer).await;
        let hashed = match outcome {
            // What is left to hash of it is for the next request to do.
            Outcome::Failed | Outcome::Wrong(_) => None,
            Outcome::Whole | Outcome::Storage(_) => transfer.hashed().await.ok(),
        };
        let room = transfer.into_room();
        match (outcome, hashed) {
            (Outcome::Whole, Some((_, hasher))) => self.finish(fill, Arrived { partial, hasher, room }).await,
            (Outcome::Whole, None) => self.give_up(fill, partial, None, None).await,
            (Outcome::Storage(error), hashed) => self.give_up(fill, partial, hashed, error).await,
            (Outcome::Wrong(error), _) => self.refuse(fill, partial, error).await,
            (Outcome::Failed, _) => {
                self.means.quota.left(&fill.digest, partial.arrivals().total());
                partial.abandon().await;
                fill.end(State::Failed);
                "failed"
            }
        }
    }

    /// An earlier fill may have had everything and not come to say so.
    async fn everything_is_there(&self, fill: &Fill, transfer: &Transfer<'_>) -> bool {
        let expected = fill.unfailed().iter().find_map(|source| source.expected_size);
        if fill.progress().arrived == 0 || expected != Some(fill.progress().arrived) {
            return false;
        }
        let right = transfer.hashed().await.is_ok_and(|(_, hasher)| hasher.finish() == fill.digest);
        if !right && let Err(error) = transfer.restart().await {
            // The transfer will find out what is wrong with the disk.
            tracing::warn!(%error, "a partial blob could not be emptied");
        }
        right
    }

    /// Everything was there already.
    async fn take_over(&self, fill: &Fill, partial: Partial) -> &'static str {
        let size = partial.arrivals().total();
        match self.store.commit(partial, &fill.digest).await {
            Ok(()) => {
                // It is there, whoever may have it.
                self.means.quota.stored(fill.digest, size, Right::Private);
                self.vouch(fill, State::Complete).await;
                "complete"
            }
            Err(error) => {
                tracing::error!(digest = %fill.digest, %error, "a whole blob could not be stored; it is served without being kept");
                self.vouch(fill, State::Unkept).await;
                "unstorable"
            }
        }
    }

    async fn ask_sources(&self, fill: &Fill, partial: &Partial, transfer: &Transfer<'_>) -> Outcome {
        while let Some(source) = self.next(fill, partial).await {
            match transfer.fetch(&source).await {
                Ok(()) => return self.verify(fill, partial, transfer).await,
                Err(Broken::Source(error)) => {
                    tracing::warn!(digest = %fill.digest, %error, "a source failed");
                    fill.failed(&source.key(), error);
                }
                Err(Broken::Unresumable) => {
                    if let Err(error) = transfer.restart().await {
                        return Outcome::Storage(Some(error));
                    }
                }
                Err(Broken::Storage(error)) => return Outcome::Storage(error),
                Err(Broken::Stopped) => {
                    self.write_down(partial).await;
                    if fill.close(|| partial.unlock()) {
                        tracing::info!(digest = %fill.digest, "a fill was stopped; the next request goes on from what has arrived");
                        return Outcome::Failed;
                    }
                }
            }
        }
        Outcome::Failed
    }

    /// The next source to try. Before the fill ends for want of one, what has arrived is written down and let go of, so that
    /// the next request can take it up.
    async fn next(&self, fill: &Fill, partial: &Partial) -> Option<Source> {
        if !fill.has_untried() {
            self.write_down(partial).await;
        }
        // Readers may keep the file open for long, and the next fill shall be able to take it up.
        fill.next_source(|| partial.unlock())
    }

    /// Is it what its digest says? If not, one of its endpoints may have it right.
    async fn verify(&self, fill: &Fill, partial: &Partial, transfer: &Transfer<'_>) -> Outcome {
        let wrong = match transfer.hashed().await {
            Ok((_, hasher)) => match verified(hasher, &fill.digest) {
                Ok(()) => return Outcome::Whole,
                Err(wrong) => wrong,
            },
            Err(error) => return Outcome::Storage(Some(error)),
        };
        match transfer.repair(&fill.unfailed()).await {
            Ok(true) => Outcome::Whole,
            Ok(false) | Err(Broken::Source(_) | Broken::Unresumable) => Outcome::Wrong(wrong),
            // Cancelled by hand. What is in doubt is not written down, so that nobody takes it up.
            Err(Broken::Stopped) => {
                fill.close(|| partial.unlock());
                Outcome::Failed
            }
            Err(Broken::Storage(error)) => Outcome::Storage(error),
        }
    }

    /// What came is not what it should be: none of it is kept.
    async fn refuse(&self, fill: &Fill, partial: Partial, wrong: StoreError) -> &'static str {
        let error = match wrong {
            StoreError::Mismatch { expected, found } => {
                let sources: Vec<_> =
                    fill.unfailed().iter().map(|source| format!("{}/{}", source.key().0, source.key().1)).collect();
                tracing::error!(%expected, %found, ?sources, "content does not match its digest");
                UpstreamError::Mismatch { expected, found }
            }
            other => return self.give_up(fill, partial, None, Some(other)).await,
        };
        if let Err(error) = partial.discard().await {
            tracing::error!(%error, "damaged content could not be removed");
        }
        fill.end_mismatched(error);
        "failed"
    }

    /// All bytes have arrived and are right: store, record the rights, and only then say so.
    async fn finish(&self, fill: &Fill, arrived: Arrived) -> &'static str {
        let Arrived { partial, hasher, room } = arrived;
        let size = partial.arrivals().prefix();
        if let Err(error) = self.store.commit(partial, &fill.digest).await {
            tracing::error!(digest = %fill.digest, %error, "a whole blob could not be stored; it is served without being kept");
            fill.give_up(size, hasher);
            return "unstorable";
        }
        self.record_rights(fill, size).await;
        drop(room);
        fill.end(State::Complete);
        "complete"
    }

    async fn record_rights(&self, fill: &Fill, size: u64) {
        for source in fill.proven() {
            if let Err(error) = self.record(&fill.digest, &source, size).await {
                tracing::warn!(%error, "a repository's right to a blob was not written down; it will be asked for again");
            }
        }
    }

    async fn record(&self, digest: &Digest, source: &Source, size: u64) -> Result<(), StoreError> {
        let right = source.right();
        self.means.quota.stored(*digest, size, right);
        let known = self.store.link(source.upstream.name(), &source.repository, digest).await?;
        let media_type = known.map_or_else(|| MediaType::known(MediaType::OCTET_STREAM), |link| link.media_type);
        let link = LinkRecord { right, media_type, size: Some(size) };
        self.store.set_links(source.upstream.name(), &source.repository, vec![(*digest, link)]).await
    }

    /// It cannot be stored: readers drain what is there, up to the first hole, and go on by themselves.
    async fn give_up(
        &self,
        fill: &Fill,
        partial: Partial,
        hashed: Option<(u64, Hasher)>,
        error: Option<StoreError>,
    ) -> &'static str {
        let reason =
            error.map_or_else(|| "mirror.cache.maxsize or the reserve leaves no room".to_owned(), |e| e.to_string());
        tracing::warn!(digest = %fill.digest, reason, "a blob cannot be stored; it is served without being kept");
        // Readers hold the file open; its space is free again when the last has drained it.
        if let Err(error) = partial.discard().await {
            tracing::warn!(%error, "a partial blob could not be removed");
        }
        // What cannot be read back is not drained either: everybody begins anew.
        let (prefix, hasher) = hashed.unwrap_or_else(|| (0, Hasher::new(fill.digest.algorithm())));
        fill.give_up(prefix, hasher);
        "unstorable"
    }

    /// What has arrived is written down.
    async fn write_down(&self, partial: &Partial) {
        if let Err(error) = partial.journal().await {
            tracing::warn!(%error, "what has arrived was not written down");
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Fill>>> {
        // A map of fills is whole whatever its last holder did.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fill in the map and in the gauge, for as long as it runs.
struct Running {
    fills: Arc<Fills>,
    fill: Arc<Fill>,
}

impl Running {
    fn new(fills: Arc<Fills>, fill: Arc<Fill>) -> Self {
        fills.means.metrics.fills_in_flight.inc();
        Self { fills, fill }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.fills.means.metrics.fills_in_flight.dec();
        let mut running = self.fills.map();
        if running.get(&self.fill.digest).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            running.remove(&self.fill.digest);
        }
        drop(running);
        if matches!(self.fill.progress().state, State::Asking | State::Arriving | State::Doubted) {
            self.fill.end(State::Failed);
        }
    }
}
