//! The disk operations of one partial blob.
//!
//! An operation belongs to its blob until it has ended. It runs on a blocking thread, and continues there when the
//! future that waits for it is dropped. An operation that must run alone waits, without blocking a thread, until all
//! others have ended (`docs/fills.md`).

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::paths::change_on_disk;
use crate::store::StoreError;

/// The operations of one partial blob. Clones share them.
#[derive(Clone)]
pub(super) struct Operations {
    state: Arc<watch::Sender<OperationState>>,
}

/// The number of running operations, and whether others may begin.
#[derive(Debug, Default)]
struct OperationState {
    /// Operations that have been requested and have not ended.
    running: usize,
    /// Operations that run alone, and have been requested and not ended. While there is one, no other begins.
    alone: usize,
    /// True once the last operation was requested.
    ended: bool,
}

impl Operations {
    pub(super) fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(OperationState::default())) }
    }

    /// Runs an operation while others may run. It is refused if it has not begun when one that runs alone is
    /// requested.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let running = Running::begin(&self.state);
        change_on_disk(action, path, move || if running.is_refused() { Err(refused()) } else { work() }).await
    }

    /// Refuses operations that have not begun, waits until the running ones have ended, and runs this one. Afterwards
    /// others may begin again.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let refusal = Refusal::begin(&self.state);
        let running = Running::begin_alone(&self.state).await;
        let work = move || {
            let _guards = (refusal, running);
            work()
        };
        change_on_disk(action, path, work).await
    }

    /// Runs an operation like [`Self::alone`]. Afterwards only other last operations may begin.
    pub(super) async fn last<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.state.send_modify(|state| state.ended = true);
        self.alone(action, path, work).await
    }
}

/// Counts an operation as running. It is part of the operation's work, so it ends with it.
struct Running(Arc<watch::Sender<OperationState>>);

impl Running {
    fn begin(state: &Arc<watch::Sender<OperationState>>) -> Self {
        state.send_modify(|state| state.running += 1);
        Self(Arc::clone(state))
    }

    /// Waits until no operation is running.
    async fn begin_alone(state: &Arc<watch::Sender<OperationState>>) -> Self {
        let mut watched = state.subscribe();
        let begin = |state: &mut OperationState| {
            let is_free = state.running == 0;
            state.running += usize::from(is_free);
            is_free
        };
        while !state.send_if_modified(begin) {
            // This fails only without a sender, and `state` is one.
            let _ = watched.wait_for(|state| state.running == 0).await;
        }
        Self(Arc::clone(state))
    }

    fn is_refused(&self) -> bool {
        let state = self.0.borrow();
        state.ended || state.alone > 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.running -= 1);
    }
}

/// Keeps other operations from beginning.
struct Refusal(Arc<watch::Sender<OperationState>>);

impl Refusal {
    fn begin(state: &Arc<watch::Sender<OperationState>>) -> Self {
        state.send_modify(|state| state.alone += 1);
        Self(Arc::clone(state))
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.alone -= 1);
    }
}

fn refused() -> io::Error {
    io::Error::other("the partial blob is being changed or is finished, so it accepts no earlier operation")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const PLACE: &str = "a test";

    /// Begins an operation that hangs until the sender is used or dropped. Returns when it has begun.
    async fn hang(operations: &Operations) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let operation = operations.beside("hang in", Path::new(PLACE), move || {
            begun.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        });
        // The operation's future is dropped here, as that of a connection that was given up.
        tokio::select! {
            _ = operation => panic!("the operation hangs"),
            begun = has_begun => begun.unwrap(),
        }
        release
    }

    async fn note(operations: &Operations, notes: &Arc<std::sync::Mutex<Vec<u8>>>, number: u8) -> bool {
        let notes = Arc::clone(notes);
        operations
            .beside("write", Path::new(PLACE), move || {
                notes.lock().unwrap().push(number);
                Ok(())
            })
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn operation_alone_waits_for_abandoned_ones_and_refuses_those_that_have_not_begun() {
        let (operations, notes) = (Operations::new(), Arc::new(std::sync::Mutex::new(Vec::new())));
        let release = hang(&operations).await;
        let noted = Arc::clone(&notes);
        let mut alone = std::pin::pin!(operations.alone("repair", Path::new(PLACE), move || {
            noted.lock().unwrap().push(1);
            Ok(())
        }));
        tokio::select! {
            biased;
            _ = &mut alone => panic!("an operation is running"),
            () = std::future::ready(()) => {}
        }
        assert!(!note(&operations, &notes, 2).await, "it had not begun");
        drop(release);
        alone.await.unwrap();
        assert!(note(&operations, &notes, 3).await, "operations may begin again");
        assert_eq!(*notes.lock().unwrap(), [1, 3]);
    }

    #[tokio::test]
    async fn no_operation_begins_after_the_last_one() {
        let (operations, notes) = (Operations::new(), Arc::default());
        operations.last("store", Path::new(PLACE), || Ok(())).await.unwrap();
        assert!(!note(&operations, &notes, 1).await);
        assert!(operations.alone("repair", Path::new(PLACE), || Ok(())).await.is_ok());
        assert!(!note(&operations, &notes, 2).await);
    }

    #[tokio::test]
    async fn request_that_is_dropped_while_it_waits_refuses_nothing_afterwards() {
        let (operations, notes) = (Operations::new(), Arc::default());
        let release = hang(&operations).await;
        tokio::select! {
            biased;
            _ = operations.alone("repair", Path::new(PLACE), || Ok(())) => panic!("an operation is running"),
            () = std::future::ready(()) => {}
        }
        assert!(note(&operations, &notes, 1).await);
        drop(release);
        assert!(operations.last("store", Path::new(PLACE), || Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn operations_that_run_alone_never_meet() {
        let operations = Operations::new();
        let count = Arc::new(AtomicUsize::new(0));
        let all = (0..20).map(|_| {
            let count = Arc::clone(&count);
            let work = move || {
                let others = count.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                count.fetch_sub(1, Ordering::SeqCst);
                Ok(others)
            };
            operations.alone("repair", Path::new(PLACE), work)
        });
        let ended = futures_util::future::join_all(all).await;
        assert!(ended.into_iter().all(|others| others.unwrap() == 0));
    }
}
