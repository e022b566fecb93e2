//! The waiters of a fill, and the part of the blob that each of them waits for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::oci::{ByteRange, Span};
use crate::upstream::Traffic;

/// The part of the blob that a joiner wants, and how urgently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A client wants the whole blob, from the beginning on.
    Whole,
    /// A client wants this range before the rest.
    Range(ByteRange),
    /// No client waits yet. The blob is fetched with the capacity that clients leave.
    Background,
}

/// The waiters of one fill.
#[derive(Debug)]
pub struct Waiters {
    count: watch::Sender<usize>,
    /// A std `Mutex`: held for list operations only.
    ranges: Mutex<Vec<Arc<WantedRange>>>,
    /// Client traffic once a client has asked for the blob.
    traffic: Traffic,
    joined: Notify,
}

/// A part of the blob that a waiter wants first.
#[derive(Debug)]
struct WantedRange {
    range: ByteRange,
    /// The waiter has read everything before this offset.
    position: AtomicU64,
}

/// A reader or another task that waits for a fill. Dropping it ends the wait.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    wanted: Option<Arc<WantedRange>>,
}

impl Waiters {
    /// Returns a list without waiters.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            count: watch::Sender::new(0),
            ranges: Mutex::default(),
            traffic: Traffic::background(),
            joined: Notify::new(),
        })
    }

    /// Adds a waiter.
    pub fn join(self: &Arc<Self>, interest: Interest) -> Waiter {
        let range = match interest {
            Interest::Whole => Some(ByteRange::From(0)),
            Interest::Range(range) => Some(range),
            Interest::Background => None,
        };
        let wanted = range.map(|range| Arc::new(WantedRange { range, position: AtomicU64::new(0) }));
        self.ranges().extend(wanted.clone());
        if interest != Interest::Background {
            self.traffic.client_joined();
        }
        self.count.send_modify(|count| *count += 1);
        self.joined.notify_one();
        Waiter { waiters: Arc::clone(self), wanted }
    }

    /// Returns true if no client has asked for the blob, only background work.
    pub fn is_background(&self) -> bool {
        self.traffic.is_background()
    }

    /// Returns the class of the fill's connections on a governed link.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns the number of waiters.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Completes when there has been no waiter for `grace`.
    pub async fn absent_for(&self, grace: Duration) {
        let mut count = self.count.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = count.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(grace, count.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }

    /// Completes when a waiter has joined, which may want another part first. Only the fill's own task may call it.
    pub async fn joined(&self) {
        self.joined.notified().await;
    }

    /// Returns the spans that waiters want before the rest, in the order in which they were asked for. While the size
    /// is unknown, ranges that depend on it are left out.
    pub fn wanted(&self, size: Option<u64>) -> Vec<Span> {
        self.ranges().iter().filter_map(|wanted| wanted.span(size)).collect()
    }

    fn ranges(&self) -> MutexGuard<'_, Vec<Arc<WantedRange>>> {
        // Each change is one list operation, so a poisoned lock holds a complete list.
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WantedRange {
    /// Returns the span that the waiter has yet to read.
    fn span(&self, size: Option<u64>) -> Option<Span> {
        let span = match (size, self.range) {
            (Some(size), range) => range.resolve(size)?,
            (None, ByteRange::Closed(first, last)) if first <= last => {
                Span { start: first, end: last.saturating_add(1) }
            }
            (None, ByteRange::From(first)) => Span { start: first, end: u64::MAX },
            (None, _) => return None,
        };
        let start = span.start.max(self.position.load(Ordering::Relaxed));
        (start < span.end).then_some(Span { start, end: span.end })
    }
}

impl Waiter {
    /// Makes the waiter wait for another span instead.
    pub fn move_to(&mut self, span: Span) {
        // The new waiter joins before the old one leaves, so that the fill is never without a waiter.
        *self = self.waiters.join(Interest::Range(ByteRange::Closed(span.start, span.end - 1)));
    }

    /// Records that the waiter has read everything before `position`.
    pub fn reached(&self, position: u64) {
        if let Some(wanted) = &self.wanted {
            wanted.position.store(position, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(wanted) = &self.wanted {
            self.waiters.ranges().retain(|other| !Arc::ptr_eq(other, wanted));
        }
        self.waiters.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_spans_follow_their_waiter_and_end_with_it() {
        let waiters = Waiters::new();
        let background = waiters.join(Interest::Background);
        assert!(waiters.is_background());
        let last = waiters.join(Interest::Range(ByteRange::Last(10)));
        let middle = waiters.join(Interest::Range(ByteRange::Closed(20, 29)));
        assert_eq!(waiters.wanted(None), [Span { start: 20, end: 30 }]);
        assert_eq!(waiters.wanted(Some(100)), [Span { start: 90, end: 100 }, Span { start: 20, end: 30 }]);
        middle.reached(25);
        drop(last);
        assert_eq!(waiters.wanted(Some(100)), [Span { start: 25, end: 30 }]);
        middle.reached(30);
        assert_eq!(waiters.wanted(Some(100)), []);
        let mut middle = middle;
        middle.move_to(Span { start: 50, end: 60 });
        assert_eq!(waiters.wanted(Some(100)), [Span { start: 50, end: 60 }]);
        assert_eq!((waiters.count(), waiters.is_background()), (2, false));
        drop((middle, background));
        assert_eq!(waiters.count(), 0);
    }

    #[test]
    fn reader_from_the_start_wants_the_whole_blob() {
        let waiters = Waiters::new();
        let whole = waiters.join(Interest::Whole);
        assert_eq!(waiters.wanted(Some(100)), [Span { start: 0, end: 100 }]);
        whole.reached(40);
        assert_eq!(waiters.wanted(Some(100)), [Span { start: 40, end: 100 }]);
    }
}
