//! What upstreams have said they do not have, believed for `negativettl`; and what else is remembered for a while.
//!
//! Only a 404 is an absence: an error or a refusal says nothing of what is there.

use std::future::Future;

use super::Mirror;
use super::kept::Kept;
use crate::oci::{Digest, Manifest, Reference, Tag, Target};
use crate::registry::{HeldManifest, RegistryError};
use crate::state::Notes;
use crate::sys::Clock;
use crate::upstream::UpstreamError;

/// As many notes of each kind are kept.
const MOST: u64 = 10_000;

/// What is remembered of upstreams in memory alone.
pub(in crate::registry) struct Memory {
    /// It is not there.
    absent: Notes<(Target, Asked)>,
    /// Lists that were asked for and not kept: too large, or of no use without the upstream.
    unkept: Notes<(Target, Asked)>,
    /// Tags that have changed, and whose new content is fetched later.
    pub(super) spared: Notes<(Target, Tag)>,
}

/// What an upstream was asked for in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    Manifest(Reference),
    Blob(Digest),
    Tags,
    /// The list of what refers to this.
    Referrers(Digest),
}

impl Memory {
    pub(in crate::registry) fn new(clock: &Clock) -> Self {
        let (absent, unkept) = (Notes::new(MOST, clock.clone()), Notes::new(MOST, clock.clone()));
        Self { absent, unkept, spared: Notes::new(MOST, clock.clone()) }
    }
}

impl Kept {
    /// It is there, or shall be asked for anew.
    pub(super) async fn forget_absence(&self, asked: Asked) {
        self.registry.memory().absent.forget(&(self.target(), asked)).await;
    }

    /// What is evicted is asked for anew.
    pub(super) async fn forget_notes(&self, asked: Asked) {
        self.registry.memory().unkept.forget(&(self.target(), asked.clone())).await;
        self.forget_absence(asked).await;
    }
}

impl Mirror {
    /// Has the upstream said lately that this is not there?
    pub(super) async fn is_absent(&self, asked: Asked) -> bool {
        self.registry.memory().absent.holds(&(self.target(), asked), self.remote.negative_ttl).await
    }

    /// Takes note if an upstream's answer says that there is none.
    pub(super) async fn note_absence<T>(&self, asked: Asked, answer: &Result<T, UpstreamError>) {
        if matches!(answer, Err(UpstreamError::NotFound)) {
            self.registry.memory().absent.note((self.target(), asked)).await;
        }
    }

    /// Was this list asked for lately, and not kept?
    pub(super) async fn is_unkept(&self, asked: Asked) -> bool {
        self.registry.memory().unkept.holds(&(self.target(), asked), self.remote.tag_ttl).await
    }

    pub(super) async fn note_unkept(&self, asked: Asked) {
        self.registry.memory().unkept.note((self.target(), asked)).await;
    }

    /// A blob, unless the upstream has said lately that there is none.
    pub(super) async fn unless_absent<T>(
        &self,
        digest: &Digest,
        answer: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        if self.is_absent(Asked::Blob(*digest)).await {
            return Err(RegistryError::blob(&UpstreamError::NotFound, digest, &self.source(None).key()).remembered());
        }
        let answer = answer.await;
        if matches!(answer, Err(RegistryError::BlobUnknown { .. })) {
            self.note_absence::<()>(Asked::Blob(*digest), &Err(UpstreamError::NotFound)).await;
        }
        answer
    }

    /// A manifest has come: it and what it names are there, whatever was said before.
    pub(super) async fn manifest_is_there(&self, held: &HeldManifest, manifest: &Manifest) {
        let named = manifest.named().map(|descriptor| descriptor.digest);
        for digest in named.chain([held.info.digest]) {
            self.digest_is_there(digest).await;
        }
    }

    pub(super) async fn digest_is_there(&self, digest: Digest) {
        self.forget_absence(Asked::Blob(digest)).await;
        self.forget_absence(Asked::Manifest(Reference::Digest(digest))).await;
    }

    /// The upstream lists these tags, which are in byte order: they are there.
    pub(super) async fn tags_are_there(&self, tags: &[String]) {
        let target = self.target();
        let is_listed = |tag: &Tag| tags.binary_search_by(|listed| listed.as_str().cmp(tag.as_str())).is_ok();
        let meant = |(of, asked): &(Target, Asked)| {
            *of == target && matches!(asked, Asked::Manifest(Reference::Tag(tag)) if is_listed(tag))
        };
        self.registry.memory().absent.forget_where(meant).await;
    }
}
