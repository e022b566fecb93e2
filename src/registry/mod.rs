//! What a repository is: hosted or mirrored; freshness, deletion, garbage.
//!
//! Floor 6. May import floors 0–5 except `auth`. Knows no HTTP: no status code, no header, no route stands here. In reading
//! order: whose name it is (`naming`), what is answered (`answer`, `blob`, `error`), the two kinds of repository
//! (`hosted`, `mirror`), how the storage does (`health`), what operators
//! see (`report`), what is here and what it takes (`contents`, `usage`), and how all of it is put together (`open`).

mod answer;
mod blob;
mod contents;
mod error;
mod health;
mod hosted;
mod mirror;
mod naming;
mod open;
mod report;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

pub use answer::{CacheStatus, Found, HeldManifest, ManifestInfo, Page, PageRequest};
pub use blob::{Blob, Reader};
pub use contents::{Holding, Part, RepositoryReport, TagReport};
pub use error::{RegistryError, UpstreamFailure};
pub use hosted::condition::{Condition, Content};
pub use hosted::missing::Missing;
pub use hosted::upload::Upload;
pub use hosted::{Hosted, ManifestPush, PutManifest};
pub use mirror::Mirror;
pub use mirror::warm::{Presence, WarmEvent, WarmImage, WarmStep, Warmed};
pub use naming::Naming;
pub use open::{Machine, OpenError, examine_files, examine_upstreams, hidden_by};
pub use report::{BudgetReport, CircuitState, EndpointReport, UpstreamReport};
pub use usage::{Removed, RepositoryUsage, Unlinked, UsageReport, UsageStep};

pub use crate::cache::CacheUsage;
pub use crate::fills::FillReport;
pub use crate::store::{Amount, Piece, ReadError, UploadId};

use crate::cache::Quota;
use crate::config::{Delete, Prefetch, Sparse};
use crate::fills::Fills;
use crate::metrics::Metrics;
use crate::oci::{
    Algorithm, ByteRange, Digest, HostName, Reference, Referrers, ReferrersPage, ReferrersQuery, RepositoryName, Target,
};
use crate::state::SingleFlight;
use crate::store::{LinkRecord, Store, StoreError};
use crate::sys::{Clock, Tasks};
use crate::upstream::{ManifestHead, UpstreamError};
use health::Health;
use mirror::absences::Memory;
use mirror::freshness::Refreshed;
use mirror::kept::Kept;
use mirror::lists::Tags;
use mirror::remote::Remote;
use mirror::warm::Warming;

/// The registry: everything that is held here or can be asked for.
pub struct Registry {
    settings: Settings,
    naming: Naming,
    store: Store,
    remotes: HashMap<HostName, Arc<Remote>>,
    quota: Arc<Quota>,
    fills: Arc<Fills>,
    flights: Flights,
    memory: Memory,
    health: Health,
    warming: Warming,
    /// Told when something may be here and no repository seems to hold it.
    reindex: Notify,
    /// Whoever reads all directories takes turns. An async lock: held while they are read.
    walking: tokio::sync::Mutex<()>,
    machine: Machine,
}

/// What the configuration decides about repositories.
struct Settings {
    delete: Delete,
    sparse: Sparse,
    upload_age: Option<std::time::Duration>,
    partial_age: std::time::Duration,
    prefetch: Vec<Prefetch>,
}

/// Questions to upstreams that are under way, by repository and reference.
struct Flights {
    heads: SingleFlight<(Target, String), Result<ManifestHead, UpstreamError>>,
    refreshes: SingleFlight<(Target, String), Refreshed>,
    manifests: SingleFlight<(Target, String), Result<HeldManifest, RegistryError>>,
    blob_heads: SingleFlight<(Target, String), Result<Option<u64>, UpstreamError>>,
    tags: SingleFlight<Target, Result<Tags, UpstreamError>>,
    referrers: SingleFlight<(Target, Digest), Result<Arc<Referrers>, UpstreamError>>,
}

/// A repository of either kind: what both answer. What only one can do stands on [`Hosted`].
pub enum Repository {
    Hosted(Hosted),
    Mirror(Mirror),
}

