//! The repetition of a job.

use std::future::Future;
use std::time::Duration;

/// Runs a job now and again after each pause.
pub(super) async fn repeat<F: Future<Output = ()>>(pause: Duration, mut job: impl FnMut() -> F) {
    loop {
        job().await;
        tokio::time::sleep(pause).await;
    }
}
