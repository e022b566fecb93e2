//! The results of the steps of a fill's task.

use super::storing::VerifiedBlob;
use crate::cache::Reservation;
use crate::store::{Partial, StoreError};
use crate::upstream::UpstreamError;

/// The end of a fill's task.
pub(super) enum TaskEnd {
    /// The blob is verified, and readers may read to its end. It has yet to be stored.
    Verified(VerifiedBlob),
    /// The fill has ended without a stored blob. The text is the outcome for the metric.
    Ended(&'static str),
    /// The blob is not stored, and its file is released. The fill goes on as long as there are readers. They may read the
    /// stored part of the blob, so its space stays reserved.
    Passing(Option<Reservation>),
}

/// The result of asking the sources.
pub(super) enum Outcome {
    /// The blob is complete and matches its digest.
    Complete,
    /// The blob arrived encoded. This is the file of the decoded blob, which matches its digest.
    Decoded(Partial),
    /// No endpoint has the right content.
    Mismatch(UpstreamError),
    /// The bytes that an earlier fill has left contradict those that the source sends, and it is unknown which of them are wrong.
    Contradicted,
    /// Every source has failed, or the fill was stopped.
    Failed,
    /// The fill was stopped while the content was repaired or decoded. A later fill may resume only the bytes that the journal names.
    RepairStopped,
    /// The disk failed. `None`: the cache has no space.
    Storage(Option<StoreError>),
}

/// The result of fetching into one file.
pub(super) enum Fetched {
    Ended(TaskEnd),
    /// See [`Outcome::Contradicted`].
    Contradicted(Partial),
}
