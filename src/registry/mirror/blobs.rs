//! Blobs of a mirrored repository, and its right to serve them.

use std::sync::Arc;
use std::time::Duration;

use super::negative_cache::Asked;
use super::repository::MirrorRepository;
use crate::fills::{ArrivingBlob, BlobSource, Fill, Interest, Joined, Phase, Proof, Waiter};
use crate::oci::{ByteRange, Digest, MediaType, Reference};
use crate::registry::answer::{CacheStatus, Found};
use crate::registry::blob::Blob;
use crate::registry::error::RegistryError;
use crate::store::LinkRecord;
use crate::sys::jitter;
use crate::upstream::UpstreamError;

/// After a 5xx, a proof is asked for this many times more, about this long after the answer.
const PROOF_RETRIES: u32 = 2;
const PROOF_WAIT: Duration = Duration::from_millis(200);

/// A running fill that a request has joined. The request's own source is one of the fill's sources.
pub struct JoinedFill {
    pub fill: Arc<Fill>,
    pub source: BlobSource,
    /// Keeps the fill running while the request waits.
    pub waiter: Waiter,
    /// `Miss` if this request started the fill; `Hit` if everything had arrived when it joined.
    pub status: CacheStatus,
}

impl MirrorRepository {
    /// Returns the size of a blob, where it is known. Downloads nothing.
    pub(in crate::registry) async fn head_blob(&self, digest: &Digest) -> Result<Found<Option<u64>>, RegistryError> {
        let link = self.cached.link(digest).await?;
        if let Some(stored) = self.cached.open(digest, link.as_ref()).await? {
            return Ok(Found::mirrored(Some(stored.size), CacheStatus::Hit));
        }
        if link.as_ref().is_some_and(|link| link.media_type.is_manifest()) {
            return Ok(self.head_manifest(&Reference::Digest(*digest)).await?.map(|info| Some(info.size)));
        }
        if let Some(fill) = self.cached.context.fills.running(digest)
            && fill.is_proven(self.name()).unwrap_or(false)
        {
            let progress = fill.progress();
            return Ok(Found::mirrored(progress.size, status_of(progress.phase)));
        }
        // A client may have given up waiting for this answer.
        if let Some(late) = self.cached.context.flights.late_blob_heads.take(&(self.name().clone(), *digest)).await {
            let size = late.map_err(|error| self.blob_error(&error, digest))?;
            return Ok(Found::mirrored(size, CacheStatus::Fill));
        }
        let size = self.unless_absent(digest, self.ask_for_size(digest)).await?;
        Ok(Found::mirrored(size, CacheStatus::Miss))
    }

    /// Returns a blob: stored, or arriving. `range` is the part that the client wants first.
    pub(in crate::registry) async fn blob(
        &self,
        digest: &Digest,
        range: Option<ByteRange>,
    ) -> Result<Found<Blob>, RegistryError> {
        let mut link = self.cached.link(digest).await?;
        if let Some(stored) = self.cached.open(digest, link.as_ref()).await? {
            self.cached.context.ledger.used(digest);
            return Ok(Found::mirrored(Blob::stored(*digest, stored), CacheStatus::Hit));
        }
        if link.as_ref().is_some_and(|link| link.media_type.is_manifest()) {
            let found = self.manifest(&Reference::Digest(*digest)).await?;
            return Ok(found.map(|manifest| Blob::bytes(*digest, manifest.body)));
        }
        let interest = range.map_or(Interest::Whole, Interest::Range);
        if let Some(joined) = self.join_own(digest, link.as_ref(), interest) {
            return self.unless_absent(digest, self.answer(joined, range)).await;
        }
        // If a fill for other repositories has verified the blob, this waits until the blob is stored and their rights are
        // recorded. Then the store tells whether this repository may serve it.
        self.cached.context.fills.stored(digest).await;
        if self.store().blob(digest).await?.is_some() {
            // Either a fill for this repository ended after the link was read, or the bytes arrived for another repository.
            // In the second case this repository's upstream must say that it has them too.
            let mut status = CacheStatus::Hit;
            link = self.cached.link(digest).await?;
            let mut stored = self.cached.open(digest, link.as_ref()).await?;
            if stored.is_none() && !link.as_ref().is_some_and(|link| link.right.is_proven()) {
                self.unless_absent(digest, self.prove(digest)).await?;
                link = self.cached.link(digest).await?;
                stored = self.cached.open(digest, link.as_ref()).await?;
                status = CacheStatus::Miss;
            }
            if let Some(stored) = stored {
                self.cached.context.ledger.used(digest);
                return Ok(Found::mirrored(Blob::stored(*digest, stored), status));
            }
        }
        let fetch = async { self.answer(self.join(digest, link, interest).await?, range).await };
        self.unless_absent(digest, fetch).await
    }

