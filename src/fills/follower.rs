//! A reader of a blob that is arriving.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Sleep;

use super::fill::Fill;
use super::passing::{PassReader, Reach, WITHHELD};
use super::progress::{FillProgress, Phase};
use super::source::BlobSource;
use super::waiting::Waiter;
use crate::metrics::Metrics;
use crate::oci::Span;
use crate::store::{Piece, ReadError};
use crate::sys::Extent;

/// The largest extent that is handed out at once, so that a reader soon notices the end of the fill.
const MAX_EXTENT: u64 = 4 << 20;

/// The time for which a reader gets nothing, if several endpoints may send the blob. One of them may send wrong bytes.
/// The fill notices that only at the end, and repairs the blob from the other endpoints; a reader that has got nothing
/// until then has read none of the wrong bytes. Clients wait about this long for the first byte of a body. The last
/// byte is not delayed.
const HOLDBACK: Duration = Duration::from_secs(10);

/// A blob that a fill fetches, for one reader.
pub struct ArrivingBlob {
    pub fill: Arc<Fill>,
    pub source: BlobSource,
    /// Opened in advance if the fill has given up storing the blob.
    pub passing: Option<PassReader>,
    pub waiter: Waiter,
    pub metrics: Arc<Metrics>,
}

/// A reader that follows one fill from its own offset.
pub struct Follower {
    fill: Arc<Fill>,
    watch: watch::Receiver<FillProgress>,
    source: BlobSource,
    /// The spans that were handed out before the blob was verified. The last one is the span that is being read.
    unverified: Vec<Span>,
    position: u64,
    /// The end of the span that is being read. `None`: the end of the blob, which is not known yet.
    end: Option<u64>,
    reach: Reach,
    /// The size that the client was told.
    size: Option<u64>,
    /// The attempt of the fill whose bytes were handed out.
    attempt: u64,
    /// The spans that are read after this one.
    rest: VecDeque<Span>,
    passing: Option<PassReader>,
    waiter: Waiter,
    /// Nothing is handed out before this timer ends.
    holdback: Option<Pin<Box<Sleep>>>,
    _counted: CountedFollower,
}

impl Follower {
    /// Reads these spans of a blob one after the other, or the whole blob if there are none. If the fill gives up
    /// storing the blob, the rest comes from a stream that readers share. `size` is the size that the client was told.
    pub fn new(arriving: ArrivingBlob, size: Option<u64>, spans: Vec<Span>) -> Self {
        let ArrivingBlob { fill, source, passing, waiter, metrics } = arriving;
        let watch = fill.watch();
        let several = source.upstream.every_endpoint().len() > 1;
        let mut rest = VecDeque::from(spans);
        let to_the_end = rest.is_empty() || rest.iter().any(|span| Reach::of(Some(span.end), size) == Reach::End);
        let holdback = (several && to_the_end).then(|| Box::pin(tokio::time::sleep(HOLDBACK)));
        let counted = CountedFollower::new(metrics);
        let (position, end) = rest.pop_front().map_or((0, size), |span| (span.start, Some(span.end)));
        let attempt = fill.content().attempt();
        let (unverified, reach) = (vec![Span { start: position, end: position }], Reach::of(end, size));
        Self {
            fill,
            watch,
            source,
            unverified,
            position,
            end,
            reach,
            size,
            attempt,
            rest,
            passing,
            waiter,
            holdback,
            _counted: counted,
        }
    }

    /// Moves to the next span. Returns false if there is none.
    fn next_span(&mut self) -> bool {
        let Some(span) = self.rest.pop_front() else { return false };
        self.position = span.start;
        self.end = Some(span.end);
        self.reach = Reach::of(self.end, self.size);
        self.unverified.push(Span { start: span.start, end: span.start });
        self.waiter.move_to(span);
        if let Some(passing) = &mut self.passing {
            passing.move_on();
        }
        true
    }

