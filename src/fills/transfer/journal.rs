//! The background work of a transfer: the hash, and the journal of the bytes that have arrived.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::TransferError;
use super::state::Transfer;

/// The journal is written at most once in this time, and for at most half of the time …
const JOURNAL_EVERY: Duration = Duration::from_millis(25);
/// … and at least once in this time if anything has arrived.
const JOURNAL_AFTER: Duration = Duration::from_secs(1);

impl Transfer<'_> {
    /// Hashes the bytes as they arrive, until `done` is cancelled and everything is hashed, or until `stop` is cancelled.
    /// A failure cancels `stop`.
    pub(super) async fn hash_arrivals(
        &self,
        done: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<(), TransferError> {
        let hashed = tokio::select! {
            hashed = self.hash_until(done) => hashed,
            () = stop.cancelled() => Ok(()),
        };
        hashed.inspect_err(|_| stop.cancel())
    }

    async fn hash_until(&self, done: &CancellationToken) -> Result<(), TransferError> {
        let mut watch = self.fill.watch();
        let arrivals = self.partial.arrivals();
        let mut hash = self.hash.lock().await;
        loop {
            watch.borrow_and_update();
            let prefix = arrivals.prefix();
            if hash.position() < prefix {
                hash.advance(arrivals, prefix).await?;
            } else if done.is_cancelled() {
                return Ok(());
            } else {
                tokio::select! {
                    // The sender belongs to the fill, which outlives this future.
                    _ = watch.changed() => {}
                    () = done.cancelled() => {}
                }
            }
        }
    }

    /// Writes the journal until `done` is cancelled, so that a restarted server knows which bytes have arrived.
    pub(super) async fn write_journal(&self, done: &CancellationToken) {
        let mut written = self.shared.machine.clock.moment();
        let mut pause = JOURNAL_EVERY;
        let mut warned = false;
        while !done.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = done.cancelled() => return,
            }
            let late = self.partial.unjournalled() > 0 && self.shared.machine.clock.since(written) >= JOURNAL_AFTER;
            let due = !warned && self.partial.journal_is_due(self.scheduler().size());
            if (!late && !due) || self.is_encoded() {
                continue;
            }
            written = self.shared.machine.clock.moment();
            // A journal that is being written when the transfer ends belongs to the partial blob, which waits for it.
            let journal = tokio::select! {
                journal = self.partial.journal() => journal,
                () = done.cancelled() => return,
            };
            pause = JOURNAL_EVERY.max(self.shared.machine.clock.since(written));
            if let Err(error) = journal
                && !std::mem::replace(&mut warned, true)
            {
                let digest = self.fill.digest;
                tracing::warn!(%digest, %error, "cannot write the journal of a fill; after a restart it would fetch the blob again");
            }
        }
    }
}
