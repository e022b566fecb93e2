//! A queue in which one caller lists a folder and the others wait for the same result.
//!
//! A listing serves every caller that had arrived before it began. When its last caller leaves, the queue of a folder
//! is removed.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::key::ObjectKey;

/// The callers that want to list a folder, by folder. A listing produces a `T`.
pub struct ListQueue<T> {
    /// A std `Mutex`: held only for operations on the map.
    queues: Mutex<HashMap<ObjectKey, Queue<T>>>,
}

struct Queue<T> {
    /// The number of callers that have arrived so far.
    arrived: u64,
    /// The number of callers that have not left.
    present: usize,
    /// The number of callers that neither list the folder themselves nor have the result of another caller.
    waiting: usize,
    last: Arc<Mutex<LastListing<T>>>,
}

struct LastListing<T> {
    /// The number of callers that had arrived when the listing began.
    serves: u64,
    result: Option<Arc<T>>,
}

/// A caller's place in the queue of a folder. Dropping it leaves the queue.
pub struct QueuePlace<'q, T> {
    queue: &'q ListQueue<T>,
    folder: &'q ObjectKey,
    number: u64,
    /// Says whether [`Queue::waiting`] counts this caller.
    waits: Cell<bool>,
    last: Arc<Mutex<LastListing<T>>>,
}

/// The right to list the folder, which one caller has at a time. It holds a std `Mutex`: only callers that may block
/// wait for it.
pub struct ListPermit<'p, T> {
    place: &'p QueuePlace<'p, T>,
    last: MutexGuard<'p, LastListing<T>>,
}

/// Says whether other callers wait for the listing that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    None,
    Others,
}

impl<T> ListQueue<T> {
    pub fn new() -> Self {
        Self { queues: Mutex::new(HashMap::new()) }
    }

    /// Joins the queue of a folder.
    pub fn join<'q>(&'q self, folder: &'q ObjectKey) -> QueuePlace<'q, T> {
        let mut queues = self.queues();
        let queue = queues.entry(folder.clone()).or_insert_with(|| Queue {
            arrived: 0,
            present: 0,
            waiting: 0,
            last: Arc::new(Mutex::new(LastListing { serves: 0, result: None })),
        });
        queue.arrived += 1;
        queue.present += 1;
        queue.waiting += 1;
        let last = Arc::clone(&queue.last);
        QueuePlace { queue: self, folder, number: queue.arrived, waits: Cell::new(true), last }
    }

    /// Returns the number of callers that have arrived since the queue of this folder was last empty.
    pub fn arrived(&self, folder: &ObjectKey) -> u64 {
        self.queues().get(folder).map_or(0, |queue| queue.arrived)
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<ObjectKey, Queue<T>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> QueuePlace<'_, T> {
    /// Waits until no other caller lists the folder. Blocks.
    pub fn wait(&self) -> ListPermit<'_, T> {
        ListPermit { place: self, last: self.last.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Counts this caller as one that no longer waits. Returns the number of callers that still do.
    fn stop_waiting(&self) -> usize {
        let mut queues = self.queue.queues();
        let Some(queue) = queues.get_mut(self.folder) else { return 0 };
        if self.waits.replace(false) {
            queue.waiting -= 1;
        }
        queue.waiting
    }
}

impl<T> Drop for QueuePlace<'_, T> {
    fn drop(&mut self) {
        self.stop_waiting();
        let mut queues = self.queue.queues();
        if let Some(queue) = queues.get_mut(self.folder) {
            queue.present -= 1;
            if queue.present == 0 {
                queues.remove(self.folder);
            }
        }
    }
}

impl<T> ListPermit<'_, T> {
    /// Returns the result of a listing that began after this caller arrived. With one, the caller need not list the
    /// folder itself.
    pub fn result(&self) -> Option<Arc<T>> {
        let serves = self.place.number <= self.last.serves;
        let result = self.last.result.as_ref().filter(|_| serves).cloned()?;
        self.place.stop_waiting();
        Some(result)
    }

    /// Announces a listing, which [`Self::finish`] ends.
    pub fn begin(&mut self) -> Waiting {
        // The last result serves none of the callers that still wait; otherwise this listing would not be needed.
        self.last.result = None;
        self.last.serves = self.place.queue.arrived(self.place.folder);
        // The lock is not fair: a caller that arrived earlier may still wait for it.
        if self.place.stop_waiting() > 0 { Waiting::Others } else { Waiting::None }
    }

    /// Hands the result to the callers that wait.
    pub fn finish(mut self, result: Option<Arc<T>>) {
        self.last.result = result;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn waiting_callers_share_one_listing() {
        const LATE: u64 = 49;
        let (queue, folder) = (ListQueue::new(), ObjectKey::new("d"));
        let (listings, shared) = (AtomicU64::new(0), AtomicU64::new(0));
        let ask = || {
            let place = queue.join(&folder);
            let mut permit = place.wait();
            if permit.result().is_some_and(|found| *found == "names") {
                shared.fetch_add(1, Ordering::Relaxed);
                return;
            }
            listings.fetch_add(1, Ordering::Relaxed);
            assert_eq!(permit.begin(), Waiting::Others);
            permit.finish(Some(Arc::new("names")));
        };
        std::thread::scope(|scope| {
            let first = queue.join(&folder);
            let mut permit = first.wait();
            assert_eq!(permit.begin(), Waiting::None);
            (0..LATE).for_each(|_| drop(scope.spawn(ask)));
            while queue.arrived(&folder) <= LATE {
                std::thread::yield_now();
            }
            permit.finish(Some(Arc::new("names")));
        });
        // The first listing began before the other callers arrived. The second one serves all of them.
        assert_eq!(listings.into_inner(), 1);
        assert_eq!(shared.into_inner(), LATE - 1);
        assert!(queue.queues().is_empty(), "every caller has left");
    }

    #[test]
    fn caller_that_arrived_last_lists_for_those_before_it() {
        let (queue, folder) = (ListQueue::new(), ObjectKey::new("d"));
        let (first, last) = (queue.join(&folder), queue.join(&folder));
        let mut permit = last.wait();
        assert_eq!(permit.begin(), Waiting::Others);
        permit.finish(Some(Arc::new(())));
        assert!(first.wait().result().is_some(), "the listing serves the caller that arrived first");
    }

    #[test]
    fn listing_that_began_before_the_caller_arrived_does_not_serve_it() {
        let (queue, folder) = (ListQueue::new(), ObjectKey::new("d"));
        let first = queue.join(&folder);
        let mut permit = first.wait();
        assert!(permit.result().is_none());
        assert_eq!(permit.begin(), Waiting::None);
        let late = queue.join(&folder);
        permit.finish(Some(Arc::new(())));
        let mut permit = late.wait();
        assert!(permit.result().is_none(), "the listing began too early");
        assert_eq!(permit.begin(), Waiting::None);
        permit.finish(None);
        assert!(first.wait().result().is_none(), "there is no result to share");
        drop((first, late));
        assert!(queue.queues().is_empty());
    }
}
