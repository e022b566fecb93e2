//! From a configuration to a live registry, and the work that goes on behind it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;

use super::absences::Memory;
use super::fills::Fills;
use super::health::Health;
use super::quota::Quota;
use super::remote::Remote;
use super::{Flights, Naming, Registry, Settings};
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::oci::{HostName, RepositoryName, Target};
use crate::state::SingleFlight;
use crate::store::{Store, StoreError};
use crate::sys::{Clock, Tasks, blocking, disk};
use crate::upstream::{self, BuildError, Upstream};

/// Abandoned uploads are looked for this often.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// What the registry runs on.
#[derive(Clone)]
pub struct Machine {
    pub clock: Clock,
    pub tasks: Tasks,
    pub metrics: Arc<Metrics>,
}

/// Why a registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("storage.filesystem.rootdirectory: {0}")]
    Store(#[from] StoreError),
    #[error("mirror.upstreams.{upstream}.ca: cannot read {}: {reason}", path.display())]
    Authority { upstream: HostName, path: PathBuf, reason: std::io::Error },
    #[error("mirror.upstreams.{upstream}: {reason}")]
    Upstream { upstream: HostName, reason: BuildError },
}

impl Registry {
    /// Builds everything that the configuration names. Asks no upstream: one that is down stops nobody from starting.
    pub async fn open(config: &Config, store: Store, machine: Machine) -> Result<Arc<Self>, OpenError> {
        let mut remotes = HashMap::new();
        for spec in config.mirror.upstreams.values() {
            let remote = Remote::new(connect(spec, &config.mirror.fill, &machine).await?, spec, machine.clock.clone());
            remotes.insert(spec.name.clone(), Arc::new(remote));
        }
        let Machine { clock, tasks, metrics } = machine.clone();
        let limits = config.mirror.cache.clone();
        let quota = Quota::new(store.cache.clone(), limits, clock, tasks.clone(), Arc::clone(&metrics));
        let fills = Fills::new(store.cache.clone(), Arc::clone(&quota), tasks.clone(), metrics);
        let flights = Flights {
            heads: SingleFlight::new(tasks.clone()),
            refreshes: SingleFlight::new(tasks.clone()),
            manifests: SingleFlight::new(tasks.clone()),
            blob_heads: SingleFlight::new(tasks.clone()),
            tags: SingleFlight::new(tasks.clone()),
            referrers: SingleFlight::new(tasks),
        };
        let settings = Settings {
            delete: config.storage.delete,
            sparse: config.validation.sparse,
            upload_age: config.storage.upload_age,
        };
        let naming = Naming::new(&config.mirror, config.http.host.as_deref());
        let health = Health::new(config.health.storage.clone());
        let (guard, memory) = (RwLock::default(), Memory::new(&machine.clock));
        Ok(Arc::new(Self { settings, naming, store, remotes, quota, fills, flights, memory, health, guard, machine }))
    }

    /// Starts the work that goes on behind the requests: the index, the health check, the purge of abandoned uploads.
    pub fn start(self: &Arc<Self>) {
        let tasks = self.tasks().clone();
        let registry = Arc::clone(self);
        tasks.spawn(async move {
            if let Err(error) = registry.quota.rebuild().await {
                tracing::error!(%error, "the cache could not be indexed; eviction knows only what comes from now on");
            }
        });
        let registry = Arc::clone(self);
        tasks.spawn(async move { registry.check_health().await });
        let registry = Arc::clone(self);
        tasks.spawn(async move { registry.purge_uploads().await });
    }

    async fn check_health(&self) {
        let Some(check) = self.health.check().cloned() else { return };
        loop {
            let probed = self.store.probe().await;
            if let Err(error) = &probed {
                tracing::error!(%error, "the storage cannot be written to");
            }
            // A full disk still serves, and the cache gives way.
            self.health.note(probed.or_else(|error| if error.is_full() { Ok(()) } else { Err(error.to_string()) }));
            tokio::time::sleep(check.interval).await;
        }
    }

    async fn purge_uploads(&self) {
        let Some(age) = self.settings.upload_age else { return };
        loop {
            match self.store.hosted.purge_uploads(age).await {
                Ok(0) => {}
                Ok(purged) => tracing::info!(purged, "abandoned uploads were removed"),
                Err(error) => tracing::warn!(%error, "abandoned uploads could not be removed"),
            }
            tokio::time::sleep(PURGE_EVERY).await;
        }
    }
}

/// The hosted repositories in a store that a mirror's rules would hide: they would be taken for an upstream's.
pub async fn hidden_by(mirror: &config::Mirror, store: &Store) -> Result<Vec<RepositoryName>, StoreError> {
    let naming = Naming::new(mirror, None);
    let names = store.hosted.inhabited().await?;
    Ok(names.into_iter().filter(|name| !matches!(naming.resolve(None, name), Ok(Target::Hosted(_)))).collect())
}

async fn connect(spec: &config::Upstream, fill: &config::Fill, machine: &Machine) -> Result<Upstream, OpenError> {
    let ca = match &spec.trust {
        config::Trust::Also(path) => {
            let read = path.clone();
            let pem = blocking(move || disk::read(&read)).await;
            Some(pem.map_err(|reason| OpenError::Authority {
                upstream: spec.name.clone(),
                path: path.clone(),
                reason,
            })?)
        }
        config::Trust::System | config::Trust::Anything => None,
    };
    let Machine { clock, tasks, metrics } = machine.clone();
    let built = Upstream::new(spec, fill, upstream::Machine { clock, tasks, metrics, ca });
    built.map_err(|reason| OpenError::Upstream { upstream: spec.name.clone(), reason })
}
