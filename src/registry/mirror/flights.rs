//! The running questions to upstreams. Each question is asked once for all requests that wait for the answer.

use std::sync::Arc;

use crate::oci::{Digest, MirroredName, Reference, Referrers, Tag};
use crate::registry::answer::HeldManifest;
use crate::registry::error::RegistryError;
use crate::state::{LateAnswers, SingleFlight};
use crate::sys::Machine;
use crate::upstream::{ManifestHead, UpstreamError};

/// Holds the running questions. A key names the repository and the content that is asked for.
pub struct Flights {
    pub manifest_heads: SingleFlight<(MirroredName, Reference), Result<ManifestHead, UpstreamError>>,
    pub refreshes: SingleFlight<(MirroredName, Tag), Refreshed>,
    pub manifests: SingleFlight<(MirroredName, Reference), Result<HeldManifest, RegistryError>>,
    pub blob_heads: SingleFlight<(MirroredName, Digest), BlobHead>,
    pub blob_proofs: SingleFlight<(MirroredName, Digest), BlobHead>,
    /// The answers that came after their clients had left. They are kept nowhere else.
    pub late_blob_heads: Arc<LateAnswers<(MirroredName, Digest), BlobHead>>,
    pub tags: SingleFlight<MirroredName, Result<TagsAnswer, UpstreamError>>,
    pub referrers: SingleFlight<(MirroredName, Digest), Result<Arc<Referrers>, UpstreamError>>,
}

/// The answer to a question for a blob: its size, if the upstream states it.
pub type BlobHead = Result<Option<u64>, UpstreamError>;

/// The result of a question about a tag that is cached.
#[derive(Clone)]
pub enum Refreshed {
    Unchanged,
    Changed(HeldManifest),
    /// The tag has changed. Its new content is fetched once the upstream allows more pulls.
    Postponed,
    /// The upstream is a mirror and served an old copy, which names the same manifest.
    Unconfirmed,
    /// The upstream does not have the tag any more, or refuses it.
    Refused(RegistryError),
    /// The tag may have changed, but its content could not be fetched.
    Unfetched(RegistryError),
    Failed(UpstreamError),
}

/// The result of a question for all tags of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagsAnswer {
    /// The list is on disk now.
    Kept,
    /// The list is too large, or the disk has no space for it. The upstream answers single pages.
    Unkept,
}

impl Flights {
    pub fn new(machine: &Machine) -> Self {
        let tasks = &machine.tasks;
        Self {
            late_blob_heads: Arc::new(LateAnswers::new(machine.clock.clone())),
            manifest_heads: SingleFlight::new(tasks.clone()),
            refreshes: SingleFlight::new(tasks.clone()),
            manifests: SingleFlight::new(tasks.clone()),
            blob_heads: SingleFlight::new(tasks.clone()),
            blob_proofs: SingleFlight::new(tasks.clone()),
            tags: SingleFlight::new(tasks.clone()),
            referrers: SingleFlight::new(tasks.clone()),
        }
    }
}
