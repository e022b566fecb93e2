//! All fills that are running: one for each digest, any number of readers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fill::{Fill, Proof, Source, Standing, State, agree};
use super::quota::{GIVEN_UP, Quota, Reservation};
use super::{FillReport, RegistryError, UpstreamFailure};
use crate::metrics::Metrics;
use crate::oci::{Digest, Hasher, MediaType};
use crate::store::{CacheStore, LinkRecord, Partial, Right, StoreError, verified};
use crate::sys::Tasks;
use crate::upstream::UpstreamError;

/// The running fills.
pub struct Fills {
    store: CacheStore,
    quota: Arc<Quota>,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    /// A std `Mutex`: held for map operations only.
    running: Mutex<HashMap<Digest, Arc<Fill>>>,
}

/// A fill, and whether this request began it.
pub enum Joined {
    Started(Arc<Fill>),
    Running(Arc<Fill>),
    /// It runs for other repositories: prove the right to it first, and call [`Fills::join`] with [`Proof::Given`].
    MustProve,
}

/// Everything that a source sent, not yet verified.
struct Arrived {
    partial: Partial,
    /// Has seen all of it.
    hasher: Hasher,
    /// Kept until the blob is counted as stored: nobody else is promised it meanwhile.
    room: Reservation,
}

/// Why a transfer ended before the blob was whole.
enum Broken {
    /// This source failed; another may go on.
    Source(UpstreamError),
    /// The upstream has nothing after what is held: what is held is not a beginning of this blob.
    Unresumable,
    /// The disk, or the quota.
    Storage(Option<StoreError>),
}

