//! Spawns tasks, all under one cancellation token.
#![expect(clippy::disallowed_methods, reason = "this is the seam: the one place that spawns")]

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and counts them. Clones share one token and one count.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` in a task of its own until it ends, or until all tasks are cancelled.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Runs `work` in a task of its own to its end, even if the caller leaves or all tasks are cancelled. It serves
    /// work that must not stop halfway. A panic in the work continues in the caller.
    pub async fn finish<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.tracker.spawn(work).await {
            Ok(value) => value,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is ending, so no caller waits for a result.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until all tasks are cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Cancels all tasks and waits until they have ended.
    pub async fn shut_down(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Runs blocking work (disk, password hashes) off the async threads. A panic in the work continues in the caller.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
