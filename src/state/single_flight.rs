//! Runs work once for all callers that want its result.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::sys::Tasks;

/// Runs work once for all callers that ask for it while it runs.
///
/// The work runs in a task of its own, and callers wait for it. A caller that leaves, even the first one, neither
/// cancels nor restarts it. A result is forgotten as soon as the work ends, so work that fills a cache must look into
/// that cache first: a caller may have looked before the previous run filled it, and arrive here after that run has
/// ended.
#[derive(Debug)]
pub struct SingleFlight<K: Hash + Eq, V> {
    tasks: Tasks,
    running: Arc<Running<K, V>>,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight<V> {
    pub value: V,
    /// The work was already running when this caller asked for it.
    pub joined: bool,
}

/// The error of work that ended without a result, because it panicked or the process is shutting down. The next call
/// runs the work again.
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

    /// Returns the result of the work that runs under `key`. If none is running, `work` is called to start it.
    ///
    /// The work starts before this future waits, so dropping the future after its first poll leaves the work running.
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

    /// Returns true if work is running under this key.
    pub fn is_running(&self, key: &K) -> bool {
        self.running.lock().contains_key(key)
    }

    /// Returns the number of keys with running work.
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
        let release = ReleaseKey { key, running: Arc::clone(&self.running) };
        let work = work();
        self.tasks.spawn(async move {
            // The guard and the sender are moved into the task. A panic or a shutdown drops both, which frees the key
            // and wakes the waiters.
            let release = release;
            let value = work.await;
            drop(release);
            sender.send_replace(Some(value));
        });
        (receiver, false)
    }
}

/// The running work by its key. A std `Mutex`, since it is only held for a look into the map and never across an await.
#[derive(Debug)]
struct Running<K, V>(Mutex<HashMap<K, watch::Receiver<Option<V>>>>);

impl<K, V> Running<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<V>>>> {
        // A panic cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the key when the work has ended, with or without a result.
struct ReleaseKey<K: Hash + Eq, V> {
    key: K,
    running: Arc<Running<K, V>>,
}

impl<K: Hash + Eq, V> Drop for ReleaseKey<K, V> {
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
    async fn concurrent_callers_share_one_run_and_later_ones_start_another() {
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
    async fn run_continues_after_its_first_caller_leaves() {
        let s = Setting::new();
        tokio::select! {
            _ = s.run("a") => unreachable!("the work still waits"),
            () = s.started() => {}
        }
        s.go.notify_one();
        assert_eq!(s.run("a").await, Ok(Flight { value: 1, joined: true }));
    }

    #[tokio::test]
    async fn panic_wakes_the_waiters_and_frees_the_key() {
        let s = Setting::new();
        let lost = s.flights.run("a", || async { panic!("as the test wants") }).await;
        assert_eq!(lost, Err(Interrupted));
        s.go.notify_one();
        assert_eq!(s.run("a").await.map(|flight| flight.joined), Ok(false));
    }

    #[tokio::test]
    async fn shutdown_wakes_the_waiters() {
        let s = Setting::new();
        let (lost, ()) = tokio::join!(s.run("a"), async {
            s.started().await;
            s.tasks.shut_down().await;
        });
        assert_eq!(lost, Err(Interrupted));
        assert_eq!(s.run("a").await, Err(Interrupted));
    }
}
