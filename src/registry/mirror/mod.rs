//! A repository that is a copy of what an upstream has: blobs, and who may have them.

pub(super) mod absences;
pub(super) mod freshness;
pub(super) mod kept;
pub(super) mod lists;
mod manifests;
mod prefetch;
mod referrers;
pub(super) mod remote;
pub(super) mod warm;

use std::ops::Deref;
use std::sync::Arc;

use super::{Blob, CacheStatus, Found, RegistryError};
use crate::fills::{Arriving, Attention, Direct, Fill, Interest, Joined, Proof, Source, State};
use crate::oci::{ByteRange, Digest, MediaType, Reference};
use crate::state::Interrupted;
use crate::store::LinkRecord;
use crate::upstream::UpstreamError;
use kept::Kept;
use remote::Remote;

/// A mirrored repository: what is held of it, and whom to ask. Its manifests and tags are in `manifests` and `freshness`, its
/// lists in `lists` and `referrers`.
#[derive(Clone)]
pub struct Mirror {
    kept: Kept,
    remote: Arc<Remote>,
}

/// What needs no upstream is done by what is held.
impl Deref for Mirror {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kept
    }
}

/// A fill that was joined, and the joiner's own source among its sources.
pub(super) struct Joint {
    pub(super) fill: Arc<Fill>,
    pub(super) source: Source,
    pub(super) attention: Attention,
    /// `Miss`: this joiner began it.
    pub(super) status: CacheStatus,
}

impl Mirror {
    pub(super) fn new(kept: Kept, remote: Arc<Remote>) -> Self {
        Self { kept, remote }
    }

    pub(super) async fn head_blob(&self, digest: &Digest) -> Result<Found<Option<u64>>, RegistryError> {
        let link = self.link(digest).await?;
        if let Some(stored) = self.open(digest, link.as_ref()).await? {
            return Ok(Found::mirrored(Some(stored.size), CacheStatus::Hit));
        }
        if link.as_ref().is_some_and(|link| is_manifest(&link.media_type)) {
            return Ok(self.head_manifest(&Reference::Digest(*digest)).await?.map(|info| Some(info.size)));
        }
        if let Some(fill) = self.registry.fills().running(digest)
            && fill.verdict(&self.source(None).key()).unwrap_or(false)
        {
            return Ok(Found::mirrored(fill.progress().size, CacheStatus::Fill));
        }
        let size = self.unless_absent(digest, self.prove(digest)).await?;
        Ok(Found::mirrored(size, CacheStatus::Miss))
    }

    pub(super) async fn blob(&self, digest: &Digest, range: Option<ByteRange>) -> Result<Found<Blob>, RegistryError> {
        let mut link = self.link(digest).await?;
        if let Some(stored) = self.open(digest, link.as_ref()).await? {
            self.registry.quota().used(digest);
            return Ok(Found::mirrored(Blob::stored(*digest, stored), CacheStatus::Hit));
        }
        if link.as_ref().is_some_and(|link| is_manifest(&link.media_type)) {
            let found = self.manifest(&Reference::Digest(*digest)).await?;
            return Ok(found.map(|manifest| Blob::bytes(*digest, manifest.body)));
        }
        let proven = link.as_ref().is_some_and(|link| link.right.is_proven());
        // A fill of ours that is just about to end records the right as the last thing: it is joined.
        let ours = self.registry.fills().is_for(digest, &self.source(None).key());
        if !proven && !ours && self.store().blob(digest).await?.is_some() {
            // A fill may have ended since the look at the link; else the bytes came for another repository, and this one's
            // upstream says whether it has them too.
            link = self.link(digest).await?;
            if !link.as_ref().is_some_and(|link| link.right.is_proven()) {
                self.unless_absent(digest, self.prove(digest)).await?;
                link = self.link(digest).await?;
            }
            if let Some(stored) = self.open(digest, link.as_ref()).await? {
                self.registry.quota().used(digest);
                return Ok(Found::mirrored(Blob::stored(*digest, stored), CacheStatus::Miss));
            }
        }
        let interest = range.map_or(Interest::Whole, Interest::Range);
        self.unless_absent(digest, self.fill(digest, link, interest)).await
    }

