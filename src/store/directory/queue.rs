//! A queue in which one caller lists a folder and the others wait for the same result.
//!
//! A listing serves every caller that had arrived before it began. When its last caller leaves, the queue of a folder
//! is removed.

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
            last: Arc::new(Mutex::new(LastListing { serves: 0, result: None })),
        });
        queue.arrived += 1;
        queue.present += 1;
        QueuePlace { queue: self, folder, number: queue.arrived, last: Arc::clone(&queue.last) }
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
}

impl<T> Drop for QueuePlace<'_, T> {
    fn drop(&mut self) {
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
        self.last.result.as_ref().filter(|_| serves).cloned()
    }

    /// Announces a listing, which [`Self::finish`] ends.
    pub fn begin(&mut self) -> Waiting {
        // The last result serves none of the callers that still wait; otherwise this listing would not be needed.
        self.last.result = None;
        self.last.serves = self.place.queue.arrived(self.place.folder);
        if self.last.serves > self.place.number { Waiting::Others } else { Waiting::None }
    }

    /// Hands the result to the callers that wait.
    pub fn finish(mut self, result: Option<Arc<T>>) {
        self.last.result = result;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn waiting_callers_share_one_listing() {
        const MANY: u64 = 50;
        let (queue, folder) = (ListQueue::new(), ObjectKey::new("d"));
        let (listings, shared) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = || {
            let place = queue.join(&folder);
            let mut permit = place.wait();
            if permit.result().is_some_and(|found| *found == "names") {
                shared.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let waiting = permit.begin();
            if listings.fetch_add(1, Ordering::Relaxed) == 0 {
                while queue.arrived(&folder) < MANY {
                    std::thread::yield_now();
                }
            } else {
                assert_eq!(waiting, Waiting::Others);
            }
            permit.finish(Some(Arc::new("names")));
        };
        std::thread::scope(|scope| (0..MANY).for_each(|_| drop(scope.spawn(ask))));
        // The first listing may have begun before the other callers arrived; the second one serves all of them.
        let listings = listings.into_inner();
        assert!(listings == 2 || listings == 1, "{listings}");
        assert_eq!(shared.into_inner() + listings, 50);
        assert!(queue.queues().is_empty(), "every caller has left");
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
