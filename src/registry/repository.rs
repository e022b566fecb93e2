//! A repository of any kind, as requests see it.

use std::sync::Arc;

use super::answer::{Found, HeldManifest, ManifestInfo, PageRequest, RemovedTag};
use super::blob::Blob;
use super::error::RegistryError;
use super::hosted::{Condition, HostedRepository};
use super::mirror::{Asked, CachedRepository, MirrorRepository};
use crate::oci::{ByteRange, Digest, Reference, ReferrersPage, ReferrersQuery, Target};
use crate::store::{Page, StoredBlob};

/// A repository. It need not exist.
pub enum Repository {
    /// Clients push to it.
    Hosted(HostedRepository),
    /// It is a copy of an upstream's repository.
    Mirror(MirrorRepository),
    /// Its upstream is not configured any more, but the cache still has content of it. That content can be listed and
    /// evicted, but not pulled.
    Unconfigured(CachedRepository),
}

impl Repository {
    /// Returns the canonical name.
    pub fn target(&self) -> Target {
        match self {
            Self::Hosted(hosted) => hosted.target(),
            Self::Mirror(mirror) => mirror.target(),
            Self::Unconfigured(cached) => cached.target(),
        }
    }

    /// Returns the facts that the answer to a HEAD of a manifest states. Downloads nothing from an upstream.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Found<ManifestInfo>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.manifest(reference).await?.info)),
            Self::Mirror(mirror) => {
                let found =
                    mirror.for_client(Asked::Manifest(reference.clone()), mirror.head_manifest(reference)).await?;
                // Clients ask for a tag with HEAD and then read by digest. A HEAD of a digest reads nothing.
                if matches!(reference, Reference::Tag(_)) {
                    mirror.note_pull(reference);
                }
                Ok(found)
            }
            Self::Unconfigured(cached) => Err(not_mirrored(cached)),
        }
    }

    /// Returns a whole manifest.
    pub async fn manifest(&self, reference: &Reference) -> Result<Found<HeldManifest>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.manifest(reference).await?)),
            Self::Mirror(mirror) => {
                let found = mirror.for_client(Asked::Manifest(reference.clone()), mirror.manifest(reference)).await?;
                mirror.note_pull(reference);
                Ok(found)
            }
            Self::Unconfigured(cached) => Err(not_mirrored(cached)),
        }
    }

    /// Returns the size of a blob, where it is known. Downloads nothing.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Found<Option<u64>>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.blob(digest).await?.size())),
            Self::Mirror(mirror) => mirror.for_client(Asked::Blob(*digest), mirror.head_blob(digest)).await,
            Self::Unconfigured(cached) => Err(not_mirrored(cached)),
        }
    }

    /// Returns a blob: stored, or arriving. `range` is the part that the client wants first.
    pub async fn blob(&self, digest: &Digest, range: Option<ByteRange>) -> Result<Found<Blob>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.blob(digest).await?)),
            Self::Mirror(mirror) => mirror.for_client(Asked::Blob(*digest), mirror.blob(digest, range)).await,
            Self::Unconfigured(cached) => Err(not_mirrored(cached)),
        }
    }

    /// Returns a page of the tags, in byte order.
    pub async fn tags(&self, page: &PageRequest) -> Result<Found<Page<String>>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.tags(page).await?)),
            Self::Mirror(mirror) => mirror.for_client(Asked::Tags, mirror.tags(page)).await,
            Self::Unconfigured(cached) => Err(not_mirrored(cached)),
        }
    }

    /// Returns the manifests that refer to a manifest. The manifest itself need not be here.
    pub async fn referrers(&self, query: &ReferrersQuery) -> Result<Found<ReferrersPage>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.referrers(query).await?)),
            Self::Mirror(mirror) => {
                let found =
                    mirror.for_client(Asked::Referrers(query.subject), mirror.referrers(&query.subject)).await?;
                Ok(found.map(|all| Arc::unwrap_or_clone(all).cut(query)))
            }
            Self::Unconfigured(cached) => Err(not_mirrored(cached)),
        }
    }

    /// Removes a tag, or a manifest with its tags, if the condition holds. Returns the removed tags. In a mirrored repository this
    /// evicts, which loses nothing, so the condition does not apply. Refused unless `storage.delete.enabled`.
    pub async fn delete_manifest(
        &self,
        reference: &Reference,
        condition: &Condition,
    ) -> Result<Vec<RemovedTag>, RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.delete_manifest(reference, condition).await,
            Self::Mirror(MirrorRepository { cached, .. }) | Self::Unconfigured(cached) => {
                cached.evict_manifest(reference).await
            }
        }
    }

    /// Removes a blob from the repository. In a mirrored repository this evicts. Refused unless `storage.delete.enabled`.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.delete_blob(digest).await,
            Self::Mirror(MirrorRepository { cached, .. }) | Self::Unconfigured(cached) => {
                cached.evict_blob(digest).await
            }
        }
    }

    /// Returns a manifest that is stored here. Asks no upstream and does not count as a use.
    pub(super) async fn stored_manifest(&self, digest: &Digest) -> Result<Option<HeldManifest>, RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.stored_manifest(digest).await,
            Self::Mirror(MirrorRepository { cached, .. }) | Self::Unconfigured(cached) => {
                cached.stored_manifest(digest).await
            }
        }
    }

    /// Returns true if this manifest belongs to a hosted repository, but its bytes are damaged or gone. A cached manifest may be
    /// absent at any time.
    pub(super) async fn has_lost(&self, digest: &Digest) -> Result<bool, RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.is_damaged(digest).await,
            Self::Mirror(_) | Self::Unconfigured(_) => Ok(false),
        }
    }

    /// Returns a blob that is stored here. Asks no upstream and does not count as a use.
    pub(super) async fn stored_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.stored_blob(digest).await,
            Self::Mirror(MirrorRepository { cached, .. }) | Self::Unconfigured(cached) => {
                cached.stored_blob(digest).await
            }
        }
    }
}

fn not_mirrored(cached: &CachedRepository) -> RegistryError {
    RegistryError::NameUnknown(format!("{} is not mirrored here", cached.upstream()))
}