    /// Joins the fill of a blob that is not held, or begins it, and waits until its head can be answered.
    async fn fill(
        &self,
        digest: &Digest,
        link: Option<LinkRecord>,
        interest: Interest,
    ) -> Result<Found<Blob>, RegistryError> {
        let joint = self.join(digest, link, interest).await?;
        let status = joint.status;
        Ok(Found::mirrored(self.follow(joint).await?, status))
    }

    /// Joins the fill of a blob that is not held, or begins it. The right is proven first where it runs for others.
    pub(super) async fn join(
        &self,
        digest: &Digest,
        link: Option<LinkRecord>,
        interest: Interest,
    ) -> Result<Joint, RegistryError> {
        let source = self.source(link.as_ref().and_then(|link| link.size));
        let proven = link.is_some_and(|link| link.right.is_proven());
        let mut proof = if proven { Proof::Given } else { Proof::Pending };
        let (fill, attention, status) = loop {
            match self.registry.fills().join(digest, source.clone(), proof, interest) {
                Joined::Started(fill, attention) => break (fill, attention, CacheStatus::Miss),
                Joined::Running(fill, attention) => break (fill, attention, CacheStatus::Fill),
                Joined::MustProve => {
                    self.prove(digest).await?;
                    proof = Proof::Given;
                }
            }
        };
        Ok(Joint { fill, source, attention, status })
    }

    async fn follow(&self, joint: Joint) -> Result<Blob, RegistryError> {
        let Joint { fill, source, attention, .. } = joint;
        let progress = fill.ready(&source.key()).await?;
        if progress.state == State::Complete
            && let Some(stored) = self.store().blob(&fill.digest).await?
        {
            return Ok(Blob::stored(fill.digest, stored));
        }
        let direct = match progress.state {
            State::Unstorable => Some(Direct::open(&fill, &source).await?),
            _ => None,
        };
        let metrics = Arc::clone(self.registry.metrics());
        Ok(Blob::arriving(Arriving { fill, source, direct, attention, metrics }, progress))
    }

    /// Asks the upstream whether this repository has the digest, and writes the answer down. Returns the size, if it says it.
    pub(super) async fn prove(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let (mirror, asked) = (self.clone(), *digest);
        let key = (self.target(), digest.to_string());
        let work = move || async move {
            let size = mirror.remote.upstream.head_blob(&mirror.name, &asked).await?;
            mirror.record_proof(&asked).await;
            Ok(size)
        };
        let flight = self.registry.flights().blob_heads.run(key, work).await;
        let asked = flight.map_err(|interrupted| self.interrupted(interrupted)).and_then(|flight| flight.value);
        asked.map_err(|error| RegistryError::blob(&error, digest, &self.source(None).key()))
    }

    /// The size that a HEAD said is for its answer alone: what is recorded decides whether a file is whole.
    async fn record_proof(&self, digest: &Digest) {
        let right = self.source(None).right();
        let recorded = async {
            let known = self.link(digest).await?;
            let (media_type, size) = known.map_or_else(
                || (MediaType::known(MediaType::OCTET_STREAM), None),
                |link| {
                    // What a manifest claims of a size is no record of it.
                    (link.media_type, link.size.filter(|_| link.right.is_proven()))
                },
            );
            let link = LinkRecord { right, media_type, size };
            self.store().set_links(self.upstream(), &self.name, vec![(*digest, link)]).await?;
            Ok::<_, RegistryError>(())
        };
        if let Err(error) = recorded.await {
            tracing::warn!(%error, "a repository's right to a blob was not written down; it will be asked for again");
        }
    }

    pub(super) fn source(&self, expected_size: Option<u64>) -> Source {
        Source { upstream: Arc::clone(&self.remote.upstream), repository: self.name.clone(), expected_size }
    }

    /// A question to the upstream that ended without an answer: the server is being stopped.
    pub(super) fn interrupted(&self, interrupted: Interrupted) -> UpstreamError {
        UpstreamError::Protocol { host: self.upstream().to_string(), reason: interrupted.to_string() }
    }
}

/// Is it a type that is fetched as a manifest?
pub(super) fn is_manifest(media_type: &MediaType) -> bool {
    media_type.is_index()
        || [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST].contains(&media_type.as_str())
        || media_type.as_str() == MediaType::DOCKER_SCHEMA1_SIGNED
}