impl Registry {
    /// Whose name is it (PRODUCT.md): decided once, here. `ns` is the value of `?ns=`.
    pub fn resolve(&self, ns: Option<&str>, name: &RepositoryName) -> Result<Target, RegistryError> {
        self.naming.resolve(ns, name)
    }

    /// The rules by which names become targets.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// The repository that a target names. It need not exist.
    pub fn repository(self: &Arc<Self>, target: Target) -> Result<Repository, RegistryError> {
        match target {
            Target::Hosted(name) => Ok(Repository::Hosted(Hosted::new(Arc::clone(self), name))),
            Target::Mirror(upstream, name) => {
                let remote = self.remotes.get(&upstream).cloned();
                let remote =
                    remote.ok_or_else(|| RegistryError::NameUnknown(format!("{upstream} is not mirrored here")))?;
                Ok(Repository::Mirror(Mirror::new(Kept::new(Arc::clone(self), upstream, name), remote)))
            }
        }
    }

    /// The repository to push to; refused for a mirrored name, with the patterns that are local.
    pub fn hosted(self: &Arc<Self>, target: Target) -> Result<Hosted, RegistryError> {
        match target {
            Target::Hosted(name) => Ok(Hosted::new(Arc::clone(self), name)),
            mirrored => {
                Err(RegistryError::NotLocal { repository: mirrored.to_string(), patterns: self.naming.patterns() })
            }
        }
    }

    /// Names of repositories, hosted and mirrored in their canonical spelling, in byte order.
    pub async fn catalog(&self, page: &PageRequest) -> Result<Page, RegistryError> {
        let (after, most) = (page.last.as_deref(), page.most());
        let hosted = self.store.hosted.repositories(after, most).await?;
        let mirrored = self.store.cache.names(after, most).await?;
        let mut entries = [hosted.entries, mirrored.entries].concat();
        entries.sort_unstable();
        entries.dedup();
        let more = hosted.more || mirrored.more || entries.len() > most;
        entries.truncate(most);
        Ok(Page { entries, more })
    }

    /// Is the storage healthy (`health.storagedriver`)? The reason, if not. Never blocks.
    pub fn health(&self) -> Result<(), String> {
        self.health.verdict()
    }

    /// The repositories that may hold a blob: whoever takes it out of one sees whether it is so.
    async fn holders(&self, digest: &Digest) -> Result<impl Iterator<Item = Target> + use<>, RegistryError> {
        let hosted = self.store.hosted.holders(digest).await?.map(Target::Hosted);
        let mirrored = self.store.cache.holders(digest).await?;
        Ok(hosted.chain(mirrored.map(|(upstream, name)| Target::Mirror(upstream, name))))
    }

    /// Is this content surely not here, whoever may have it?
    async fn is_nowhere(&self, digest: &Digest) -> Result<bool, RegistryError> {
        // What was pushed lies under its sha256 alone: only for that can one look tell.
        Ok(digest.algorithm() == Algorithm::Sha256
            && !self.store.hosted.has_content(digest).await?
            && self.store.cache.blob(digest).await?.is_none())
    }

