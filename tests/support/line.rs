//! One connection of the test upstream: its rate, the number of its bytes, and its end.
#![expect(clippy::disallowed_methods, reason = "the test upstream is no part of the product, and needs the real clock")]

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The delay of a timer that is made up for.
const SLACK: Duration = Duration::from_millis(20);

/// The wait before a cut, in which sent bytes leave.
const FLUSH: Duration = Duration::from_millis(20);

/// The time of the next bytes. Over any period no more bytes leave than the rate allows; unused time is lost.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The time at which all bytes up to now have left.
    next: Mutex<Option<Instant>>,
    /// The connections that have carried a body.
    connections: AtomicUsize,
}

impl Pace {
    /// Counts a connection, and returns its number from 0.
    pub(crate) fn number_connection(&self) -> usize {
        self.connections.fetch_add(1, Ordering::SeqCst)
    }

    /// Begins another body. The time that was not used until now is lost.
    pub(crate) fn begin(&self) {
        let mut next = self.next.lock().unwrap();
        *next = next.map(|next| next.max(Instant::now()));
    }

    /// Waits until this many more bytes may have left.
    pub(crate) async fn take(&self, bytes: usize, rate: u64) {
        let due = {
            let (mut next, now) = (self.next.lock().unwrap(), Instant::now());
            let from = next.map_or(now, |next| next.max(now - SLACK));
            let due = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *next = Some(due);
            due
        };
        tokio::time::sleep_until(due).await;
    }
}

/// One connection. With HTTP/2, it carries several answers at once.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) pace: Pace,
    /// The bytes of bodies.
    carried: AtomicU64,
    /// The requests that arrived.
    requests: AtomicU64,
    /// Its number among the connections that have carried a body.
    number: OnceLock<usize>,
    cut: CancellationToken,
}

impl Line {
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    pub(crate) fn carry(&self, bytes: usize) {
        self.carried.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// Returns its number, which `number` gives when it carries its first body.
    pub(crate) fn number(&self, number: impl FnOnce() -> usize) -> usize {
        *self.number.get_or_init(number)
    }

    /// Counts a request, and returns true unless it is the first.
    pub(crate) fn is_reused(&self) -> bool {
        self.requests.fetch_add(1, Ordering::SeqCst) > 0
    }

    /// Cuts the connection in both directions.
    pub(crate) async fn cut(&self) -> Infallible {
        tokio::time::sleep(FLUSH).await;
        self.cut.cancel();
        std::future::pending().await
    }

    /// Waits until the connection is cut.
    pub(crate) async fn ended(&self) {
        self.cut.cancelled().await;
    }
}

/// A connection through a NAT that may restart. From then on it carries nothing in either direction, not even its end.
pub(crate) struct ThroughNat<S> {
    stream: S,
    restarted: CancellationToken,
}

impl<S> ThroughNat<S> {
    pub(crate) fn new(stream: S, restarted: CancellationToken) -> Self {
        Self { stream, restarted }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ThroughNat<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.restarted.is_cancelled() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ThroughNat<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.restarted.is_cancelled() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.restarted.is_cancelled() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
