//! The progress rule: a peer that takes nothing of the bytes that are ready for it is given up after `http.stall`. Waiting for an
//! upstream never counts, since then no bytes are ready.
//!
//! On HTTP/1.1 the socket tells whether the peer takes bytes. On HTTP/2 a peer can also leave the window of a stream closed, while the
//! socket takes the frames of other streams. There the body of the answer tells: hyper asks it for bytes only while the window is open.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// The progress is looked at this many times in the limit.
pub(super) const TICKS: u32 = 8;
/// Frames that carry no content, such as pings, stay below this many bytes in the limit.
const CONTROL_BYTES: u64 = 4 << 10;
/// When a connection has written this much for each of its streams, every stream whose window is open has had its turn.
const TURN_BYTES: u64 = 128 << 10;
/// A stream that has no turn for this many limits is given up, however slow its connection is.
const MOST_LIMITS: u32 = 10;

tokio::task_local! {
    /// The watch of the HTTP/2 stream that the task answers.
    static STREAM: Arc<StreamWatch>;
}

/// The bytes that a connection writes.
#[derive(Default)]
pub(super) struct Progress {
    written: AtomicU64,
    /// True while the socket takes no more bytes.
    blocked: AtomicBool,
}

impl Progress {
    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.blocked.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(bytes)) => {
                self.written.fetch_add(*bytes as u64, Ordering::Relaxed);
                self.blocked.store(false, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// Ready when the peer has taken nothing for this time although bytes were ready.
    pub(super) async fn stalled(&self, limit: Duration) {
        let (mut seen, mut ticks) = (self.written(), 0);
        while ticks < TICKS {
            tokio::time::sleep(limit / TICKS).await;
            let written = self.written();
            let waits = self.blocked.load(Ordering::Relaxed) && written == seen;
            ticks = if waits { ticks + 1 } else { 0 };
            seen = written;
        }
    }
}

/// A stream of bytes whose progress is noted.
pub(super) struct Measured<S> {
    stream: S,
    progress: Arc<Progress>,
}

impl<S> Measured<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Measured<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Measured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Watches whether the peer takes the answer of one HTTP/2 stream.
#[derive(Default)]
pub(super) struct StreamWatch {
    /// The number of times that the body was asked for bytes.
    asked: AtomicU64,
    /// True while bytes are ready and the body is not asked for more.
    offered: AtomicBool,
    connection: OnceLock<(Arc<Progress>, Arc<Activity>)>,
}

impl StreamWatch {
    /// Runs the task of an HTTP/2 stream with a watch. Returns true if it was given up, because the peer took nothing for this time.
    pub(super) async fn run(stream: impl Future<Output = ()>, limit: Duration) -> bool {
        let watch = Arc::new(Self::default());
        STREAM
            .scope(Arc::clone(&watch), async move {
                tokio::select! {
                    () = stream => false,
                    () = watch.stalled(limit) => true,
                }
            })
            .await
    }

    /// Returns the watch of the stream that this task answers. There is none on HTTP/1.1.
    pub(super) fn current(progress: &Arc<Progress>, activity: &Arc<Activity>) -> Option<Arc<Self>> {
        let watch = STREAM.try_with(Arc::clone).ok()?;
        let _ = watch.connection.set((Arc::clone(progress), Arc::clone(activity)));
        Some(watch)
    }

    fn written(&self) -> u64 {
        self.connection.get().map_or(0, |(progress, _)| progress.written())
    }

    async fn stalled(&self, limit: Duration) {
        let (mut seen, mut written, mut ticks) = (0, 0, 0);
        loop {
            tokio::time::sleep(limit / TICKS).await;
            let asked = self.asked.load(Ordering::Relaxed);
            if asked != seen || !self.offered.load(Ordering::Relaxed) {
                (seen, written, ticks) = (asked, self.written(), 0);
                continue;
            }
            ticks += 1;
            let limits = ticks / TICKS;
            let since = self.written() - written;
            if limits > 0 && (limits >= MOST_LIMITS || self.had_its_turn(since, limits)) {
                return;
            }
        }
    }

    /// Returns true if the stream would have been asked for bytes, were its window open: the peer takes nothing at all, or the
    /// connection has written enough for all its streams.
    fn had_its_turn(&self, written: u64, limits: u32) -> bool {
        let streams = self.connection.get().map_or(1, |(_, activity)| activity.answering() as u64);
        written < CONTROL_BYTES * u64::from(limits) || written >= TURN_BYTES * streams
    }
}

/// The body of an answer, whose stream is watched.
pub(super) struct Watched<B> {
    body: B,
    watch: Option<Arc<StreamWatch>>,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, watch: Option<Arc<StreamWatch>>) -> Self {
        if let Some(watch) = &watch {
            watch.offered.store(true, Ordering::Relaxed);
        }
        Self { body, watch }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(watch) = &self.watch {
            watch.asked.fetch_add(1, Ordering::Relaxed);
            watch.offered.store(matches!(polled, Poll::Ready(Some(Ok(_)))), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