    /// Returns true if a blob is stored and this repository may serve it. Asks the upstream where only it can tell.
    pub(in crate::registry) async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.cached.context.fills.stored(digest).await;
        let mut link = self.cached.link(digest).await?;
        let is_proven = link.as_ref().is_some_and(|link| link.right.is_proven());
        let mut stored = self.cached.open(digest, link.as_ref()).await?;
        if stored.is_none() && !is_proven && self.store().blob(digest).await?.is_some() {
            self.prove(digest).await?;
            link = self.cached.link(digest).await?;
            stored = self.cached.open(digest, link.as_ref()).await?;
        }
        if stored.is_some() {
            // The caller wants the blob, so eviction must not take it first.
            self.cached.context.ledger.used(digest);
        }
        Ok(stored.is_some())
    }

    /// Joins the fill of a blob if it runs for this repository.
    fn join_own(&self, digest: &Digest, link: Option<&LinkRecord>, interest: Interest) -> Option<JoinedFill> {
        let (fill, waiter) = self.cached.context.fills.join_own(digest, self.name(), interest)?;
        let source = self.source(link.and_then(|link| link.size));
        let status = status_of(fill.progress().phase);
        Some(JoinedFill { fill, source, waiter, status })
    }

    /// Waits until the head of the answer is known.
    async fn answer(&self, joined: JoinedFill, range: Option<ByteRange>) -> Result<Found<Blob>, RegistryError> {
        let status = joined.status;
        Ok(Found::mirrored(self.follow(joined, range).await?, status))
    }

    /// Joins or starts the fill of a blob that is not stored. If the fill runs for other repositories, the right of this one is
    /// proven first.
    pub(in crate::registry) async fn join(
        &self,
        digest: &Digest,
        link: Option<LinkRecord>,
        interest: Interest,
    ) -> Result<JoinedFill, RegistryError> {
        let source = self.source(link.as_ref().and_then(|link| link.size));
        let is_proven = link.is_some_and(|link| link.right.is_proven());
        let mut proof = if is_proven { Proof::Given } else { Proof::Pending };
        let (fill, waiter, status) = loop {
            match self.cached.context.fills.join(digest, source.clone(), proof, interest) {
                Joined::Started(fill, waiter) => break (fill, waiter, CacheStatus::Miss),
                Joined::Running(fill, waiter) => {
                    let status = status_of(fill.progress().phase);
                    break (fill, waiter, status);
                }
                Joined::MustProve => {
                    self.prove(digest).await?;
                    proof = Proof::Given;
                }
            }
        };
        Ok(JoinedFill { fill, source, waiter, status })
    }

    async fn follow(&self, joined: JoinedFill, range: Option<ByteRange>) -> Result<Blob, RegistryError> {
        let JoinedFill { fill, source, waiter, .. } = joined;
        let progress = fill.ready(&source.name).await?;
        if progress.phase == Phase::Complete
            && let Some(stored) = self.store().blob(&fill.digest).await?
        {
            return Ok(Blob::stored(fill.digest, stored));
        }
        let passing = match progress.phase {
            Phase::Unstorable => Some(fill.open_pass(&source, range).await?),
            _ => None,
        };
        let metrics = Arc::clone(&self.cached.context.metrics);
        Ok(Blob::arriving(ArrivingBlob { fill, source, passing, waiter, metrics }, progress))
    }

    /// Asks the upstream whether this repository has a digest, and records the answer. Content that another repository has brought may be
    /// private, so the upstream must deliver a byte of it: what it says to a HEAD is only a hint.
    async fn prove(&self, digest: &Digest) -> Result<(), RegistryError> {
        let (mirror, asked) = (self.clone(), *digest);
        let work = move || async move {
            let mut answer = mirror.remote.upstream.first_byte(mirror.name().repository(), &asked).await;
            // A fill asks again after a 5xx, so its readers do not see it. Neither should a reader that proves its right first.
            for _ in 0..PROOF_RETRIES {
                if !matches!(answer, Err(UpstreamError::Status { status: 500.., .. })) {
                    break;
                }
                tokio::time::sleep(jitter(PROOF_WAIT)).await;
                answer = mirror.remote.upstream.first_byte(mirror.name().repository(), &asked).await;
            }
            match &answer {
                Ok(_) => mirror.record_proof(&asked).await,
                Err(_) => mirror.note_absence(Asked::Blob(asked), &answer).await,
            }
            answer
        };
        let flight = self.cached.context.flights.blob_proofs.run((self.name().clone(), *digest), work).await;
        let asked = flight.map_err(|interrupted| self.interrupted(interrupted)).and_then(|flight| flight.value);
        asked.map(|_| ()).map_err(|error| self.blob_error(&error, digest))
    }

    /// Asks the upstream for the size of a blob by HEAD. That proves no right.
    async fn ask_for_size(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let (mirror, asked) = (self.clone(), *digest);
        let work = move || async move {
            let clock = &mirror.cached.context.machine.clock;
            let began = clock.moment();
            let answer = mirror.remote.upstream.head_blob(mirror.name().repository(), &asked).await;
            if answer.is_err() {
                mirror.note_absence(Asked::Blob(asked), &answer).await;
            }
            if clock.since(began) >= mirror.remote.client_wait {
                let late = &mirror.cached.context.flights.late_blob_heads;
                late.keep((mirror.name().clone(), asked), answer.clone()).await;
            }
            answer
        };
        let flight = self.cached.context.flights.blob_heads.run((self.name().clone(), *digest), work).await;
        let asked = flight.map_err(|interrupted| self.interrupted(interrupted)).and_then(|flight| flight.value);
        asked.map_err(|error| self.blob_error(&error, digest))
    }

    /// Records the right to a digest. The size of a HEAD is not recorded, because a recorded size decides whether a file is
    /// complete.
    async fn record_proof(&self, digest: &Digest) {
        let right = self.right();
        let recorded = async {
            let known = self.cached.link(digest).await?;
            let (media_type, size) = known.map_or_else(
                || (MediaType::known(MediaType::OCTET_STREAM), None),
                // A size that only a manifest claims is not kept either.
                |link| (link.media_type, link.size.filter(|_| link.right.is_proven())),
            );
            let link = LinkRecord { right, media_type, size };
            self.store().set_links(self.name(), vec![(*digest, link)]).await?;
            Ok::<_, RegistryError>(())
        };
        if let Err(error) = recorded.await {
            tracing::warn!(%error, "the right of a repository to a blob could not be recorded; the upstream will be asked again");
        }
    }
}

/// Returns the status of a request that joins a fill in this phase. Nothing is fetched after the blob is verified.
fn status_of(phase: Phase) -> CacheStatus {
    if phase.is_verified() { CacheStatus::Hit } else { CacheStatus::Fill }
}
