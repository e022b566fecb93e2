//! The streams of one blob that cannot be stored. Readers share them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pass::{JoinedPass, Pass};
use super::prefix::Prefix;
use super::reach::{PassRange, Reach};
use super::window::Want;
use crate::fills::shared::Shared;
use crate::fills::source::BlobSource;
use crate::oci::{Digest, Span};

/// The streams of one blob.
pub struct Passes {
    digest: Digest,
    shared: Shared,
    /// The hash of the beginning of the blob, which is on the disk.
    stored: Prefix,
    /// A std `Mutex`: held for operations on the list and on the windows in it.
    list: Mutex<Vec<Arc<Pass>>>,
}

/// The streams that a reader may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joinable {
    /// Streams of all sources: the reader's own source has proven its right to the blob.
    All,
    /// Streams of the reader's own source.
    Own,
}

impl Passes {
    /// Returns the streams of a blob whose beginning is stored. None is open yet.
    pub fn new(shared: &Shared, digest: Digest, stored: Prefix) -> Arc<Self> {
        Arc::new(Self { digest, shared: shared.clone(), stored, list: Mutex::default() })
    }

    /// Returns the hash of the beginning of the blob, which is on the disk.
    pub fn stored(&self) -> &Prefix {
        &self.stored
    }

    /// Joins a stream that brings these bytes, or starts one from the reader's own source.
    pub(super) fn join(&self, source: &BlobSource, joinable: Joinable, want: &Want) -> JoinedPass {
        let mut list = self.list();
        list.retain(|pass| !pass.is_gone());
        let may_join = |pass: &&Arc<Pass>| joinable == Joinable::All || *pass.source() == source.name;
        if let Some(seat) = list.iter().filter(may_join).find_map(|pass| pass.join(want)) {
            return seat;
        }
        let (range, reason) = match (want.reach, want.end, &want.handed) {
            (Reach::Early, Some(end), _) => (PassRange::Range(Span { start: want.position, end }), "range"),
            (_, _, Some(handed)) if handed.end() > self.stored.end() => (PassRange::Verified(handed.clone()), "behind"),
            (..) if self.stored.end() <= want.position => (PassRange::Verified(self.stored.clone()), "first"),
            (..) => (PassRange::Verified(Prefix::empty(self.digest.algorithm())), "first"),
        };
        self.shared.metrics.passthrough_streams.with_label_values(&[reason]).inc();
        let seat = Pass::start(&self.shared, self.digest, source.clone(), range, want);
        list.push(Arc::clone(seat.pass()));
        seat
    }

    /// Completes when no stream waits for its answer, nor for its first reader after that.
    pub async fn settled(&self) {
        let streams = self.list().clone();
        for stream in streams {
            stream.settled().await;
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Pass>>> {
        // Each change is one list operation, so a poisoned lock holds a complete list.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
