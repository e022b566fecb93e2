//! A mirrored repository with its upstream.

use std::future::Future;
use std::sync::Arc;

use super::cached::CachedRepository;
use super::negative_cache::Asked;
use super::remote::Remote;
use super::unanswered::UpstreamQuestion;
use crate::fills::BlobSource;
use crate::oci::{Digest, HostName, Manifest, MirroredName, Reference, Target};
use crate::registry::answer::{CacheStatus, Found, HeldManifest};
use crate::registry::error::RegistryError;
use crate::state::{Flight, Interrupted};
use crate::store::{CacheStore, Right};
use crate::upstream::UpstreamError;

/// A mirrored repository: its stored content, and the upstream to ask for the rest.
#[derive(Clone)]
pub struct MirrorRepository {
    pub(in crate::registry) cached: CachedRepository,
    pub(super) remote: Arc<Remote>,
}

impl MirrorRepository {
    pub(in crate::registry) fn new(cached: CachedRepository, remote: Arc<Remote>) -> Self {
        Self { cached, remote }
    }

    pub(in crate::registry) fn target(&self) -> Target {
        self.cached.target()
    }

    pub(super) fn upstream(&self) -> &HostName {
        self.name().upstream()
    }

    pub(super) fn name(&self) -> &MirroredName {
        &self.cached.name
    }

    pub(super) fn store(&self) -> &CacheStore {
        &self.cached.context.store
    }

    /// Returns the source from which a fill fetches for this repository.
    pub(super) fn source(&self, expected_size: Option<u64>) -> BlobSource {
        BlobSource { upstream: Arc::clone(&self.remote.upstream), name: self.name().clone(), expected_size }
    }

    /// Returns the right to a digest that an answer 200 of the upstream gives.
    pub(super) fn right(&self) -> Right {
        self.source(None).right()
    }

    pub(super) fn blob_error(&self, error: &UpstreamError, digest: &Digest) -> RegistryError {
        RegistryError::blob(error, self.name(), digest)
    }

    pub(super) fn manifest_error(&self, error: &UpstreamError, reference: &Reference) -> RegistryError {
        RegistryError::manifest(error, self.name(), reference)
    }

    pub(super) fn tags_error(&self, error: &UpstreamError) -> RegistryError {
        RegistryError::tags(error, self.name())
    }

    /// Returns the error of a question that ended without an answer, because the server is stopping.
    pub(super) fn interrupted(&self, interrupted: Interrupted) -> UpstreamError {
        UpstreamError::Protocol { host: self.upstream().as_str().into(), reason: interrupted.to_string() }
    }

    /// Returns the answer to a question, and whether this request asked it or joined it.
    pub(super) fn landed<T>(
        &self,
        flight: Result<Flight<Result<T, UpstreamError>>, Interrupted>,
    ) -> (Result<T, UpstreamError>, CacheStatus) {
        match flight {
            Ok(flight) => (flight.value, CacheStatus::asked(flight.joined)),
            Err(interrupted) => (Err(self.interrupted(interrupted)), CacheStatus::Miss),
        }
    }

    /// Returns the question to the upstream for some content of this repository.
    pub(super) fn question(&self, asked: Asked) -> UpstreamQuestion {
        UpstreamQuestion { repository: self.name().repository().clone(), asked }
    }

    /// Notes that the upstream answered a question.
    pub(super) fn note_answer(&self, asked: Asked) {
        self.remote.answered(&self.question(asked));
    }

    /// Notes that the upstream answered a question. `stale` is the warning of an upstream that is a mirror and served an old
    /// copy.
    pub(super) fn note_freshness(&self, asked: Asked, stale: Option<&str>) {
        let question = self.question(asked);
        self.remote.answered(&question);
        if let Some(warning) = stale {
            self.remote.warned(&question, warning);
        }
    }

    /// Adds the warning of an upstream that is a mirror and served an old copy.
    pub(super) fn relayed<T>(&self, found: Found<T>, asked: Asked) -> Found<T> {
        match self.remote.upstream_warning(&self.question(asked)) {
            Some(warning) => Found { cache: Some(CacheStatus::Stale), warning: Some(warning), ..found },
            None => found,
        }
    }

    /// Returns the time of the last confirmation of what the upstream has just answered, in seconds since 1970. An old copy
    /// confirms nothing, so that the next request asks again.
    pub(super) fn confirmed_at(&self, asked: Asked) -> u64 {
        let now = self.cached.context.machine.clock.unix_seconds();
        match self.remote.upstream_warning(&self.question(asked)) {
            Some(_) => now.saturating_sub(2 * self.remote.tag_ttl.as_secs() + 1),
            None => now,
        }
    }

    /// Returns true if the upstream has said lately that this content is absent.
    pub(super) async fn is_absent(&self, asked: Asked) -> bool {
        self.cached.context.negative.is_absent(self.name().clone(), asked, self.remote.negative_ttl).await
    }

    /// Notes the absence if the upstream answered 404.
    pub(super) async fn note_absence<T>(&self, asked: Asked, answer: &Result<T, UpstreamError>) {
        if matches!(answer, Err(UpstreamError::NotFound)) {
            self.cached.context.negative.note_absent(self.name().clone(), asked).await;
        }
    }

    /// Returns true if this list was asked for lately and not kept.
    pub(super) async fn is_unkept(&self, asked: Asked) -> bool {
        self.cached.context.negative.is_unkept(self.name().clone(), asked, self.remote.tag_ttl).await
    }

    pub(super) async fn note_unkept(&self, asked: Asked) {
        self.cached.context.negative.note_unkept(self.name().clone(), asked).await;
    }

    /// Awaits an answer about a blob, unless the upstream has said lately that the blob is absent.
    pub(super) async fn unless_absent<T>(
        &self,
        digest: &Digest,
        answer: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        if self.is_absent(Asked::Blob(*digest)).await {
            return Err(self.blob_error(&UpstreamError::NotFound, digest).remembered());
        }
        let answer = answer.await;
        if matches!(answer, Err(RegistryError::BlobUnknown { .. })) {
            self.note_absence::<()>(Asked::Blob(*digest), &Err(UpstreamError::NotFound)).await;
        }
        answer
    }

    /// Notes that a manifest has arrived: neither it nor the content that it names is absent.
    pub(super) async fn note_manifest(&self, held: &HeldManifest, manifest: &Manifest) {
        let named = manifest.named().map(|descriptor| descriptor.digest);
        for digest in named.chain([held.info.digest]) {
            self.note_present(digest).await;
        }
    }

    /// Notes that the upstream has this digest.
    pub(super) async fn note_present(&self, digest: Digest) {
        self.cached.forget_absence(Asked::Blob(digest)).await;
        self.cached.forget_absence(Asked::Manifest(Reference::Digest(digest))).await;
    }
}

/// Returns true if an error states a fact about the content, so that it is an answer.
pub(super) fn is_answer(error: &UpstreamError) -> bool {
    error.is_answer()
}
