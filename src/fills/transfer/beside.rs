//! What goes on beside the connections: the hash, and the journal.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Broken, Transfer};
use crate::oci::Hasher;
use crate::store::{PrefixHash, StoreError};

/// What has arrived is written down this often at most, and after the longer time though it is little.
const JOURNAL_EVERY: Duration = Duration::from_millis(25);
const JOURNAL_AFTER: Duration = Duration::from_secs(1);

impl Transfer<'_> {
    /// The hash over everything that has arrived without a hole, and its length.
    pub(in crate::fills) async fn hashed(&self) -> Result<(u64, Hasher), StoreError> {
        let mut hash = self.hash.lock().await;
        let prefix = self.partial.arrivals().prefix();
        while hash.position() < prefix {
            hash.advance(self.partial.arrivals(), prefix).await?;
        }
        Ok((prefix, hash.hasher()))
    }

    pub(super) async fn forget_hash(&self) {
        *self.hash.lock().await = PrefixHash::new(self.fill.digest.algorithm());
    }

    /// Lets the hash follow what arrives, up to the end.
    pub(super) async fn hash_along(&self, over: &CancellationToken) -> Result<(), Broken> {
        let mut watch = self.fill.watch();
        let arrivals = self.partial.arrivals();
        let mut hash = self.hash.lock().await;
        loop {
            watch.borrow_and_update();
            let prefix = arrivals.prefix();
            if hash.position() < prefix {
                hash.advance(arrivals, prefix).await.map_err(|error| Broken::Storage(Some(error)))?;
            } else if over.is_cancelled() {
                return Ok(());
            } else {
                tokio::select! {
                    // The sender is the fill's own: it outlives this.
                    _ = watch.changed() => {}
                    () = over.cancelled() => {}
                }
            }
        }
    }

    /// Writes down what has arrived, so that a restart knows it.
    pub(super) async fn write_down(&self, over: &CancellationToken) -> Result<(), Broken> {
        let mut written = self.means.clock.moment();
        let mut warned = false;
        while !over.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(JOURNAL_EVERY) => {}
                () = over.cancelled() => return Ok(()),
            }
            let late = self.partial.unjournalled() > 0 && self.means.clock.since(written) >= JOURNAL_AFTER;
            let due = !warned && self.partial.journal_is_due(self.plan().size());
            if !late && !due {
                continue;
            }
            written = self.means.clock.moment();
            if let Err(error) = self.partial.journal().await
                && !std::mem::replace(&mut warned, true)
            {
                tracing::warn!(%error, "what has arrived of a blob cannot be written down; a restart would fetch it again");
            }
        }
        Ok(())
    }
}
