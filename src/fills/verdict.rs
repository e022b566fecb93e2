//! Decides whether the content that has arrived is right: as it came, decoded, or repaired.

use super::outcome::Outcome;
use super::task::FillTask;
use super::transfer::{Transfer, TransferError};
use crate::store::Partial;
use crate::upstream::UpstreamError;

impl FillTask<'_> {
    /// Compares the hash with the digest. If they differ, tries to decode the blob, and to repair it from other endpoints.
    pub(super) async fn verify(self, transfer: &Transfer<'_>, left: u64) -> Outcome {
        let expected = self.fill.digest;
        let mut error = match transfer.hashed().await.map(|(_, hasher)| hasher.finish()) {
            Ok(found) if found == expected => return Outcome::Complete,
            Ok(found) => UpstreamError::Mismatch { expected, found },
            Err(error) => return Outcome::Storage(Some(error)),
        };
        match transfer.decode(self.store).await {
            None => {}
            Some(Ok(decoded)) => return Outcome::Decoded(decoded),
            Some(Err(TransferError::Source(undecodable))) => error = undecodable,
            Some(Err(TransferError::Storage(error))) => return Outcome::Storage(error),
            Some(Err(TransferError::Stopped | TransferError::Unresumable)) => return Outcome::RepairStopped,
        }
        if left > 0 {
            return Outcome::Contradicted;
        }
        let sources = self.fill.usable_sources();
        match transfer.repair(&sources).await {
            Ok(true) => Outcome::Complete,
            Ok(false) | Err(TransferError::Source(_) | TransferError::Unresumable) => {
                transfer.count_wrong_content(&sources);
                Outcome::Mismatch(error)
            }
            Err(TransferError::Stopped) => Outcome::RepairStopped,
            Err(TransferError::Storage(error)) => Outcome::Storage(error),
        }
    }

    /// Ends the fill because the content does not match the digest. Nothing of it is kept.
    pub(super) async fn refuse(self, partial: Partial, error: UpstreamError) {
        let (fill, digest) = (self.fill, self.fill.digest);
        let sources: Vec<_> = fill.usable_sources().iter().map(|source| source.name.to_string()).collect();
        tracing::error!(%digest, %error, ?sources, "the content of a blob does not match its digest");
        fill.end_mismatched(error);
        if let Err(error) = partial.discard().await {
            tracing::error!(%digest, %error, "cannot remove content that does not match its digest");
        }
    }
}
