//! One fill: a blob on its way from an upstream to the disk, and to everybody who reads it meanwhile.
//!
//! The transfer runs in a task of its own and outlives whoever asked for it. Readers follow it behind a `watch` of its
//! progress, each from its own offset; none can slow it down (DESIGN.md, decisions 1 to 3).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::audience::Audience;
use super::error::FillError;
use super::source::{Proof, Source, SourceKey};
use crate::config::Unattended;
use crate::oci::{Digest, Hasher, Span};
use crate::store::{Arrivals, Extents};
use crate::upstream::UpstreamError;

/// The end of a blob that no reader gets before the whole is verified, in bytes.
pub const WITHHELD: u64 = 64 << 10;

/// A blob that is arriving.
pub struct Fill {
    pub digest: Digest,
    progress: watch::Sender<Progress>,
    /// A std `Mutex`: held for list operations only.
    sources: Mutex<Sources>,
    arrivals: OnceLock<Arc<Arrivals>>,
    /// Where the fill gave up storing, and the hash up to there: each reader goes on by itself from it.
    given_up: OnceLock<(u64, Hasher)>,
    audience: Arc<Audience>,
    /// What was replaced by something else after readers may have had it. A std `Mutex`: held for operations on the set.
    tainted: Mutex<Extents>,
    cancelled: CancellationToken,
}

/// How far a fill is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// `None` until a source has answered, or when it did not say.
    pub size: Option<u64>,
    /// So many bytes are on the disk, in whatever order they came.
    pub arrived: u64,
    pub state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No source has answered yet.
    #[default]
    Asking,
    Arriving,
    /// Everything has arrived and is not what the digest says: it is being found out which endpoint was wrong.
    Doubted,
    /// Verified, and found in the cache from now on.
    Complete,
    /// Every source has failed, or the content was not what its digest says.
    Failed,
    /// It cannot be stored; readers drain what is there and go on from their own sources.
    Unstorable,
    /// It is whole and verified, and could not be stored: whoever reads it now has the last of it.
    Unkept,
}

#[derive(Default)]
struct Sources {
    list: Vec<Candidate>,
    /// Why the fill failed as a whole, where no source is to blame alone.
    fatal: Option<Fatal>,
    ended: bool,
}

enum Fatal {
    /// The content did not match.
    Mismatch(UpstreamError),
    /// It was cancelled by hand.
    Cancelled,
}

struct Candidate {
    source: Source,
    proof: Proof,
    failed: Option<UpstreamError>,
}

/// What a fill is to somebody who wants to join it.
pub enum Standing {
    /// One of its sources is the joiner's own: whatever proves the one, proves the other.
    Ours,
    /// It runs for other repositories; the joiner must prove its right first.
    Others,
    /// It has ended meanwhile.
    Ended,
}

impl Fill {
    pub fn new(digest: Digest, source: Source, proof: Proof) -> Self {
        let sources = Sources { list: vec![Candidate { source, proof, failed: None }], ..Sources::default() };
        Self {
            digest,
            progress: watch::Sender::new(Progress::default()),
            sources: Mutex::new(sources),
            arrivals: OnceLock::new(),
            given_up: OnceLock::new(),
            audience: Audience::new(),
            tainted: Mutex::default(),
            cancelled: CancellationToken::new(),
        }
    }

    pub fn standing(&self, key: &SourceKey) -> Standing {
        let sources = self.sources();
        if sources.ended {
            Standing::Ended
        } else if sources.list.iter().any(|candidate| candidate.source.key() == *key) {
            Standing::Ours
        } else {
            Standing::Others
        }
    }

    /// Adds a source whose right is proven. False when the fill has ended.
    pub fn add(&self, source: Source) -> bool {
        let mut sources = self.sources();
        if sources.ended {
            return false;
        }
        let key = source.key();
        match sources.list.iter_mut().find(|candidate| candidate.source.key() == key) {
            Some(candidate) => candidate.proof = Proof::Given,
            None => sources.list.push(Candidate { source, proof: Proof::Given, failed: None }),
        }
        drop(sources);
        self.wake();
        true
    }

