//! One fill: the transfer of a blob from an upstream to the disk, and its readers.
//!
//! The transfer runs in a task of its own, and outlives the client that started it. Each reader follows the transfer
//! through a `watch` of its progress, from its own offset, so no reader can slow it down
//! (`docs/decisions/0001-one-fill-per-digest.md`).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::candidates::{Candidates, Fatal, Standing};
use super::content::FillContent;
use super::error::FillError;
use super::passing::{Passes, WITHHELD};
use super::progress::{FillProgress, Phase};
use super::source::{BlobSource, Proof};
use super::waiting::Waiters;
use crate::config::Unattended;
use crate::oci::{Digest, MirroredName};
use crate::store::Arrivals;
use crate::upstream::UpstreamError;

/// A blob that is arriving.
pub struct Fill {
    pub digest: Digest,
    progress: watch::Sender<FillProgress>,
    /// A std `Mutex`, because it is held for list operations only.
    sources: Mutex<Candidates>,
    content: FillContent,
    pub(super) given_up: OnceLock<GivenUp>,
    waiters: Arc<Waiters>,
    cancelled: CancellationToken,
    /// Cancelled when the task of the fill has ended, and has released its file.
    over: CancellationToken,
}

/// The state of a fill that has given up storing its blob.
pub(super) struct GivenUp {
    /// The streams that readers share from then on.
    pub(super) passes: Arc<Passes>,
    pub(super) since: Duration,
}

impl Fill {
    /// Creates a fill that has not started.
    pub fn new(digest: Digest, source: BlobSource, proof: Proof) -> Self {
        Self {
            digest,
            progress: watch::Sender::new(FillProgress::default()),
            sources: Mutex::new(Candidates::new(source, proof)),
            content: FillContent::default(),
            given_up: OnceLock::new(),
            waiters: Waiters::new(),
            cancelled: CancellationToken::new(),
            over: CancellationToken::new(),
        }
    }

    /// Returns the relation of the fill to a source.
    pub fn standing(&self, name: &MirroredName) -> Standing {
        self.sources().standing(name)
    }

    /// Adds a source that has proven its right. Returns false if the fill has ended.
    pub fn add(&self, source: BlobSource) -> bool {
        let added = self.sources().add(source);
        if added {
            self.wake();
        }
        added
    }

    /// Waits until the response head for the blob can be sent: a source has confirmed the blob, and has told its size
    /// if it can.
    ///
    /// For a small blob, this waits until the blob is verified. None of its bytes are sent before they are verified, so
    /// a failure can still be answered with an error. The error is that of the caller's own source.
    pub async fn ready(&self, name: &MirroredName) -> Result<FillProgress, FillError> {
        let mut watch = self.progress.subscribe();
        loop {
            let progress = *watch.borrow_and_update();
            let proven = self.is_proven(name)?;
            let small = progress.size.is_some_and(|size| size <= WITHHELD);
            match progress.phase {
                phase if phase.is_verified() && proven => return Ok(progress),
                Phase::Arriving if proven && !small => return Ok(progress),
                // The reader's stream proves the right if it is not proven yet.
                Phase::Unstorable => return Ok(progress),
                phase if !phase.is_undecided() => return Err(self.failure(name)),
                _ => {}
            }
            if watch.changed().await.is_err() {
                return Err(self.failure(name));
            }
        }
    }

    /// Returns the waiters.
    pub fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    /// Cancels the fill on behalf of an operator. Its readers' bodies are cut; the next request resumes from the bytes
    /// that have arrived.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Completes when the fill has stopped early: it was cancelled, or it has no waiters and the configuration lets such
    /// a fill pause. From then on it cannot be joined, and its readers' bodies are cut.
    pub(super) async fn stopped(&self, unattended: Unattended) {
        loop {
            tokio::select! {
                () = self.cancelled.cancelled() => self.sources().set_fatal(Fatal::Cancelled),
                () = async {
                    match unattended {
                        Unattended::Finish => std::future::pending().await,
                        Unattended::Pause(grace) => {
                            // A client may give up before the upstream answers. Its next request joins this one.
                            let _ = self.watch().wait_for(|progress| progress.phase != Phase::Asking).await;
                            self.waiters.absent_for(grace).await;
                            if let Some(given_up) = self.given_up.get() {
                                given_up.passes.settled().await;
                            }
                        }
                    }
                } => {}
            }
            if self.close() {
                return self.end(Phase::Failed);
            }
        }
    }

    /// Records that no source can join any more, unless a waiter has come meanwhile. Returns true if the fill is closed.
    fn close(&self) -> bool {
        let mut sources = self.sources();
        let is_closed = self.waiters.count() == 0 || self.cancelled.is_cancelled();
        if is_closed {
            sources.end();
        }
        is_closed
    }

    /// Returns true if the fill cannot be joined any more.
    pub fn has_ended(&self) -> bool {
        self.sources().has_ended()
    }

