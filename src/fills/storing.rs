//! Stores a verified blob: makes it a complete blob of the cache, and records the rights to it.
//!
//! Readers do not wait for this. It is finished even if the server is stopping meanwhile.

use std::sync::Arc;

use super::fill::Fill;
use super::progress::Phase;
use super::shared::Shared;
use super::source::BlobSource;
use crate::cache::Reservation;
use crate::oci::MediaType;
use crate::store::{CacheStore, LinkRecord, Partial, StoreError};

/// A blob that has arrived completely and matches its digest.
pub(super) struct VerifiedBlob {
    /// `None` if the blob is stored already, and only the rights are missing.
    pub(super) partial: Option<Partial>,
    /// Kept until the ledger counts the blob as stored, so that no other fill gets the space meanwhile.
    pub(super) reservation: Option<Reservation>,
}

/// The last step of a fill.
pub(super) struct Storing {
    pub(super) store: CacheStore,
    pub(super) shared: Shared,
    pub(super) fill: Arc<Fill>,
}

impl Storing {
    /// Stores the blob and records the rights. Only then does the fill end. Returns the outcome for the metric.
    pub(super) async fn run(self, blob: VerifiedBlob) -> &'static str {
        let VerifiedBlob { partial, reservation } = blob;
        let digest = self.fill.digest;
        // The blob and its links are stored together, so that an eviction removes both or none.
        let _alone = self.store.lock_blob(&digest).await;
        if let Some(partial) = partial
            && let Err(error) = self.store.commit(partial, &digest).await
        {
            tracing::error!(%digest, %error, "cannot store a complete blob; it is served without being cached");
            self.fill.end(Phase::Unkept);
            return label::UNSTORABLE;
        }
        self.record_rights(self.fill.progress().arrived, reservation).await;
        self.fill.end(Phase::Complete);
        label::COMPLETE
    }

    /// Records the right of each source that has proven it.
    async fn record_rights(&self, size: u64, mut reservation: Option<Reservation>) {
        for source in self.fill.proven_sources() {
            source.warn_of_wrong_size(&self.fill.digest, size);
            self.shared.ledger.stored(self.fill.digest, size, source.right(), reservation.take());
            if let Err(error) = self.record_right(&source, size).await {
                let digest = self.fill.digest;
                tracing::warn!(%digest, %error, "cannot save a repository's right to a blob; its upstream will be asked again");
            }
        }
    }

    async fn record_right(&self, source: &BlobSource, size: u64) -> Result<(), StoreError> {
        let (digest, right) = (&self.fill.digest, source.right());
        let known = self.store.link(&source.name, digest).await?;
        let media_type = known.map_or_else(|| MediaType::known(MediaType::OCTET_STREAM), |link| link.media_type);
        let link = LinkRecord { right, media_type, size: Some(size) };
        self.store.set_links(&source.name, vec![(*digest, link)]).await
    }
}

/// The values of the metric's label `outcome`.
pub(super) mod label {
    pub(in crate::fills) const COMPLETE: &str = "complete";
    pub(in crate::fills) const FAILED: &str = "failed";
    pub(in crate::fills) const UNSTORABLE: &str = "unstorable";
}