    /// Waits until the blob's head can be answered: its source vouches for it, and the size is known if it ever will be.
    ///
    /// Small blobs are waited for to the end: not one byte of them goes out before they are verified, so an error can still
    /// be told in words. `Err` is the own source's error, not another's.
    pub async fn ready(&self, key: &SourceKey) -> Result<Progress, FillError> {
        let mut watch = self.progress.subscribe();
        loop {
            let progress = *watch.borrow_and_update();
            let proven = self.verdict(key)?;
            let small = progress.size.is_some_and(|size| size <= WITHHELD);
            match progress.state {
                State::Complete | State::Unkept if proven => return Ok(progress),
                State::Arriving if proven && !small => return Ok(progress),
                // The reader asks its own source, which proves the right.
                State::Unstorable => return Ok(progress),
                State::Complete | State::Unkept | State::Failed => return Err(self.failure(key)),
                State::Asking | State::Arriving | State::Doubted => {}
            }
            if watch.changed().await.is_err() {
                return Err(self.failure(key));
            }
        }
    }

    /// Who waits for it.
    pub fn audience(&self) -> &Arc<Audience> {
        &self.audience
    }

    /// Stops it by hand: whoever reads it is cut, and what has arrived can be taken up again.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Ends when the fill is not to go on: it was cancelled, or nobody waits for it where that matters.
    pub(super) async fn stopped(&self, unattended: Unattended) {
        tokio::select! {
            () = self.cancelled.cancelled() => self.sources().fatal = Some(Fatal::Cancelled),
            () = async {
                match unattended {
                    Unattended::Finish => std::future::pending().await,
                    Unattended::Pause(grace) => self.audience.gone_for(grace).await,
                }
            } => {}
        }
    }

    /// Follows the progress.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// What arrives, as soon as there is a file for it.
    pub fn arrivals(&self) -> Option<Arc<Arrivals>> {
        self.arrivals.get().cloned()
    }

    pub fn set_arrivals(&self, arrivals: Arc<Arrivals>) {
        // The fill opens its file once; a second one would be ignored.
        let _ = self.arrivals.set(arrivals);
        self.arrived();
    }

    /// Was any of these replaced by something else after it could be read?
    pub fn is_tainted(&self, spans: &[Span]) -> bool {
        let tainted = self.tainted.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().any(|span| tainted.touches(*span))
    }

    pub(super) fn taint(&self, span: Span) {
        self.tainted.lock().unwrap_or_else(PoisonError::into_inner).insert(span);
    }

    /// Where storing was given up.
    pub fn given_up_at(&self) -> Option<u64> {
        self.given_up.get().map(|(at, _)| *at)
    }

    /// Where storing was given up, and the hash up to there.
    pub fn given_up(&self) -> Option<(u64, Hasher)> {
        self.given_up.get().cloned()
    }

    /// Is the key's source known to have the right? `Err`: it was asked, and has not.
    pub fn verdict(&self, key: &SourceKey) -> Result<bool, FillError> {
        let sources = self.sources();
        let Some(candidate) = sources.list.iter().find(|candidate| candidate.source.key() == *key) else {
            return Ok(false);
        };
        match (&candidate.proof, &candidate.failed) {
            (Proof::Given, _) => Ok(true),
            (Proof::Pending, Some(error)) => Err(FillError::upstream(error, &self.digest, key)),
            (Proof::Pending, None) => Ok(false),
        }
    }

    /// Why it failed, for this source: its own error, else the whole fill's, else another's.
    pub fn failure(&self, key: &SourceKey) -> FillError {
        let sources = self.sources();
        let own = sources.list.iter().find(|candidate| candidate.source.key() == *key);
        let fatal = match &sources.fatal {
            Some(Fatal::Cancelled) => return FillError::Cancelled(self.digest),
            Some(Fatal::Mismatch(error)) => Some(error),
            None => None,
        };
        let error = fatal.or(own.and_then(|candidate| candidate.failed.as_ref()));
        let error = error.or_else(|| sources.list.iter().find_map(|candidate| candidate.failed.as_ref()));
        match error {
            Some(error) => FillError::upstream(error, &self.digest, key),
            None => FillError::Interrupted(self.digest),
        }
    }

