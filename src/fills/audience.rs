//! Who waits for a fill, and for which part of the blob.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::oci::{ByteRange, Span};

/// What somebody who joins a fill wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A client wants the whole, from the beginning on.
    Whole,
    /// A client wants this of it, before the rest.
    Range(ByteRange),
    /// Nobody waits for it yet: it is fetched beforehand, with what clients leave.
    Beforehand,
}

/// Everybody who waits for one fill.
#[derive(Debug)]
pub struct Audience {
    count: watch::Sender<usize>,
    /// A std `Mutex`: held for list operations only.
    wanted: Mutex<Vec<Arc<Wanted>>>,
    /// A client has asked for it, now or earlier.
    client: AtomicBool,
    changed: Notify,
}

/// A part of the blob that somebody waits for.
#[derive(Debug)]
struct Wanted {
    range: ByteRange,
    /// The reader has everything before.
    position: AtomicU64,
}

/// Somebody waits; until it is dropped.
#[derive(Debug)]
pub struct Attention {
    audience: Arc<Audience>,
    wanted: Option<Arc<Wanted>>,
}

impl Audience {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            count: watch::Sender::new(0),
            wanted: Mutex::default(),
            client: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Somebody begins to wait.
    pub fn attend(self: &Arc<Self>, interest: Interest) -> Attention {
        let wanted = match interest {
            Interest::Range(range) => Some(Arc::new(Wanted { range, position: AtomicU64::new(0) })),
            Interest::Whole | Interest::Beforehand => None,
        };
        self.list().extend(wanted.clone());
        if interest != Interest::Beforehand {
            self.client.store(true, Ordering::Relaxed);
        }
        self.count.send_modify(|count| *count += 1);
        self.changed.notify_one();
        Attention { audience: Arc::clone(self), wanted }
    }

    /// Nobody but those who fetch it beforehand has asked for it.
    pub fn is_background(&self) -> bool {
        !self.client.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Ends when nobody has waited for this long.
    pub async fn gone_for(&self, grace: std::time::Duration) {
        let mut count = self.count.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = count.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(grace, count.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }

    /// Somebody came who may want something else first. For the one task that fills.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The stretches that are wanted before the rest, whoever asked first at the front. While the size is unknown, those
    /// that do not depend on it.
    pub fn wanted(&self, size: Option<u64>) -> Vec<Span> {
        self.list().iter().filter_map(|wanted| wanted.span(size)).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Wanted>>> {
        // A list of pointers is whole whatever its last holder did.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
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

impl Attention {
    /// The reader goes on elsewhere, and waits for that now.
    pub fn turn_to(&mut self, span: Span) {
        // The new one first, so that the fill is never without anybody who waits.
        *self = self.audience.attend(Interest::Range(ByteRange::Closed(span.start, span.end - 1)));
    }

    /// The reader has everything before this.
    pub fn reached(&self, position: u64) {
        if let Some(wanted) = &self.wanted {
            wanted.position.store(position, Ordering::Relaxed);
        }
    }
}

impl Drop for Attention {
    fn drop(&mut self) {
        if let Some(wanted) = &self.wanted {
            self.audience.list().retain(|other| !Arc::ptr_eq(other, wanted));
        }
        self.audience.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_moves_with_its_reader_and_goes_with_it() {
        let audience = Audience::new();
        let background = audience.attend(Interest::Beforehand);
        assert!(audience.is_background());
        let last = audience.attend(Interest::Range(ByteRange::Last(10)));
        let middle = audience.attend(Interest::Range(ByteRange::Closed(20, 29)));
        assert_eq!(audience.wanted(None), [Span { start: 20, end: 30 }]);
        assert_eq!(audience.wanted(Some(100)), [Span { start: 90, end: 100 }, Span { start: 20, end: 30 }]);
        middle.reached(25);
        drop(last);
        assert_eq!(audience.wanted(Some(100)), [Span { start: 25, end: 30 }]);
        middle.reached(30);
        assert_eq!(audience.wanted(Some(100)), []);
        let mut middle = middle;
        middle.turn_to(Span { start: 50, end: 60 });
        assert_eq!(audience.wanted(Some(100)), [Span { start: 50, end: 60 }]);
        assert_eq!((audience.count(), audience.is_background()), (2, false));
        drop((middle, background));
        assert_eq!(audience.count(), 0);
    }
}
