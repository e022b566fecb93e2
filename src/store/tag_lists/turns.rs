//! One reads a directory, the others wait; and what is read while they wait does for all of them.
//!
//! A reading does for whoever asked before it began. Nothing is remembered once nobody asks any more.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that want to read a directory, by the directory. What a reading brings is a `T`.
pub(super) struct Turns<T> {
    /// A std `Mutex`: held for operations of the map only.
    queues: Mutex<HashMap<PathBuf, Queue<T>>>,
}

struct Queue<T> {
    /// How many have come so far.
    came: u64,
    /// How many of them are still here.
    present: usize,
    last: Arc<Mutex<Last<T>>>,
}

/// The last reading.
struct Last<T> {
    /// How many had come when it began.
    does_for: u64,
    brought: Option<Arc<T>>,
}

/// A place in the queue, given up when this is dropped.
pub(super) struct Place<'t, T> {
    turns: &'t Turns<T>,
    directory: &'t Path,
    number: u64,
    last: Arc<Mutex<Last<T>>>,
}

/// Nobody else reads the directory while one has this. A std `Mutex` again: only those wait for it that may block.
pub(super) struct Turn<'p, T> {
    place: &'p Place<'p, T>,
    last: MutexGuard<'p, Last<T>>,
}

/// Does anybody wait for what one is about to read?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Others,
}

impl<T> Turns<T> {
    pub(super) fn new() -> Self {
        Self { queues: Mutex::new(HashMap::new()) }
    }

    pub(super) fn queue<'t>(&'t self, directory: &'t Path) -> Place<'t, T> {
        let mut queues = self.queues();
        let queue = queues.entry(directory.to_owned()).or_insert_with(|| Queue {
            came: 0,
            present: 0,
            last: Arc::new(Mutex::new(Last { does_for: 0, brought: None })),
        });
        queue.came += 1;
        queue.present += 1;
        Place { turns: self, directory, number: queue.came, last: Arc::clone(&queue.last) }
    }

    /// How many have come for this directory since somebody is there.
    pub(super) fn came(&self, directory: &Path) -> u64 {
        self.queues().get(directory).map_or(0, |queue| queue.came)
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<PathBuf, Queue<T>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Place<'_, T> {
    /// Waits for the turn. To be called off the async threads.
    pub(super) fn wait(&self) -> Turn<'_, T> {
        Turn { place: self, last: self.last.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut queues = self.turns.queues();
        if let Some(queue) = queues.get_mut(self.directory) {
            queue.present -= 1;
            if queue.present == 0 {
                queues.remove(self.directory);
            }
        }
    }
}

impl<T> Turn<'_, T> {
    /// What was read since this one came, if so: it need not read itself.
    pub(super) fn brought(&self) -> Option<Arc<T>> {
        let does = self.place.number <= self.last.does_for;
        self.last.brought.as_ref().filter(|_| does).cloned()
    }

    /// To be called before the reading, which `finish` ends.
    pub(super) fn begin(&mut self) -> Company {
        // What the last one brought does for nobody who is still to have a turn, or there would be no need to read.
        self.last.brought = None;
        self.last.does_for = self.place.turns.came(self.place.directory);
        if self.last.does_for > self.place.number { Company::Others } else { Company::Alone }
    }

    pub(super) fn finish(mut self, brought: Option<Arc<T>>) {
        self.last.brought = brought;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn who_waits_need_not_read() {
        const MANY: u64 = 50;
        let (turns, directory) = (Turns::new(), Path::new("d"));
        let (readings, shared) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = || {
            let place = turns.queue(directory);
            let mut turn = place.wait();
            if turn.brought().is_some_and(|found| *found == "names") {
                shared.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let company = turn.begin();
            if readings.fetch_add(1, Ordering::Relaxed) == 0 {
                while turns.came(directory) < MANY {
                    std::thread::yield_now();
                }
            } else {
                assert_eq!(company, Company::Others);
            }
            turn.finish(Some(Arc::new("names")));
        };
        std::thread::scope(|scope| (0..MANY).for_each(|_| drop(scope.spawn(ask))));
        // The first may not have known of the others; the second knew of all.
        let readings = readings.into_inner();
        assert!(readings == 2 || readings == 1, "{readings}");
        assert_eq!(shared.into_inner() + readings, 50);
        assert!(turns.queues().is_empty(), "nobody is there any more");
    }

    #[test]
    fn what_was_read_before_one_came_does_not_do() {
        let (turns, directory) = (Turns::new(), Path::new("d"));
        let first = turns.queue(directory);
        let mut turn = first.wait();
        assert!(turn.brought().is_none());
        assert_eq!(turn.begin(), Company::Alone);
        let late = turns.queue(directory);
        turn.finish(Some(Arc::new(())));
        let mut turn = late.wait();
        assert!(turn.brought().is_none(), "it began before");
        assert_eq!(turn.begin(), Company::Alone);
        turn.finish(None);
        assert!(first.wait().brought().is_none(), "it brought nothing to share");
        drop((first, late));
        assert!(turns.queues().is_empty());
    }
}