    /// Is there a source that was not tried?
    pub(super) fn has_untried(&self) -> bool {
        !self.unfailed().is_empty()
    }

    /// The next source that was not tried. With none left the fill has ended, nobody can join it any more, and `let_go` is
    /// called before the next fill can begin.
    pub(super) fn next_source(&self, let_go: impl FnOnce()) -> Option<Source> {
        let mut sources = self.sources();
        let next = sources.list.iter().find(|candidate| candidate.failed.is_none()).map(|c| c.source.clone());
        if next.is_none() {
            let_go();
            sources.ended = true;
        }
        next
    }

    /// Ends it, unless somebody has come who waits for it. `let_go` is called before the next fill can begin.
    pub(super) fn close(&self, let_go: impl FnOnce()) -> bool {
        let mut sources = self.sources();
        if self.audience.count() > 0 && !self.cancelled.is_cancelled() {
            return false;
        }
        let_go();
        sources.ended = true;
        true
    }

    /// A source has answered 200: it vouches for its repository, and the blob has this size.
    pub(super) fn answered(&self, key: &SourceKey, size: Option<u64>) {
        if let Some(candidate) = self.sources().list.iter_mut().find(|candidate| candidate.source.key() == *key) {
            candidate.proof = Proof::Given;
        }
        self.progress.send_modify(|progress| {
            progress.size = size.or(progress.size);
            if progress.state == State::Asking {
                progress.state = State::Arriving;
            }
        });
    }

    pub(super) fn failed(&self, key: &SourceKey, error: UpstreamError) {
        if let Some(candidate) = self.sources().list.iter_mut().find(|candidate| candidate.source.key() == *key) {
            candidate.failed = Some(error);
        }
        self.wake();
    }

    /// More has arrived, or less is believed: readers look again.
    pub(super) fn arrived(&self) {
        let arrived = self.arrivals.get().map_or(0, |arrivals| arrivals.total());
        self.progress.send_modify(|progress| progress.arrived = arrived);
    }

    /// What has arrived is not what the digest says.
    pub(super) fn doubt(&self) {
        self.progress.send_modify(|progress| progress.state = State::Doubted);
    }

    pub(super) fn end(&self, state: State) {
        self.sources().ended = true;
        self.progress.send_modify(|progress| {
            if matches!(state, State::Complete | State::Unkept) {
                progress.size = Some(progress.arrived);
            }
            progress.state = state;
        });
    }

    /// The content was not what its digest says.
    pub(super) fn end_mismatched(&self, error: UpstreamError) {
        self.sources().fatal = Some(Fatal::Mismatch(error));
        self.end(State::Failed);
    }

    /// It cannot be stored. `hasher` has seen the first `prefix` bytes.
    pub(super) fn give_up(&self, prefix: u64, hasher: Hasher) {
        let found = hasher.clone().finish();
        if found == self.digest && self.arrivals.get().is_some() {
            return self.end(State::Unkept);
        }
        if self.progress().size == Some(prefix) {
            return self.end_mismatched(UpstreamError::Mismatch { expected: self.digest, found });
        }
        let _ = self.given_up.set((prefix, hasher));
        self.end(State::Unstorable);
    }

    /// Sources that may still be asked.
    pub(in crate::fills) fn unfailed(&self) -> Vec<Source> {
        let sources = self.sources();
        let left = sources.list.iter().filter(|candidate| candidate.failed.is_none());
        left.map(|candidate| candidate.source.clone()).collect()
    }

    /// Repositories whose right was proven while it ran, with whether their upstream was asked without credentials.
    pub(super) fn proven(&self) -> Vec<Source> {
        let sources = self.sources();
        let given = sources.list.iter().filter(|candidate| candidate.proof == Proof::Given);
        given.map(|candidate| candidate.source.clone()).collect()
    }

    fn wake(&self) {
        self.progress.send_modify(|_| {});
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // Each change to the list is one assignment or push; it is whole whatever its last holder did.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