    /// Copies a mirrored repository's blob into the private root, if it is held and the repository may serve it. Returns the
    /// digest that its bytes lie under.
    async fn adopt(
        &self,
        upstream: &HostName,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, RegistryError> {
        let Some(link) = self.store.cache.link(upstream, name, digest).await? else { return Ok(None) };
        if !self.may_serve(digest, &link).await? {
            return Ok(None);
        }
        match self.store.hosted.adopt(&self.store.cache, digest).await {
            Err(StoreError::Mismatch { expected, found }) => {
                tracing::error!(%expected, %found, "a cached blob is damaged; it is dropped, and the client pushes its own");
                self.drop_damaged(digest).await?;
                Ok(None)
            }
            adopted => Ok(adopted?),
        }
    }

    /// Has a mirrored repository the right to serve what its link names, as far as is known here?
    async fn may_serve(&self, digest: &Digest, link: &LinkRecord) -> Result<bool, RegistryError> {
        if link.right.is_proven() {
            return Ok(true);
        }
        match self.quota.is_public(digest) {
            Some(public) => Ok(public),
            // Not indexed yet: the directories tell.
            None => Ok(self.store.cache.is_public(digest).await?),
        }
    }

    /// Removes a cached file that is not what it should be; it is fetched again when it is asked for.
    async fn drop_damaged(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.machine.metrics.damaged_blobs.inc();
        self.store.cache.remove(digest).await?;
        self.quota.removed(digest);
        Ok(())
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    fn fills(&self) -> &Arc<Fills> {
        &self.fills
    }

    fn flights(&self) -> &Flights {
        &self.flights
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn walking(&self) -> &tokio::sync::Mutex<()> {
        &self.walking
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.machine.metrics
    }

    fn clock(&self) -> &Clock {
        &self.machine.clock
    }

    fn tasks(&self) -> &Tasks {
        &self.machine.tasks
    }

    fn deletion_allowed(&self) -> Result<(), RegistryError> {
        match self.settings.delete {
            Delete::Allowed => Ok(()),
            Delete::Refused => Err(RegistryError::DeleteDisabled),
        }
    }
}

impl Repository {
    /// What a HEAD of a manifest tells. Of a mirrored one that is not held nothing is downloaded.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Found<ManifestInfo>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.manifest(reference).await?.info)),
            Self::Mirror(mirror) => mirror.head_manifest(reference).await,
        }
    }

    /// A manifest, whole.
    pub async fn manifest(&self, reference: &Reference) -> Result<Found<HeldManifest>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.manifest(reference).await?)),
            Self::Mirror(mirror) => mirror.manifest(reference).await,
        }
    }

    /// A blob's size, where it is known. Downloads nothing.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Found<Option<u64>>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.blob(digest).await?.size())),
            Self::Mirror(mirror) => mirror.head_blob(digest).await,
        }
    }

    /// A blob: stored, or arriving; a `range` that is wanted of it comes before the rest.
    pub async fn blob(&self, digest: &Digest, range: Option<ByteRange>) -> Result<Found<Blob>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.blob(digest).await?)),
            Self::Mirror(mirror) => mirror.blob(digest, range).await,
        }
    }

    /// Its tags, in byte order.
    pub async fn tags(&self, page: &PageRequest) -> Result<Found<Page>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.tags(page).await?)),
            Self::Mirror(mirror) => mirror.tags(page).await,
        }
    }

    /// What refers to a manifest, be that held or not.
    pub async fn referrers(&self, asked: &ReferrersQuery) -> Result<Found<ReferrersPage>, RegistryError> {
        match self {
            Self::Hosted(hosted) => Ok(Found::hosted(hosted.referrers(asked).await?)),
            Self::Mirror(mirror) => {
                let found = mirror.referrers(&asked.subject).await?;
                Ok(found.map(|all| Arc::unwrap_or_clone(all).cut(asked)))
            }
        }
    }

    /// Removes a tag, or a manifest and its tags, if the condition holds; of a mirrored repository it evicts, which takes nothing
    /// away and so depends on nothing. Refused unless `storage.delete.enabled`.
    pub async fn delete_manifest(&self, reference: &Reference, condition: &Condition) -> Result<(), RegistryError> {
        self.registry().deletion_allowed()?;
        match self {
            Self::Hosted(hosted) => hosted.delete_manifest(reference, condition).await,
            Self::Mirror(mirror) => mirror.evict_manifest(reference).await,
        }
    }

    /// Takes a blob out of the repository; of a mirrored one it evicts. Refused unless `storage.delete.enabled`.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.registry().deletion_allowed()?;
        match self {
            Self::Hosted(hosted) => hosted.delete_blob(digest).await,
            Self::Mirror(mirror) => mirror.evict_blob(digest).await,
        }
    }

    fn registry(&self) -> &Registry {
        match self {
            Self::Hosted(hosted) => hosted.registry(),
            Self::Mirror(mirror) => mirror.registry(),
        }
    }
}
