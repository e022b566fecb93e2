//! Hosted and mirrored repositories, the rules for their names, and the jobs that run in the background.
//!
//! Floor 6. Knows no HTTP: status codes, headers and routes belong to `web`. In reading order: the values and errors of
//! answers (`answer`, `missing`, `error`), the rules that turn a name into a target (`naming`), a blob to read (`blob`), the
//! two kinds of repository (`hosted`, `mirror`) and their union (`repository`), the content of the whole store
//! (`inventory`), the health of the storage (`health`), and the [`Registry`] that holds all of this. Two parts use the
//! [`Registry`] as a whole: its creation from a configuration (`open`), and the background jobs (`jobs`).

mod answer;
mod missing;
mod error;
mod naming;
mod blob;
mod hosted;
mod mirror;
mod repository;
mod mirrors;
mod inventory;
mod health;
mod open;
mod jobs;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, mpsc};

pub use crate::fills::{FillReport, Phase};
pub use crate::store::{Amount, BadEntry, Page, Piece, ReadError, UploadId};
pub use crate::upstream::{BudgetReport, CircuitState, EndpointReport};
pub use answer::{CacheStatus, Found, HeldManifest, ManifestInfo, PageRequest, RemovedTag};
pub use blob::{Blob, Reader};
pub use error::{RegistryError, UpstreamFailure};
pub use health::{DiskSpace, FULL_DISK};
pub use hosted::{BlobUpload, Condition, Content, HostedRepository, ManifestPush, PutManifest, SingleRequestUpload};
pub use inventory::{
    Removed, RepositoryReport, RepositoryUsage, TagReport, Unlinked, UpstreamReport, UsageReport, UsageStep,
};
pub use jobs::{Presence, WarmEvent, WarmImage, WarmStep, Warmed, start_jobs, warm};
pub use missing::Missing;
pub use naming::Naming;
pub use open::{OpenError, examine_files, examine_upstreams, hidden_by, open, reload};
pub use repository::Repository;

use crate::metrics::Metrics;
use crate::oci::{Algorithm, Digest, ImageRepository, MirroredName, RepositoryName, Target};
use crate::outbound::LinkGovernor;
use crate::store::{Store, StoreError};
use crate::sys::Machine;
use health::StorageHealth;
use inventory::Inventory;
use mirror::{CachedRepository, MirrorRepository};
use mirrors::Mirrors;

/// The registry: all repositories that are stored here or that an upstream can be asked for.
pub struct Registry {
    /// The upstreams and the rules for names, which a reload replaces.
    mirrors: ArcSwap<Mirrors>,
    store: Store,
    hosted: Arc<hosted::HostedContext>,
    mirror: Arc<mirror::MirrorContext>,
    /// The limits of the link, if there are any.
    link: Option<Arc<LinkGovernor>>,
    inventory: Arc<Inventory>,
    health: StorageHealth,
    /// Limits the blobs that warming fetches at once.
    warm_fetches: Semaphore,
    /// Notified when a mount found no repository that has the blob: another process may have pushed it.
    reindex: Notify,
    machine: Machine,
    metrics: Arc<Metrics>,
}

impl Registry {
    /// Returns the repository that a request for `name` means (docs/reference/naming.md). `ns` is the value of `?ns=`.
    pub fn resolve(&self, ns: Option<&str>, name: &RepositoryName) -> Result<Target, RegistryError> {
        self.mirrors.load().naming.resolve(ns, name)
    }

    /// Returns the rules by which names become targets.
    pub fn naming(&self) -> Arc<Naming> {
        Arc::clone(&self.mirrors.load().naming)
    }

    /// Returns the repository that a target names. It need not exist.
    pub fn repository(&self, target: Target) -> Repository {
        match target {
            Target::Hosted(name) => Repository::Hosted(HostedRepository::new(Arc::clone(&self.hosted), name)),
            Target::Mirror(name) => {
                let remote = self.mirrors.load().remotes.get(name.upstream()).cloned();
                let cached = CachedRepository::new(Arc::clone(&self.mirror), name);
                match remote {
                    Some(remote) => Repository::Mirror(MirrorRepository::new(cached, remote)),
                    None => Repository::Unconfigured(cached),
                }
            }
        }
    }

