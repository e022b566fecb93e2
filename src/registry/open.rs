//! From a configuration to a live registry, and the work that goes on behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::health::Health;
use super::mirror::absences::Memory;
use super::mirror::remote::Remote;
use super::mirror::warm::Warming;
use super::{Flights, Naming, Registry, Settings};
use crate::cache::Quota;
use crate::config::{self, Config};
use crate::fills::{Fills, Means};
use crate::metrics::Metrics;
use crate::oci::{HostName, RepositoryName, Target};
use crate::state::SingleFlight;
use crate::store::{Indexed, Store, StoreError};
use crate::sys::{Clock, Tasks, blocking};
use crate::upstream::{self, BuildError, FileError, Files, Upstream};

/// Abandoned uploads, and what is left of fills, are looked for this often.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// The store is not indexed more often than this, whatever is looked for.
const REINDEX_EVERY: Duration = Duration::from_secs(60);

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
    #[error("{}", lines(.0))]
    Upstreams(Vec<ConnectError>),
}

/// Why an upstream cannot be asked: its configuration, or a file that this names.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("mirror.upstreams.{upstream}.{error}")]
    File { upstream: HostName, error: FileError },
    #[error("{0}")]
    Upstream(BuildError),
}

fn lines(errors: &[ConnectError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Registry {
    /// Builds everything that the configuration names. Asks no upstream: one that is down stops nobody from starting.
    pub async fn open(config: &Config, store: Store, machine: Machine) -> Result<Arc<Self>, OpenError> {
        let mut remotes = HashMap::new();
        for (spec, upstream) in connect_all(config, &machine).await.map_err(OpenError::Upstreams)? {
            let remote = Remote::new(upstream, spec, machine.clock.clone());
            remotes.insert(spec.name.clone(), Arc::new(remote));
        }
        let Machine { clock, tasks, metrics } = machine.clone();
        let limits = config.mirror.cache.clone();
        let quota = Quota::new(store.cache.clone(), limits, clock.clone(), tasks.clone(), Arc::clone(&metrics));
        let means = Means::new(Arc::clone(&quota), config.mirror.fill.clone(), clock, metrics);
        let fills = Fills::new(store.cache.clone(), means, tasks.clone());
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
            partial_age: config.mirror.fill.keep,
            prefetch: config.mirror.prefetch.clone(),
        };
        let naming = Naming::new(&config.mirror, config.http.host.as_deref());
        let health = Health::new(config.health.storage.clone());
        let (warming, memory) = (Warming::new(), Memory::new(&machine.clock));
        let walking = tokio::sync::Mutex::default();
        Ok(Arc::new(Self {
            settings,
            naming,
            store,
            remotes,
            quota,
            fills,
            flights,
            memory,
            health,
            warming,
            reindex: Notify::new(),
            walking,
            machine,
        }))
    }

    /// Starts the work that goes on behind the requests: the indexes, the health check, the purge of abandoned uploads,
    /// `mirror.prefetch`.
    pub fn start(self: &Arc<Self>) {
        let tasks = self.tasks().clone();
        let registry = Arc::clone(self);
        tasks.spawn(async move {
            if let Err(error) = registry.quota.rebuild().await {
                tracing::error!(%error, "the cache could not be indexed; eviction knows only what comes from now on");
            }
            registry.purge_partials().await;
        });
        let registry = Arc::clone(self);
        tasks.spawn(async move { registry.keep_index().await });
        let registry = Arc::clone(self);
        tasks.spawn(async move { registry.check_health().await });
        let registry = Arc::clone(self);
        tasks.spawn(async move { registry.purge_uploads().await });
        self.start_prefetch();
    }

    /// Reads the index of the store, and once more when a mount looked in vain for what is here: another process may have put it there.
    async fn keep_index(&self) {
        loop {
            let begun = self.clock().moment();
            match self.store.index().await {
                Ok(Indexed { repositories, manifests, links }) => {
                    let millis = self.clock().since(begun).as_millis() as u64;
                    tracing::info!(repositories, manifests, links, millis, "the store is indexed");
                    tokio::time::sleep(REINDEX_EVERY).await;
                    self.reindex.notified().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the store cannot be indexed; until it can, its directories are read");
                    tokio::time::sleep(REINDEX_EVERY).await;
                }
            }
        }
    }

    /// What is left of fills that nobody asked for again goes after a while.
    async fn purge_partials(&self) {
        loop {
            self.quota.purge_left(self.settings.partial_age).await;
            tokio::time::sleep(PURGE_EVERY).await;
        }
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

/// What is wrong with the files that upstreams name, with all of them; nothing is asked of the network.
pub async fn examine_files(config: &Config) -> Vec<(HostName, FileError)> {
    let upstreams: Vec<_> = config.mirror.upstreams.values().cloned().collect();
    let all = move || {
        let wrong = |spec: &config::Upstream| {
            let errors = Files::read(spec).err().unwrap_or_default();
            errors.into_iter().map(|error| (spec.name.clone(), error)).collect::<Vec<_>>()
        };
        upstreams.iter().flat_map(wrong).collect()
    };
    blocking(all).await
}

/// Can every upstream be asked, as far as that is known without asking it?
pub async fn examine_upstreams(config: &Config, machine: &Machine) -> Result<(), OpenError> {
    connect_all(config, machine).await.map(|_| ()).map_err(OpenError::Upstreams)
}

/// All upstreams, or what is wrong with each that has something wrong.
async fn connect_all<'c>(
    config: &'c Config,
    machine: &Machine,
) -> Result<Vec<(&'c config::Upstream, Upstream)>, Vec<ConnectError>> {
    let (mut connected, mut wrong) = (Vec::new(), Vec::new());
    for spec in config.mirror.upstreams.values() {
        match connect(spec, config.mirror.fill.stall, machine).await {
            Ok(upstream) => connected.push((spec, upstream)),
            Err(errors) => wrong.extend(errors),
        }
    }
    if wrong.is_empty() { Ok(connected) } else { Err(wrong) }
}

async fn connect(spec: &config::Upstream, stall: Duration, machine: &Machine) -> Result<Upstream, Vec<ConnectError>> {
    let named = spec.clone();
    let files = blocking(move || Files::read(&named)).await;
    let of_file = |error| ConnectError::File { upstream: spec.name.clone(), error };
    let files = files.map_err(|errors| errors.into_iter().map(of_file).collect::<Vec<_>>())?;
    let Machine { clock, tasks, metrics } = machine.clone();
    let upstream = Upstream::new(spec, stall, upstream::Machine { clock, tasks, metrics, files });
    upstream.map_err(|error| vec![ConnectError::Upstream(error)])
}
