//! The task of one fill: it asks one source after another, verifies the content, stores it, and records the rights.

use std::sync::Arc;

use super::fill::{Fill, Phase};
use super::shared::Shared;
use super::source::BlobSource;
use super::transfer::{Transfer, TransferError};
use crate::cache::{EVICTION_STEP, Reservation};
use crate::oci::{Hasher, MediaType};
use crate::store::{Arrivals, CacheStore, LinkRecord, Partial, Right, StoreError, verified};
use crate::upstream::UpstreamError;

/// The parts that the task of one fill works with.
#[derive(Clone, Copy)]
pub(super) struct FillTask<'a> {
    pub(super) store: &'a CacheStore,
    pub(super) shared: &'a Shared,
    pub(super) fill: &'a Fill,
}

/// A blob that has arrived completely and matches its digest.
struct CompleteBlob {
    partial: Partial,
    /// The hash of the whole blob.
    hasher: Hasher,
    /// Kept until the ledger counts the blob as stored, so that no other fill gets the space meanwhile.
    reservation: Option<Reservation>,
}

/// The result of asking the sources.
enum Outcome {
    /// The blob is complete and matches its digest.
    Complete,
    /// No endpoint has the right content.
    Mismatch(StoreError),
    /// Every source has failed, or the fill was stopped.
    Failed,
    /// The disk failed. `None`: the cache has no space.
    Storage(Option<StoreError>),
}

/// The values of the metric's label `outcome`.
mod label {
    pub(super) const COMPLETE: &str = "complete";
    pub(super) const FAILED: &str = "failed";
    pub(super) const UNSTORABLE: &str = "unstorable";
}

