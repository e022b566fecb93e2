//! The activity of a connection: whether requests are being read or answered, and whether all answers have been
//! written.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};

/// A connection is looked at this many times before it counts as idle.
const IDLE_TICKS: u32 = 8;

/// The state of a connection, shared by the stream below hyper and the service above it.
pub(super) struct Activity {
    /// The number of requests whose head is complete.
    requests: AtomicUsize,
    /// True once the first bytes of an HTTP/1 head have arrived.
    head_began: AtomicBool,
    /// The number of requests that are being answered, to the end of the answer's body.
    answering: AtomicUsize,
    /// The number of requests whose body is being read.
    reading: AtomicUsize,
    /// True if no part of an answer is still to be written.
    flushed: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            head_began: AtomicBool::new(false),
            answering: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            flushed: AtomicBool::new(true),
        })
    }

    /// Returns true if there was a complete request head.
    pub(super) fn had_request(&self) -> bool {
        self.requests() > 0
    }

    /// Returns true if an HTTP/1 request head has begun. If it stays incomplete, it is answered.
    pub(super) fn head_began(&self) -> bool {
        self.head_began.load(Ordering::Relaxed)
    }

    /// Records that the first bytes of an HTTP/1 head have arrived.
    pub(super) fn begin_head(&self) {
        self.head_began.store(true, Ordering::Relaxed);
    }

    /// Returns the number of requests whose head is complete.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Records that a request is being answered, until the returned guard is dropped.
    pub(super) fn begin_answer(self: &Arc<Self>) -> Answering {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.flushed.store(false, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Records that the body of a request is being read, until the returned guard is dropped.
    pub(super) fn begin_body(self: &Arc<Self>) -> ReadingBody {
        self.reading.fetch_add(1, Ordering::Relaxed);
        ReadingBody(Arc::clone(self))
    }

    /// Returns the number of requests that are being answered.
    pub(super) fn answering(&self) -> usize {
        self.answering.load(Ordering::Relaxed)
    }

    fn is_answering(&self) -> bool {
        self.answering() > 0
    }

    /// Returns true if a request is being read or answered.
    fn is_busy(&self) -> bool {
        self.is_answering() || self.reading.load(Ordering::Relaxed) > 0
    }

    /// Ready when the connection had a request and has been without one for `time`.
    pub(super) async fn idle(&self, time: Duration) {
        let (mut seen, mut ticks) = (0, 0);
        while ticks < IDLE_TICKS {
            tokio::time::sleep(time / IDLE_TICKS).await;
            let requests = self.requests();
            let rests = requests > 0 && requests == seen && !self.is_busy();
            ticks = if rests { ticks + 1 } else { 0 };
            seen = requests;
        }
    }

    /// Records that everything written so far has been flushed.
    pub(super) fn flush(&self) {
        if !self.is_answering() {
            self.flushed.store(true, Ordering::Relaxed);
        }
    }

    /// Returns true if no answer is being made or written, so that new output comes from hyper itself.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_answering() && self.flushed.load(Ordering::Relaxed)
    }

    /// Returns true if the next input belongs to the head of a request.
    pub(super) fn expects_head(&self) -> bool {
        self.is_idle() && self.reading.load(Ordering::Relaxed) == 0
    }
}

/// Marks a request as being answered.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks the body of a request as being read.
pub(super) struct ReadingBody(Arc<Activity>);

impl Drop for ReadingBody {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request or an answer, with a guard that is dropped with it.
pub(super) struct Guarded<B, G> {
    pub(super) body: B,
    pub(super) _guard: G,
}

impl<B: Body + Unpin, G: Unpin> Body for Guarded<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_tells_whether_a_head_is_expected() {
        let activity = Activity::new();
        assert!(activity.is_idle() && !activity.had_request());
        let answering = activity.begin_answer();
        activity.flush();
        assert!(!activity.is_idle() && activity.had_request());
        drop(answering);
        assert!(!activity.is_idle(), "the end of the answer may not be written yet");
        activity.flush();
        assert!(activity.is_idle() && activity.expects_head());
        let reading = activity.begin_body();
        assert!(activity.is_idle() && !activity.expects_head(), "the rest of an unneeded body is still arriving");
        drop(reading);
        assert!(activity.expects_head());
    }
}