    /// Returns the repository to push to. Refuses a mirrored name, with the patterns of local names.
    pub fn hosted(&self, target: Target) -> Result<HostedRepository, RegistryError> {
        match target {
            Target::Hosted(name) => Ok(HostedRepository::new(Arc::clone(&self.hosted), name)),
            mirrored => {
                Err(RegistryError::NotLocal { repository: mirrored.to_string(), patterns: self.naming().patterns() })
            }
        }
    }

    /// Returns a page of repository names, hosted and mirrored in their canonical spelling, in byte order.
    pub async fn catalog(&self, page: &PageRequest) -> Result<Page<String>, RegistryError> {
        let (last, limit) = (page.last.as_deref(), page.most());
        let hosted = self.store.hosted.repositories(last, limit).await?;
        let mirrored = self.store.cache.names(last, limit).await?;
        let mut entries = [hosted.entries, mirrored.entries].concat();
        entries.sort_unstable();
        entries.dedup();
        let more = hosted.more || mirrored.more || entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, more })
    }

    /// Links a blob of another repository into a hosted one: from `from` if that has it, else from any repository that has it
    /// and that `may_pull` allows. Returns false if no such repository was found, so the client must upload the blob.
    pub async fn mount(
        &self,
        into: &HostedRepository,
        digest: &Digest,
        from: Option<&Target>,
        may_pull: &(dyn Fn(&Target) -> bool + Sync),
    ) -> Result<bool, RegistryError> {
        if into.has_blob(digest).await? {
            return Ok(true);
        }
        self.mirror.fills.stored(digest).await;
        if let Some(from) = from.filter(|from| may_pull(from))
            && self.mount_from(into, digest, from).await?
        {
            return Ok(true);
        }
        if self.is_nowhere(digest).await? {
            return Ok(false);
        }
        for candidate in self.holders(digest).await? {
            if Some(&candidate) == from || !may_pull(&candidate) {
                continue;
            }
            match self.mount_from(into, digest, &candidate).await {
                Ok(true) => return Ok(true),
                // Another repository may have the blob.
                Ok(false) | Err(RegistryError::BadEntry(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.reindex.notify_one();
        Ok(false)
    }

    async fn mount_from(&self, into: &HostedRepository, digest: &Digest, from: &Target) -> Result<bool, RegistryError> {
        match from {
            Target::Hosted(other) => into.mount_hosted(other, digest).await,
            // A copy out of the cache may take long, so it is made before any lock is taken.
            Target::Mirror(name) => match self.adopt(name, digest).await? {
                Some(content) => into.mount_adopted(digest, content).await,
                None => Ok(false),
            },
        }
    }

    /// Returns the repositories that may have a blob. The mount itself finds out whether they do.
    async fn holders(&self, digest: &Digest) -> Result<impl Iterator<Item = Target> + use<>, RegistryError> {
        let hosted = self.store.hosted.holders(digest).await?.map(Target::Hosted);
        let mirrored = self.store.cache.holders(digest).await?;
        Ok(hosted.chain(mirrored.map(Target::Mirror)))
    }

    /// Returns true if no repository holds this content. Only a sha256 can tell, because pushed content lies under its sha256.
    async fn is_nowhere(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(digest.algorithm() == Algorithm::Sha256
            && !self.store.hosted.has_content(digest).await?
            && self.store.cache.blob(digest).await?.is_none())
    }

    /// Copies a cached blob into the private root, if the mirrored repository may serve it. Returns the digest under which the
    /// bytes lie there.
    async fn adopt(&self, name: &MirroredName, digest: &Digest) -> Result<Option<Digest>, RegistryError> {
        let Some(link) = self.store.cache.link(name, digest).await? else { return Ok(None) };
        if !self.mirror.may_serve(digest, &link).await? {
            return Ok(None);
        }
        match self.store.hosted.adopt(&self.store.cache, digest).await {
            Err(StoreError::Mismatch { expected, found }) => {
                tracing::error!(%expected, %found, "a cached blob is damaged; it is removed, and the client pushes its own copy");
                self.mirror.drop_damaged(digest).await?;
                Ok(None)
            }
            adopted => Ok(adopted?),
        }
    }

    /// Returns a page of the repositories that hold anything and that `may_pull` allows, sorted by canonical name.
    pub async fn contents(
        &self,
        page: &PageRequest,
        may_pull: &(dyn Fn(&Target) -> bool + Sync),
    ) -> Result<Page<RepositoryReport>, RegistryError> {
        self.inventory.repositories(page, may_pull).await
    }

    /// Returns the repository that a person means by an image name in `ls`, `rm` or `du`. If the name resolves to a repository
    /// that holds nothing, but the cache still has content under this name of an upstream that is not configured any more,
    /// that content is meant.
    pub async fn find(&self, image: &ImageRepository) -> Result<Target, RegistryError> {
        let resolved = self.naming().resolve_image(image);
        let Some(unconfigured) = self.unconfigured(image) else { return resolved };
        let is_taken = match &resolved {
            Ok(target) => self.inventory.has(target).await?,
            Err(_) => false,
        };
        if !is_taken && self.inventory.has(&unconfigured).await? { Ok(unconfigured) } else { resolved }
    }

    /// Reads an image name as a canonical name, if its upstream is not configured.
    fn unconfigured(&self, image: &ImageRepository) -> Option<Target> {
        let name = image.to_string().parse::<MirroredName>().ok()?;
        (!self.mirrors.load().remotes.contains_key(name.upstream())).then_some(Target::Mirror(name))
    }

    /// Removes all content of a repository; evicts that of a mirrored one. Refused unless `storage.delete.enabled`.
    pub async fn remove(&self, repository: &Repository) -> Result<Removed, RegistryError> {
        self.inventory.remove(repository).await
    }

    /// Returns the use of the disk in total.
    pub async fn usage(&self) -> Result<UsageReport, RegistryError> {
        self.mirror.fills.all_stored().await;
        self.inventory.usage().await
    }

    /// Returns the use of the disk by each repository that `may_pull` allows, line by line.
    pub async fn usage_by_repository(
        &self,
        may_pull: impl Fn(&Target) -> bool + Send + Sync + 'static,
    ) -> mpsc::Receiver<Result<UsageStep, RegistryError>> {
        self.mirror.fills.all_stored().await;
        self.inventory.usage_by_repository(may_pull)
    }

    /// Returns the use of the disk by one repository.
    pub async fn usage_of(&self, target: &Target) -> Result<RepositoryUsage, RegistryError> {
        self.mirror.fills.all_stored().await;
        self.inventory.usage_of(target).await
    }

    /// Returns the configured upstreams, sorted by name.
    pub fn upstreams(&self) -> Vec<UpstreamReport> {
        let mirrors = self.mirrors.load();
        let remotes = mirrors.remotes.iter();
        let mut reports: Vec<_> =
            remotes.map(|(name, remote)| UpstreamReport::new(name, remote, &mirrors.naming)).collect();
        reports.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        reports
    }

    /// Returns the running fills.
    pub fn arriving(&self) -> Vec<FillReport> {
        self.mirror.fills.reports()
    }

    /// Cancels a fill. Returns false if none runs for this digest. The next request resumes it.
    pub fn cancel_fill(&self, digest: &Digest) -> bool {
        self.mirror.fills.cancel(digest)
    }

    /// Returns whether the disk has space, or the reason why the storage is unhealthy (`health.storagedriver`). Never waits.
    pub fn health(&self) -> Result<DiskSpace, String> {
        self.health.verdict()
    }
}