impl FillTask<'_> {
    /// Runs the fill to its end.
    pub(super) async fn run(self) {
        let fill = self.fill;
        if let Ok(Some(stored)) = self.store.blob(&fill.digest).await {
            fill.set_arrivals(Arc::new(Arrivals::whole(&stored)));
            return self.confirm(Phase::Complete).await;
        }
        let mut partial = self.store.partial(&fill.digest).await;
        if partial.as_ref().is_err_and(StoreError::is_full) && self.shared.ledger.evict_up_to(EVICTION_STEP).await {
            partial = self.store.partial(&fill.digest).await;
        }
        let outcome = match partial {
            Ok(partial) => self.fetch(partial).await,
            Err(error) => {
                tracing::error!(digest = %fill.digest, %error, "cannot store a blob; it is streamed to clients without being cached");
                fill.give_up(0, Hasher::new(fill.digest.algorithm()));
                label::UNSTORABLE
            }
        };
        self.shared.metrics.fills.with_label_values(&[outcome]).inc();
    }

    /// Asks the sources to confirm a blob that is complete on the disk already. Nothing is fetched. The first source
    /// that has the blob ends the fill. The other sources are asked when their clients request the blob again.
    async fn confirm(self, end: Phase) {
        let fill = self.fill;
        let size = fill.progress().arrived;
        while let Some(source) = fill.next_source(|| {}) {
            let confirmed = match fill.is_proven(&source.name) {
                Ok(true) => Ok(()),
                _ => source.upstream.head_blob(source.name.repository(), &fill.digest).await.map(|_| ()),
            };
            if let Err(error) = confirmed {
                fill.failed(&source.name, error);
                continue;
            }
            fill.answered(&source.name, Some(size));
            if end == Phase::Complete {
                self.record_rights(size).await;
            }
            return fill.end(end);
        }
        fill.end(Phase::Failed);
    }

    /// Fetches from one source after another until the blob is complete. Returns the outcome for the metric.
    async fn fetch(self, partial: Partial) -> &'static str {
        let fill = self.fill;
        fill.set_arrivals(Arc::clone(partial.arrivals()));
        let transfer = Transfer::new(self.shared, fill, &partial);
        if self.is_complete(&transfer).await {
            drop(transfer);
            return self.commit_leftover(partial).await;
        }
        let outcome = self.ask_sources(&partial, &transfer).await;
        let hashed = match outcome {
            // The next request hashes the rest.
            Outcome::Failed | Outcome::Mismatch(_) => None,
            Outcome::Complete | Outcome::Storage(_) => transfer.hashed().await.ok(),
        };
        let reservation = transfer.into_reservation();
        match (outcome, hashed) {
            (Outcome::Complete, Some((_, hasher))) => self.finish(CompleteBlob { partial, hasher, reservation }).await,
            (Outcome::Complete, None) => self.give_up(partial, None, None).await,
            (Outcome::Storage(error), hashed) => self.give_up(partial, hashed, error).await,
            (Outcome::Mismatch(error), _) => self.refuse(partial, error).await,
            (Outcome::Failed, _) => {
                self.shared.ledger.left_unfinished(&fill.digest, partial.arrivals().total());
                partial.abandon().await;
                fill.end(Phase::Failed);
                label::FAILED
            }
        }
    }

    /// Returns true if an earlier fill has left the complete blob, because the server stopped before it was stored.
    async fn is_complete(self, transfer: &Transfer<'_>) -> bool {
        let fill = self.fill;
        let expected = fill.usable_sources().iter().find_map(|source| source.expected_size);
        if fill.progress().arrived == 0 || expected != Some(fill.progress().arrived) {
            return false;
        }
        let right = transfer.hashed().await.is_ok_and(|(_, hasher)| hasher.finish() == fill.digest);
        if !right && let Err(error) = transfer.restart().await {
            // The transfer will run into the same error of the disk, and report it.
            tracing::warn!(digest = %fill.digest, %error, "cannot empty a partial blob");
        }
        right
    }

    /// Stores the complete blob that an earlier fill has left.
    async fn commit_leftover(self, partial: Partial) -> &'static str {
        let digest = self.fill.digest;
        let size = partial.arrivals().total();
        match self.store.commit(partial, &digest).await {
            Ok(()) => {
                // The ledger counts the blob, though no source has confirmed its right yet.
                self.shared.ledger.stored(digest, size, Right::Private);
                self.confirm(Phase::Complete).await;
                label::COMPLETE
            }
            Err(error) => {
                tracing::error!(%digest, %error, "cannot store a complete blob; it is served without being cached");
                self.confirm(Phase::Unkept).await;
                label::UNSTORABLE
            }
        }
    }

    async fn ask_sources(self, partial: &Partial, transfer: &Transfer<'_>) -> Outcome {
        let fill = self.fill;
        while let Some(source) = self.next_source(partial).await {
            match transfer.fetch(&source).await {
                Ok(()) => return self.verify(partial, transfer).await,
                Err(TransferError::Source(error)) => {
                    tracing::warn!(digest = %fill.digest, %error, "a source of a fill failed");
                    fill.failed(&source.name, error);
                }
                Err(TransferError::Unresumable) => {
                    if let Err(error) = transfer.restart().await {
                        return Outcome::Storage(Some(error));
                    }
                }
                Err(TransferError::Storage(error)) => return Outcome::Storage(error),
                Err(TransferError::Stopped) => {
                    self.write_journal(partial).await;
                    if fill.close(|| partial.unlock()) {
                        tracing::info!(digest = %fill.digest, "stopped a fill; the next request resumes it");
                        return Outcome::Failed;
                    }
                }
            }
        }
        Outcome::Failed
    }

    /// Returns the next source to try. If there is none, the fill ends; its journal is written and its file unlocked
    /// first, so that the next request can resume it.
    async fn next_source(self, partial: &Partial) -> Option<BlobSource> {
        if self.fill.usable_sources().is_empty() {
            self.write_journal(partial).await;
        }
        // Readers may keep the file open for a long time. It is unlocked, so that the next fill can use it meanwhile.
        self.fill.next_source(|| partial.unlock())
    }

    /// Compares the hash with the digest. If they differ, tries to repair the blob from other endpoints.
    async fn verify(self, partial: &Partial, transfer: &Transfer<'_>) -> Outcome {
        let mismatch = match transfer.hashed().await {
            Ok((_, hasher)) => match verified(hasher, &self.fill.digest) {
                Ok(()) => return Outcome::Complete,
                Err(mismatch) => mismatch,
            },
            Err(error) => return Outcome::Storage(Some(error)),
        };
        match transfer.repair(&self.fill.usable_sources()).await {
            Ok(true) => Outcome::Complete,
            Ok(false) | Err(TransferError::Source(_) | TransferError::Unresumable) => Outcome::Mismatch(mismatch),
            // Cancelled by an operator. The journal is not written, so that no later fill uses the wrong bytes.
            Err(TransferError::Stopped) => {
                self.fill.close(|| partial.unlock());
                Outcome::Failed
            }
            Err(TransferError::Storage(error)) => Outcome::Storage(error),
        }
    }

    /// Ends the fill because the content does not match the digest. Nothing of it is kept.
    async fn refuse(self, partial: Partial, mismatch: StoreError) -> &'static str {
        let fill = self.fill;
        let error = match mismatch {
            StoreError::Mismatch { expected, found } => {
                let sources: Vec<_> = fill.usable_sources().iter().map(|source| source.name.to_string()).collect();
                tracing::error!(%expected, %found, ?sources, "the content of a blob does not match its digest");
                UpstreamError::Mismatch { expected, found }
            }
            other => return self.give_up(partial, None, Some(other)).await,
        };
        if let Err(error) = partial.discard().await {
            tracing::error!(digest = %fill.digest, %error, "cannot remove content that does not match its digest");
        }
        fill.end_mismatched(error);
        label::FAILED
    }

    /// Stores a complete blob and records the rights. Only then does the fill end.
    async fn finish(self, blob: CompleteBlob) -> &'static str {
        let CompleteBlob { partial, hasher, reservation } = blob;
        let digest = self.fill.digest;
        let size = partial.arrivals().prefix();
        if let Err(error) = self.store.commit(partial, &digest).await {
            tracing::error!(%digest, %error, "cannot store a complete blob; it is served without being cached");
            self.fill.give_up(size, hasher);
            return label::UNSTORABLE;
        }
        self.record_rights(size).await;
        drop(reservation);
        self.fill.end(Phase::Complete);
        label::COMPLETE
    }

    /// Records the right of each source that has proven it.
    async fn record_rights(self, size: u64) {
        for source in self.fill.proven_sources() {
            if let Err(error) = self.record_right(&source, size).await {
                let digest = self.fill.digest;
                tracing::warn!(%digest, %error, "cannot save a repository's right to a blob; its upstream will be asked again");
            }
        }
    }

    async fn record_right(self, source: &BlobSource, size: u64) -> Result<(), StoreError> {
        let (digest, right) = (&self.fill.digest, source.right());
        self.shared.ledger.stored(*digest, size, right);
        let known = self.store.link(&source.name, digest).await?;
        let media_type = known.map_or_else(|| MediaType::known(MediaType::OCTET_STREAM), |link| link.media_type);
        let link = LinkRecord { right, media_type, size: Some(size) };
        self.store.set_links(&source.name, vec![(*digest, link)]).await
    }

    /// Ends the fill because the blob cannot be stored. Readers read the stored part up to the first gap, and then
    /// continue from their own sources.
    async fn give_up(self, partial: Partial, hashed: Option<(u64, Hasher)>, error: Option<StoreError>) -> &'static str {
        let fill = self.fill;
        let full = || "mirror.cache.maxsize or mirror.cache.reserve leaves no space".to_owned();
        let reason = error.map_or_else(full, |error| error.to_string());
        tracing::warn!(digest = %fill.digest, reason, "cannot store a blob; it is streamed to clients without being cached");
        // Readers hold the file open. Its space is free again when the last of them has finished.
        if let Err(error) = partial.discard().await {
            tracing::warn!(digest = %fill.digest, %error, "cannot remove a partial blob");
        }
        // If the stored part could not be hashed, it cannot be read either, so all readers begin again at the first
        // byte.
        let (prefix, hasher) = hashed.unwrap_or_else(|| (0, Hasher::new(fill.digest.algorithm())));
        fill.give_up(prefix, hasher);
        label::UNSTORABLE
    }

    /// Writes the journal of the bytes that have arrived.
    async fn write_journal(self, partial: &Partial) {
        if let Err(error) = partial.journal().await {
            tracing::warn!(digest = %self.fill.digest, %error, "cannot write the journal of a fill");
        }
    }
}
