//! One run of some work for all who want its result.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::sys::Tasks;

/// Runs the same work once for all who ask for it while it runs.
///
/// The work runs in a task of its own that callers join: a caller that leaves, the first one included, neither cancels
/// nor restarts it. What has ended is forgotten at once, so work that fills a cache must look into that cache first:
/// a caller may have looked before the previous run filled it, and arrive here after that run has ended.
#[derive(Debug)]
pub struct SingleFlight<K: Hash + Eq, V> {
    tasks: Tasks,
    running: Arc<Running<K, V>>,
}

/// What a run has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight<V> {
    pub value: V,
    /// The work was already running when this caller came.
    pub joined: bool,
}

/// The work ended without a result: it panicked, or everything is being shut down. Asking again runs it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was interrupted before it had a result")]
pub struct Interrupted;

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, running: Arc::new(Running(Mutex::new(HashMap::new()))) }
    }

    /// The result of the work that runs under `key`; where none does, it is started by calling `work`.
    ///
    /// The work is started before this first waits, so dropping the future right after its first poll leaves it running.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<Flight<V>, Interrupted>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut result, joined) = self.join(key, work);
        match result.wait_for(Option::is_some).await {
            Ok(value) => value.clone().map(|value| Flight { value, joined }).ok_or(Interrupted),
            Err(_) => Err(Interrupted),
        }
    }

    /// Does work run under this key?
    pub fn is_running(&self, key: &K) -> bool {
        self.running.lock().contains_key(key)
    }

    /// How many keys have work running.
    pub fn running(&self) -> usize {
        self.running.lock().len()
    }

    fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> (watch::Receiver<Option<V>>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock();
        if let Some(result) = running.get(&key) {
            return (result.clone(), true);
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(key.clone(), receiver.clone());
        drop(running);
        let landing = Landing { key, running: Arc::clone(&self.running) };
        let work = work();
        self.tasks.spawn(async move {
            // Moved in, so that a panic or a shutdown drops both: the key is free again and the waiters learn of it.
            let landing = landing;
            let value = work.await;
            drop(landing);
            sender.send_replace(Some(value));
        });
        (receiver, false)
    }
}

/// The work that runs now. A std mutex: it is held for a look into a map, never across an await.
#[derive(Debug)]
struct Running<K, V>(Mutex<HashMap<K, watch::Receiver<Option<V>>>>);

impl<K, V> Running<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<V>>>> {
        // Nothing under the lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the key when the work has ended, however it did.
struct Landing<K: Hash + Eq, V> {
    key: K,
    running: Arc<Running<K, V>>,
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    struct Setting {
        flights: SingleFlight<&'static str, usize>,
        tasks: Tasks,
        runs: Arc<AtomicUsize>,
        go: Arc<Notify>,
    }

    impl Setting {
        fn new() -> Self {
            let tasks = Tasks::new();
            let flights = SingleFlight::new(tasks.clone());
            Self { flights, tasks, runs: Arc::default(), go: Arc::default() }
        }

        async fn run(&self, key: &'static str) -> Result<Flight<usize>, Interrupted> {
            let (runs, go) = (Arc::clone(&self.runs), Arc::clone(&self.go));
            let work = async move {
                let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
                go.notified().await;
                run
            };
            self.flights.run(key, || work).await
        }

        async fn started(&self) {
            while self.runs.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn one_run_for_all_and_another_afterwards() {
        let s = Setting::new();
        let release = async {
            s.started().await;
            s.go.notify_one();
        };
        let (all, ()) = tokio::join!(join_all((0..8).map(|_| s.run("a"))), release);
        assert!(all.iter().all(|flight| flight.unwrap().value == 1));
        assert_eq!(all.iter().filter(|flight| flight.unwrap().joined).count(), 7);
        assert_eq!(s.flights.running(), 0);
        s.go.notify_one();
        assert_eq!(s.run("a").await, Ok(Flight { value: 2, joined: false }));
    }

    #[tokio::test]
    async fn the_first_caller_may_leave() {
        let s = Setting::new();
        tokio::select! {
            _ = s.run("a") => unreachable!("nobody let it go on"),
            () = s.started() => {}
        }
        s.go.notify_one();
        assert_eq!(s.run("a").await, Ok(Flight { value: 1, joined: true }));
    }

    #[tokio::test]
    async fn a_panic_does_not_hang_the_waiters_nor_block_the_key() {
        let s = Setting::new();
        let lost = s.flights.run("a", || async { panic!("as the test wants") }).await;
        assert_eq!(lost, Err(Interrupted));
        s.go.notify_one();
        assert_eq!(s.run("a").await.map(|flight| flight.joined), Ok(false));
    }

    #[tokio::test]
    async fn a_shutdown_does_not_hang_the_waiters() {
        let s = Setting::new();
        let (lost, ()) = tokio::join!(s.run("a"), async {
            s.started().await;
            s.tasks.shut_down().await;
        });
        assert_eq!(lost, Err(Interrupted));
        assert_eq!(s.run("a").await, Err(Interrupted));
    }
}
