//! Limits the blocking threads that one kind of work may occupy.
#![expect(clippy::disallowed_methods, reason = "this is the seam: work that waits for a thread has a task of its own")]

use tokio::sync::Semaphore;

use super::tasks::blocking;

/// The limit for one kind of blocking work. All blocking work shares 512 threads. Work that may hang, such as a write to a
/// slow disk, would take them all, and a read that needs a moment would wait for it. So each kind of work that may hang has
/// a limit, and work beyond it waits without a thread.
#[derive(Debug)]
pub struct BlockingLimit {
    threads: Semaphore,
}

impl BlockingLimit {
    /// Allows this number of threads.
    pub const fn new(threads: usize) -> Self {
        Self { threads: Semaphore::const_new(threads) }
    }

    /// Runs blocking work as [`blocking`] does, once a thread is free for it. Work that has been requested runs even if the
    /// caller leaves.
    pub async fn run<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if let Ok(thread) = self.threads.try_acquire() {
            return blocking(move || done(work(), thread)).await;
        }
        let waiting = async move {
            let thread = self.threads.acquire().await.expect("the semaphore is never closed");
            blocking(move || done(work(), thread)).await
        };
        match tokio::spawn(waiting).await {
            Ok(value) => value,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is ending, so no caller waits for a result.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Returns the value of finished work. The thread is free for other work of its kind from then on.
fn done<T>(value: T, _thread: tokio::sync::SemaphorePermit<'_>) -> T {
    value
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn work_beyond_the_limit_waits_without_a_thread_and_runs_even_if_its_caller_leaves() {
        static LIMIT: BlockingLimit = BlockingLimit::new(2);
        let hang = || {
            let (release, released) = mpsc::channel::<()>();
            let mut work = Box::pin(LIMIT.run(move || released.recv().is_err()));
            assert!(work.as_mut().now_or_never().is_none());
            (release, work)
        };
        let (first, second) = (hang(), hang());
        let (told, tell) = tokio::sync::oneshot::channel();
        let mut third = Box::pin(LIMIT.run(move || told.send(()).unwrap()));
        assert!(third.as_mut().now_or_never().is_none());
        drop(third);
        // Work of another kind does not wait.
        blocking(|| ()).await;
        assert!(LIMIT.threads.available_permits() == 0 && !tell.is_terminated());
        drop(first.0);
        assert!(first.1.await);
        tell.await.unwrap();
        drop(second.0);
        assert!(second.1.await);
    }

    #[tokio::test]
    async fn work_that_panics_frees_its_thread() {
        static LIMIT: BlockingLimit = BlockingLimit::new(1);
        for _ in 0..2 {
            let work = std::panic::AssertUnwindSafe(LIMIT.run(|| panic!("expected")));
            assert!(work.catch_unwind().await.is_err());
        }
    }
}