impl Fills {
    pub fn new(store: CacheStore, quota: Arc<Quota>, tasks: Tasks, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { store, quota, tasks, metrics, running: Mutex::default() })
    }

    /// The fill that is running for a digest.
    pub fn running(&self, digest: &Digest) -> Option<Arc<Fill>> {
        self.map().get(digest).cloned()
    }

    /// What is arriving now.
    pub fn reports(&self) -> Vec<FillReport> {
        let report = |fill: &Arc<Fill>| {
            let progress = fill.progress();
            FillReport { digest: fill.digest, size: progress.size, arrived: progress.prefix }
        };
        self.map().values().map(report).collect()
    }

    /// Stops a fill. Says whether there was one.
    pub fn cancel(&self, digest: &Digest) -> bool {
        let fill = self.map().remove(digest);
        fill.inspect(|fill| fill.end(State::Failed)).is_some()
    }

    /// Joins the fill of a digest, or begins it.
    pub fn join(self: &Arc<Self>, digest: &Digest, source: Source, proof: Proof) -> Joined {
        let mut running = self.map();
        if let Some(fill) = running.get(digest) {
            match (fill.standing(&source.key()), proof) {
                (Standing::Ours, _) => return Joined::Running(Arc::clone(fill)),
                (Standing::Others, Proof::Pending) => return Joined::MustProve,
                (Standing::Others, Proof::Given) if fill.add(source.clone()) => {
                    return Joined::Running(Arc::clone(fill));
                }
                (Standing::Others | Standing::Ended, _) => {}
            }
        }
        let fill = Arc::new(Fill::new(*digest, source, proof));
        running.insert(*digest, Arc::clone(&fill));
        let (fills, task) = (Arc::clone(self), Arc::clone(&fill));
        self.tasks.spawn(async move { fills.run(task).await });
        Joined::Started(fill)
    }

    async fn run(self: Arc<Self>, fill: Arc<Fill>) {
        // Rides along so that the gauge and the map are right even when the task is cancelled or panics.
        let _running = Running::new(Arc::clone(&self), Arc::clone(&fill));
        if let Ok(Some(stored)) = self.store.blob(&fill.digest).await {
            fill.set_file(Arc::clone(&stored.file));
            return self.vouch(&fill, stored.size, State::Complete).await;
        }
        let mut partial = self.store.partial(&fill.digest).await;
        if partial.as_ref().is_err_and(StoreError::is_full) && self.quota.give_way(GIVEN_UP).await {
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
        self.metrics.fills.with_label_values(&[outcome]).inc();
    }

    /// The blob became whole between the joiner's look at the disk and this fill: nothing is fetched, but every source must
    /// still say that it has it.
    async fn vouch(&self, fill: &Fill, size: u64, end: State) {
        fill.arrived(size);
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
    async fn fetch(&self, fill: &Fill, mut partial: Partial) -> &'static str {
        fill.set_file(Arc::clone(partial.file()));
        let hasher = match partial.hash_prefix(fill.digest.algorithm()).await {
            Ok(hasher) => hasher,
            Err(error) => {
                // What cannot be read is no beginning; should this fail too, the file is discarded all the same.
                let _ = partial.restart().await;
                return self.give_up(fill, partial, Hasher::new(fill.digest.algorithm()), Some(error)).await;
            }
        };
        let prefix = partial.extents().prefix();
        fill.arrived(prefix);
        if prefix == 0 || hasher.clone().finish() != fill.digest {
            return self.ask_sources(fill, partial, hasher).await;
        }
        // An earlier fill had everything and did not come to say so.
        match self.store.commit(partial, &fill.digest).await {
            Ok(()) => {
                self.vouch(fill, prefix, State::Complete).await;
                "complete"
            }
            Err(error) => {
                tracing::error!(digest = %fill.digest, %error, "a whole blob could not be stored; it is served without being kept");
                self.vouch(fill, prefix, State::Unkept).await;
                "unstorable"
            }
        }
    }

    async fn ask_sources(&self, fill: &Fill, mut partial: Partial, mut hasher: Hasher) -> &'static str {
        while let Some(source) = self.next(fill, &mut partial).await {
            match self.transfer(fill, &mut partial, &mut hasher, &source).await {
                Ok(room) => return self.finish(fill, Arrived { partial, hasher, room }, &source).await,
                Err(Broken::Source(error)) => {
                    tracing::warn!(digest = %fill.digest, %error, "a source failed");
                    fill.failed(&source.key(), error);
                }
                Err(Broken::Unresumable) => {
                    hasher = Hasher::new(fill.digest.algorithm());
                    if let Err(error) = partial.restart().await {
                        return self.give_up(fill, partial, hasher, Some(error)).await;
                    }
                    fill.arrived(0);
                }
                Err(Broken::Storage(error)) => return self.give_up(fill, partial, hasher, error).await,
            }
        }
        partial.abandon().await;
        fill.end(State::Failed);
        "failed"
    }

    /// The next source to try. Before the fill ends for want of one, what has arrived is written down and let go of, so that
    /// the next request can take it up.
    async fn next(&self, fill: &Fill, partial: &mut Partial) -> Option<Source> {
        if !fill.has_untried()
            && let Err(error) = partial.journal().await
        {
            tracing::warn!(%error, "what has arrived was not written down");
        }
        // Readers may keep the file open for long, and the next fill shall be able to take it up.
        fill.next_source(|| partial.unlock())
    }

    /// Fetches from one source until its stream ends. The room that it took stays taken until the blob is counted as stored.
    async fn transfer(
        &self,
        fill: &Fill,
        partial: &mut Partial,
        hasher: &mut Hasher,
        source: &Source,
    ) -> Result<Reservation, Broken> {
        let prefix = partial.extents().prefix();
        let mut stream = match source.upstream.get_blob(&source.repository, &fill.digest, prefix).await {
            // Only as long as no reader has seen any of it.
            Err(UpstreamError::Status { status: 416, .. }) if prefix > 0 && fill.progress().state == State::Asking => {
                return Err(Broken::Unresumable);
            }
            stream => stream.map_err(Broken::Source)?,
        };
        // Readers were told the first size: no later source may name another.
        let size = agree([source.expected_size, fill.progress().size, stream.total()]).map_err(Broken::Source)?;
        fill.answered(&source.key(), size);
        let mut room = match self.quota.reserve(size.unwrap_or(0).saturating_sub(prefix)).await {
            Ok(room) => room,
            Err(_) => return Err(Broken::Storage(None)),
        };
        let mut position = stream.start();
        while let Some(mut piece) = stream.chunk().await.map_err(Broken::Source)? {
            let at = partial.extents().prefix();
            let end = position + piece.len() as u64;
            if size.is_some_and(|size| end > size) {
                return Err(Broken::Source(UpstreamError::Length { expected: size.unwrap_or(0), found: end }));
            }
            // An upstream that ignores Range is read on, and what is known is dropped.
            let known = at.saturating_sub(position).min(piece.len() as u64);
            position = end;
            let piece = piece.split_off(usize::try_from(known).unwrap_or(piece.len()));
            if piece.is_empty() {
                continue;
            }
            room.written(piece.len() as u64).await.map_err(|_| Broken::Storage(None))?;
            match partial.write(at, piece, hasher.clone()).await {
                Ok(fed) => *hasher = fed,
                Err(error) => return Err(Broken::Storage(Some(error))),
            }
            fill.arrived(partial.extents().prefix());
            if partial.journal_is_due()
                && let Err(error) = partial.journal().await
            {
                tracing::warn!(%error, "what has arrived was not written down");
            }
        }
        match size {
            Some(size) if position != size => {
                Err(Broken::Source(UpstreamError::Length { expected: size, found: position }))
            }
            _ => Ok(room),
        }
    }

    /// All bytes have arrived: verify, store, record the rights, and only then say so.
    async fn finish(&self, fill: &Fill, arrived: Arrived, source: &Source) -> &'static str {
        let Arrived { partial, hasher, room } = arrived;
        let size = partial.extents().prefix();
        if let Err(StoreError::Mismatch { expected, found }) = verified(hasher.clone(), &fill.digest) {
            let upstream = source.upstream.name();
            tracing::error!(%expected, %found, %upstream, repository = %source.repository, "content does not match its digest");
            if let Err(error) = partial.discard().await {
                tracing::error!(%error, "damaged content could not be removed");
            }
            fill.end_mismatched(UpstreamError::Mismatch { expected, found });
            return "failed";
        }
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
        let right = right_of(source);
        self.quota.stored(*digest, size, right);
        let known = self.store.link(source.upstream.name(), &source.repository, digest).await?;
        let media_type = known.map_or_else(|| MediaType::known(MediaType::OCTET_STREAM), |link| link.media_type);
        let link = LinkRecord { right, media_type, size: Some(size) };
        self.store.set_links(source.upstream.name(), &source.repository, vec![(*digest, link)]).await
    }

    async fn give_up(&self, fill: &Fill, partial: Partial, hasher: Hasher, error: Option<StoreError>) -> &'static str {
        let reason =
            error.map_or_else(|| "mirror.cache.maxsize or the reserve leaves no room".to_owned(), |e| e.to_string());
        tracing::warn!(digest = %fill.digest, reason, "a blob cannot be stored; it is served without being kept");
        let prefix = partial.extents().prefix();
        // Readers hold the file open; its space is free again when the last has drained it.
        if let Err(error) = partial.discard().await {
            tracing::warn!(%error, "a partial blob could not be removed");
        }
        fill.give_up(prefix, hasher);
        "unstorable"
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Fill>>> {
        // A map of fills is whole whatever its last holder did.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right that an upstream's 200 gives.
pub fn right_of(source: &Source) -> Right {
    if source.upstream.is_anonymous() { Right::Public } else { Right::Private }
}

/// A fill in the map and in the gauge, for as long as it runs.
struct Running {
    fills: Arc<Fills>,
    fill: Arc<Fill>,
}

impl Running {
    fn new(fills: Arc<Fills>, fill: Arc<Fill>) -> Self {
        fills.metrics.fills_in_flight.inc();
        Self { fills, fill }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.fills.metrics.fills_in_flight.dec();
        let mut running = self.fills.map();
        if running.get(&self.fill.digest).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            running.remove(&self.fill.digest);
        }
        drop(running);
        if matches!(self.fill.progress().state, State::Asking | State::Arriving) {
            self.fill.end(State::Failed);
        }
    }
}

impl RegistryError {
    /// A fill that ended without a word: the server is being stopped.
    pub(super) fn interrupted(digest: &Digest) -> Self {
        let message = format!("the fill of {digest} was interrupted: the server is being stopped; ask again");
        Self::Upstream { failure: UpstreamFailure::Unreachable, message }
    }
}
