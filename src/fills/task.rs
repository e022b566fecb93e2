//! The task of one fill: it asks one source after another until the blob is verified.

use std::sync::Arc;

use super::fill::Fill;
use super::outcome::{Fetched, Outcome, TaskEnd};
use super::passing::Prefix;
use super::progress::Phase;
use super::shared::Shared;
use super::storing::{VerifiedBlob, label};
use super::transfer::{Transfer, TransferError};
use crate::cache::EVICTION_STEP;
use crate::oci::Hasher;
use crate::store::{Arrivals, CacheStore, Extents, Partial, StoreError};
use crate::upstream::UpstreamError;

/// A fill begins again at most this many times because its sources send other bytes than before.
const MOST_RESTARTS: u32 = 4;
const CHANGES: &str = "it sends another content for the blob each time";

/// The parts that the task of one fill works with.
#[derive(Clone, Copy)]
pub(super) struct FillTask<'a> {
    pub(super) store: &'a CacheStore,
    pub(super) shared: &'a Shared,
    pub(super) fill: &'a Fill,
}

impl FillTask<'_> {
    /// Runs the fill until its blob is verified, or until it has failed and released its file.
    pub(super) async fn run(self) -> TaskEnd {
        let fill = self.fill;
        if let Ok(Some(stored)) = self.store.blob(&fill.digest).await {
            fill.set_arrivals(Arc::new(Arrivals::whole(&stored)));
            return match self.confirm().await {
                true => TaskEnd::Verified(VerifiedBlob { partial: None, reservation: None }),
                false => TaskEnd::Ended(label::FAILED),
            };
        }
        let mut partial = self.store.partial(&fill.digest).await;
        if partial.as_ref().is_err_and(StoreError::is_full) && self.shared.ledger.evict_up_to(EVICTION_STEP).await {
            partial = self.store.partial(&fill.digest).await;
        }
        let partial = match partial {
            Ok(partial) => self.attempt(partial).await,
            Err(error) => Err(error),
        };
        match partial {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(digest = %fill.digest, %error, "cannot store a blob; it is passed through to clients");
                fill.give_up(Prefix::empty(fill.digest.algorithm()), self.shared);
                TaskEnd::Passing(None)
            }
        }
    }

    /// Asks the sources to confirm a blob that is on the disk already. Nothing is fetched. The first source that has
    /// the blob suffices. The other sources are asked when their clients request the blob again.
    async fn confirm(self) -> bool {
        let fill = self.fill;
        while let Some(source) = fill.next_source() {
            let confirmed = match fill.is_proven(&source.name) {
                Ok(true) => Ok(()),
                _ => source.upstream.head_blob(source.name.repository(), &fill.digest).await.map(|_| ()),
            };
            if let Err(error) = confirmed {
                fill.failed(&source.name, error);
                continue;
            }
            fill.answered(&source.name, Some(fill.progress().arrived), Phase::Arriving);
            fill.verified();
            return true;
        }
        fill.end(Phase::Failed);
        false
    }

    /// Continues from the bytes that an earlier fill has left. If they turn out not to be the beginning of this blob, or if
    /// a source claims so, they stay on the disk, and the fill begins again in a file of its own: these bytes may be right,
    /// and the source wrong.
    async fn attempt(self, partial: Partial) -> Result<TaskEnd, StoreError> {
        let fill = self.fill;
        fill.set_arrivals(Arc::clone(partial.arrivals()));
        let left = partial.arrivals().snapshot();
        let partial = match self.fetch(partial, left.total()).await {
            Fetched::Ended(end) => return Ok(end),
            Fetched::Contradicted(partial) => partial,
        };
        tracing::warn!(digest = %fill.digest, "the bytes of an earlier fill contradict those of the source; fetching the whole blob again");
        self.leave_as_found(partial, left).await;
        let aside = self.store.partial_aside(&fill.digest).await?;
        fill.begin_again(Arc::clone(aside.arrivals()));
        match self.fetch(aside, 0).await {
            Fetched::Ended(end) => Ok(end),
            Fetched::Contradicted(_) => unreachable!("nothing was left in a new file"),
        }
    }

    /// Fetches from one source after another until the blob is verified. `left` is the number of bytes that an earlier fill
    /// has left.
    async fn fetch(self, partial: Partial, left: u64) -> Fetched {
        let fill = self.fill;
        let transfer = Transfer::new(self.shared, fill, &partial);
        match self.is_complete(&transfer).await {
            Some(true) => {
                drop(transfer);
                return Fetched::Ended(self.confirm_leftover(partial).await);
            }
            Some(false) => {
                drop(transfer);
                return Fetched::Contradicted(partial);
            }
            None => {}
        }
        let outcome = self.ask_sources(&transfer, left).await;
        let hashed = match outcome {
            // Readers cannot use the beginning of an encoded blob.
            Outcome::Storage(_) if fill.progress().phase != Phase::Encoded => transfer.hashed().await.ok(),
            _ => None,
        };
        let is_encoded = transfer.is_encoded();
        let reservation = transfer.into_reservation();
        match outcome {
            // An earlier fill has left the whole blob, so no source was asked.
            Outcome::Complete if fill.progress().phase == Phase::Asking => {
                return Fetched::Ended(self.confirm_leftover(partial).await);
            }
            Outcome::Complete => {
                fill.verified();
                return Fetched::Ended(TaskEnd::Verified(VerifiedBlob { partial: Some(partial), reservation }));
            }
            Outcome::Decoded(decoded) => {
                self.leave(partial).await;
                fill.begin_again(Arc::clone(decoded.arrivals()));
                fill.verified();
                return Fetched::Ended(TaskEnd::Verified(VerifiedBlob { partial: Some(decoded), reservation }));
            }
            Outcome::Contradicted => return Fetched::Contradicted(partial),
            Outcome::Storage(error) => self.give_up(partial, hashed, error).await,
            Outcome::Mismatch(error) => self.refuse(partial, error).await,
            Outcome::RepairStopped if is_encoded => self.discard(partial).await,
            Outcome::Failed if is_encoded => {
                fill.end(Phase::Failed);
                self.discard(partial).await;
            }
            Outcome::Failed => {
                fill.end(Phase::Failed);
                self.write_journal(&partial).await;
                self.leave(partial).await;
            }
            Outcome::RepairStopped => self.leave(partial).await,
        }
        Fetched::Ended(match fill.progress().phase {
            Phase::Unstorable => TaskEnd::Passing(reservation),
            Phase::Failed => TaskEnd::Ended(label::FAILED),
            _ => TaskEnd::Ended(label::UNSTORABLE),
        })
    }

    /// Keeps the bytes that have arrived, so that a later fill can resume from them.
    async fn leave(self, partial: Partial) {
        let left = partial.arrivals().total();
        partial.release().await;
        self.shared.ledger.left_unfinished(&self.fill.digest, left);
    }

    /// Leaves nothing.
    async fn discard(self, partial: Partial) {
        if let Err(error) = partial.discard().await {
            tracing::warn!(digest = %self.fill.digest, %error, "cannot remove a partial blob");
        }
    }

    /// Keeps only the bytes that an earlier fill has left, so that a later fill can resume from them.
    async fn leave_as_found(self, partial: Partial, left: Extents) {
        let kept = async {
            partial.keep_only(left).await?;
            partial.journal().await
        };
        if let Err(error) = kept.await {
            tracing::warn!(digest = %self.fill.digest, %error, "cannot keep the bytes that an earlier fill has left of a blob");
        }
        self.leave(partial).await;
    }

    /// Returns true if an earlier fill has left the complete blob, because the server stopped before it was stored. Returns
    /// false if it has left as many bytes as the blob has according to a descriptor, and they do not match the digest.
    async fn is_complete(self, transfer: &Transfer<'_>) -> Option<bool> {
        let fill = self.fill;
        let expected = fill.usable_sources().iter().find_map(|source| source.expected_size);
        if fill.progress().arrived == 0 || expected != Some(fill.progress().arrived) {
            return None;
        }
        // If the disk fails here, the transfer runs into the same error, and reports it.
        let (_, hasher) = transfer.hashed().await.ok()?;
        Some(hasher.finish() == fill.digest)
    }

    /// Asks the sources to confirm the complete blob that an earlier fill has left.
    async fn confirm_leftover(self, partial: Partial) -> TaskEnd {
        if self.confirm().await {
            return TaskEnd::Verified(VerifiedBlob { partial: Some(partial), reservation: None });
        }
        self.leave(partial).await;
        TaskEnd::Ended(label::FAILED)
    }

    async fn ask_sources(self, transfer: &Transfer<'_>, left: u64) -> Outcome {
        let (fill, mut restarts) = (self.fill, 0);
        while let Some(source) = fill.next_source() {
            let fetched = match transfer.fetch(&source).await {
                Err(TransferError::Unresumable) if left == 0 && restarts == MOST_RESTARTS => {
                    let (host, reason) = (source.upstream.name().to_string(), CHANGES.to_owned());
                    Err(TransferError::Source(UpstreamError::Protocol { host: host.into(), reason }))
                }
                fetched => fetched,
            };
            match fetched {
                Ok(()) => return self.verify(transfer, left).await,
                Err(TransferError::Source(error)) => {
                    tracing::warn!(digest = %fill.digest, %error, "a source of a fill failed");
                    fill.failed(&source.name, error);
                }
                Err(TransferError::Unresumable) if left > 0 => return Outcome::Contradicted,
                Err(TransferError::Unresumable) => {
                    restarts += 1;
                    if let Err(error) = transfer.restart().await {
                        return Outcome::Storage(Some(error));
                    }
                }
                Err(TransferError::Storage(error)) => return Outcome::Storage(error),
                Err(TransferError::Stopped) => {
                    tracing::info!(digest = %fill.digest, "stopped a fill; the next request resumes it");
                    return Outcome::Failed;
                }
            }
        }
        Outcome::Failed
    }

    /// Ends the fill because the blob cannot be stored. Readers read the stored part up to the first gap, and then
    /// continue from streams that they share.
    pub(super) async fn give_up(self, partial: Partial, hashed: Option<(u64, Hasher)>, error: Option<StoreError>) {
        let fill = self.fill;
        let full = || "mirror.cache.maxsize or mirror.cache.reserve leaves no space".to_owned();
        let reason = error.map_or_else(full, |error| error.to_string());
        tracing::warn!(digest = %fill.digest, reason, "cannot store a blob; it is passed through to clients");
        // If the stored part could not be hashed, it cannot be read either, so all readers begin again at the first
        // byte.
        let stored = hashed.map(|(end, hasher)| Prefix::new(end, hasher));
        fill.give_up(stored.unwrap_or_else(|| Prefix::empty(fill.digest.algorithm())), self.shared);
        // Readers hold the file open. Its space is free again when the last of them has finished.
        self.discard(partial).await;
    }

    /// Writes the journal of the bytes that have arrived.
    async fn write_journal(self, partial: &Partial) {
        if let Err(error) = partial.journal().await {
            tracing::warn!(digest = %self.fill.digest, %error, "cannot write the journal of a fill");
        }
    }
}
