//! One connection of the test upstream: how fast it carries bytes, how many it has carried, and its end.
#![expect(clippy::disallowed_methods, reason = "it is no part of the product: its clock is not to be bent")]

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A timer that wakes late by no more than this is made up for.
const SLACK: Duration = Duration::from_millis(20);

/// So long before a cut, for what was sent to leave.
const FLUSH: Duration = Duration::from_millis(20);

/// When the next bytes may leave. Over any time no more leaves than the rate allows; an idle time is not made up for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When all that was let through so far has left.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Another body begins: what was not used until now is lost.
    pub(crate) fn begin(&self) {
        let mut next = self.next.lock().unwrap();
        *next = next.map(|next| next.max(Instant::now()));
    }

    /// Waits until so many more bytes can have left.
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

/// One connection. With HTTP/2 it carries several answers at once.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) pace: Pace,
    /// Bytes of bodies.
    carried: AtomicU64,
    cut: CancellationToken,
}

impl Line {
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    pub(crate) fn carry(&self, bytes: usize) {
        self.carried.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// Cuts it: nothing more goes over it in either direction.
    pub(crate) async fn cut(&self) -> Infallible {
        tokio::time::sleep(FLUSH).await;
        self.cut.cancel();
        std::future::pending().await
    }

    /// Waits until it is cut.
    pub(crate) async fn ended(&self) {
        self.cut.cancelled().await;
    }
}