    /// Completes when the task of the fill has ended and has released its file.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn set_over(&self) {
        self.over.cancel();
    }

    /// Returns a receiver that follows the progress.
    pub fn watch(&self) -> watch::Receiver<FillProgress> {
        self.progress.subscribe()
    }

    /// Returns the present progress.
    pub fn progress(&self) -> FillProgress {
        *self.progress.borrow()
    }

    /// Returns the content as readers see it.
    pub fn content(&self) -> &FillContent {
        &self.content
    }

    pub(super) fn set_arrivals(&self, arrivals: Arc<Arrivals>) {
        self.content.set(arrivals);
        self.arrived();
    }

    /// Begins again with other content, because what has arrived is not the beginning of this blob. Readers that have handed
    /// out any of it are cut.
    pub(super) fn begin_again(&self, arrivals: Arc<Arrivals>) {
        let progress = FillProgress { arrived: arrivals.total(), ..FillProgress::default() };
        self.content.begin_again(arrivals);
        self.progress.send_replace(progress);
    }

    /// Returns true if a source has proven its right, and false if that is not known yet. The error says that its
    /// upstream was asked and failed.
    pub fn is_proven(&self, name: &MirroredName) -> Result<bool, FillError> {
        self.sources().is_proven(name, &self.digest)
    }

    /// Returns the reason of the failure for one source: the failure of the whole fill, else the source's own error,
    /// else that of another source.
    pub fn failure(&self, name: &MirroredName) -> FillError {
        self.sources().failure(name, &self.digest)
    }

    /// Returns the next usable source. If there is none, the fill cannot be joined any more.
    pub(super) fn next_source(&self) -> Option<BlobSource> {
        let mut sources = self.sources();
        let next = sources.usable().next().cloned();
        if next.is_none() {
            sources.end();
        }
        next
    }

    /// Records that a source answered 200. That confirms its right, and tells the size of the blob. The fill is in the phase
    /// `arriving` from then on, if no source has answered before.
    pub(super) fn answered(&self, name: &MirroredName, size: Option<u64>, arriving: Phase) {
        self.sources().set_proven(name);
        self.progress.send_modify(|progress| {
            progress.size = size.or(progress.size);
            if progress.phase == Phase::Asking {
                progress.phase = arriving;
            }
        });
    }

    /// Records that a source failed.
    pub(super) fn failed(&self, name: &MirroredName, error: UpstreamError) {
        self.sources().set_failed(name, error);
        self.wake();
    }

    /// Tells readers that the number of arrived bytes has changed.
    pub(super) fn arrived(&self) {
        let arrived = self.content.arrivals().map_or(0, |arrivals| arrivals.total());
        self.progress.send_modify(|progress| progress.arrived = arrived);
    }

    /// Records that the content that has arrived does not match the digest, and is being repaired.
    pub(super) fn begin_repair(&self) {
        self.progress.send_modify(|progress| progress.phase = Phase::Repairing);
    }

    /// Records that everything has arrived and matches the digest. Readers may read to the end.
    pub(super) fn verified(&self) {
        self.progress.send_modify(|progress| {
            (progress.size, progress.phase) = (Some(progress.arrived), Phase::Verified);
        });
    }

    /// Ends the fill in a final phase.
    pub(super) fn end(&self, phase: Phase) {
        self.sources().end();
        self.progress.send_modify(|progress| {
            if phase.is_verified() {
                progress.size = Some(progress.arrived);
            }
            progress.phase = phase;
        });
    }

    /// Ends the fill because the content does not match the digest.
    pub(super) fn end_mismatched(&self, error: UpstreamError) {
        self.sources().set_fatal(Fatal::Mismatch(error));
        self.end(Phase::Failed);
    }

    /// Records that no source can join any more. The present readers read on.
    pub(super) fn close_to_others(&self) {
        self.sources().end();
    }

    /// Returns the sources that have not failed.
    pub(super) fn usable_sources(&self) -> Vec<BlobSource> {
        self.sources().usable().cloned().collect()
    }

    /// Returns the sources that proved their right while the fill ran.
    pub(super) fn proven_sources(&self) -> Vec<BlobSource> {
        self.sources().proven().cloned().collect()
    }

    /// Records that storing was given up. The blob is passed through as long as there are readers.
    pub(super) fn set_given_up(&self, given_up: GivenUp) {
        let _ = self.given_up.set(given_up);
        self.progress.send_modify(|progress| progress.phase = Phase::Unstorable);
    }

    /// Records that a stream of this source passes the blob through, and the size that its answer told.
    pub(super) fn passed(&self, name: &MirroredName, size: Option<u64>) {
        self.sources().set_proven(name);
        self.progress.send_modify(|progress| progress.size = progress.size.or(size));
    }

    fn wake(&self) {
        self.progress.send_modify(|_| {});
    }

    fn sources(&self) -> MutexGuard<'_, Candidates> {
        // Each change is one assignment or push, so a poisoned lock holds a complete list.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