    /// Waits for the next piece. A piece never crosses the end of a span. Returns `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        loop {
            let progress = *self.watch.borrow_and_update();
            let end = self.end.or(progress.size);
            if let Err(error) = self.check_sent(&progress) {
                return Some(Err(error));
            }
            if end.is_some_and(|end| self.position >= end)
                && (progress.phase.is_verified() || self.reach == Reach::Early)
            {
                if self.next_span() {
                    continue;
                }
                return None;
            }
            if !progress.phase.is_undecided() || self.holdback.as_ref().is_some_and(|holdback| holdback.is_elapsed()) {
                self.holdback = None;
            }
            if self.holdback.is_none()
                && let Some(extent) = self.extent(&progress, end)
            {
                return Some(Ok(Piece::Extent(extent)));
            }
            match progress.phase {
                // The blob is shorter than the announced size, so `web` cuts the body.
                Phase::Verified | Phase::Complete | Phase::Unkept => return None,
                Phase::Failed => return Some(Err(ReadError(self.fill.failure(&self.source.name).to_string()))),
                Phase::Unstorable => match self.next_passing().await {
                    None if self.end.is_some_and(|end| self.position >= end) && self.next_span() => continue,
                    piece => return piece,
                },
                Phase::Asking | Phase::Arriving | Phase::Encoded | Phase::Repairing => {}
            }
            if self.changed().await.is_err() {
                return Some(Err(ReadError("the fill was interrupted".to_owned())));
            }
        }
    }

    /// Checks that the bytes that were sent may still turn out to be right.
    fn check_sent(&mut self, progress: &FillProgress) -> Result<(), ReadError> {
        let has_sent = self.unverified.iter().any(|span| !span.is_empty());
        let attempt = self.fill.content().attempt();
        if (has_sent && attempt != self.attempt) || self.fill.content().was_replaced(&self.unverified) {
            return Err(ReadError("bytes that were sent of this blob did not match its digest".to_owned()));
        }
        self.attempt = attempt;
        // The size may have been that of another source. A body that is longer would end early, as if it were whole.
        if let (Reach::End, Some(told), Some(size)) = (self.reach, self.size, progress.size)
            && told != size
        {
            return Err(ReadError(format!("the blob has {size} bytes, and the client was told {told}")));
        }
        let given_up = self.fill.given_up_at();
        // More is stored than the client was told of, and it is not verified.
        if let (Reach::End, Some(told), Some(stored)) = (self.reach, self.size, given_up)
            && told < stored
        {
            return Err(ReadError(format!("the blob has at least {stored} bytes, and the client was told {told}")));
        }
        let stored = given_up.unwrap_or(u64::MAX);
        // Bytes from beyond a gap will never be verified.
        if self.reach == Reach::End && self.unverified.iter().any(|span| !span.is_empty() && span.end > stored) {
            return Err(ReadError("the disk is full, and the bytes that were sent cannot be verified".to_owned()));
        }
        Ok(())
    }

    /// Waits until there may be more to hand out.
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        match &mut self.holdback {
            None => self.watch.changed().await,
            Some(holdback) => tokio::select! {
                changed = self.watch.changed() => changed,
                () = holdback => Ok(()),
            },
        }
    }

    /// Returns the extent that can be read now, if any.
    fn extent(&mut self, progress: &FillProgress, end: Option<u64>) -> Option<Extent> {
        let arrivals = self.fill.content().arrivals()?;
        // If storing was given up, everything after that offset comes from a stream, even bytes that arrived beyond a
        // gap.
        let stored = self.fill.given_up_at().unwrap_or(u64::MAX);
        let visible = visible(progress, arrivals.end_of(self.position).min(stored), end, self.reach);
        let (offset, len) = (self.position, visible.checked_sub(self.position).filter(|len| *len > 0)?.min(MAX_EXTENT));
        self.position += len;
        if !progress.phase.is_verified() {
            let span = self.unverified.last_mut().expect("there is one for the span that is being read");
            span.end = self.position;
        }
        self.waiter.reached(self.position);
        Some(arrivals.extent(offset, len))
    }

    /// Reads on from a stream, after storing was given up.
    async fn next_passing(&mut self) -> Option<Result<Piece, ReadError>> {
        let began = self.unverified.last().map_or(self.position, |span| span.start);
        if self.passing.is_none() {
            self.passing = self.fill.pass_reader(&self.source, self.size);
        }
        let Some(passing) = &mut self.passing else {
            return Some(Err(ReadError("the fill was interrupted".to_owned())));
        };
        match passing.next((began, self.end), self.position, self.reach).await {
            Ok(Some(bytes)) => {
                self.position += bytes.len() as u64;
                Some(Ok(Piece::Bytes(bytes)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(ReadError(error.to_string()))),
        }
    }
}

/// Returns the offset up to which a reader may read, if everything before `arrived` has arrived. The blob's last bytes
/// are withheld until they are verified. A blob under repair or in an encoded form is withheld completely.
fn visible(progress: &FillProgress, arrived: u64, end: Option<u64>, reach: Reach) -> u64 {
    let arrived = end.map_or(arrived, |end| arrived.min(end));
    match (progress.phase, reach) {
        (Phase::Repairing | Phase::Encoded, _) => 0,
        // If storing was given up, the missing part comes from a stream, and is verified there.
        (Phase::Verified | Phase::Complete | Phase::Unkept | Phase::Unstorable, _) | (_, Reach::Early) => arrived,
        (_, Reach::End) => arrived.min(end.unwrap_or(arrived).saturating_sub(WITHHELD)),
    }
}

/// A reader that is counted in the metric of followers.
struct CountedFollower(Arc<Metrics>);

impl CountedFollower {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.fill_followers.inc();
        Self(metrics)
    }
}

impl Drop for CountedFollower {
    fn drop(&mut self) {
        self.0.fill_followers.dec();
    }
}
