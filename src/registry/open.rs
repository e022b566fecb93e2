//! Opens a registry from a configuration, and makes the checks of a configuration that need the store or other files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

use super::health::StorageHealth;
use super::inventory::Inventory;
use super::mirror::{Flights, NegativeCache, PullLog, Remote};
use super::mirrors::Mirrors;
use super::naming::Naming;
use super::{Registry, hosted, mirror};
use crate::cache::Ledger;
use crate::config::{self, Config};
use crate::fills::{Fills, Shared};
use crate::metrics::Metrics;
use crate::oci::{HostName, RepositoryName, Target};
use crate::outbound::LinkGovernor;
use crate::store::{Store, StoreError};
use crate::sys::{Machine, blocking};
use crate::upstream::{BodyPace, BuildError, FileError, Files, Upstream};

/// The number of blobs that warming fetches at once, for all images together: clients come first. The blobs are fetched in the
/// order in which they are asked for, so an image waits for single blobs of another one, never for all of it.
const WARM_FETCHES: usize = 3;

/// The reason why a registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("storage.filesystem.rootdirectory: {0}")]
    Store(#[from] StoreError),
    #[error("{}", lines(.0))]
    Upstreams(Vec<ConnectError>),
}

/// The reason why an upstream cannot be asked: its configuration, or a file that the configuration names.
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

/// Builds the registry that a configuration describes. No upstream is asked, so one that is down does not prevent the start.
pub async fn open(
    config: &Config,
    store: Store,
    machine: Machine,
    metrics: Arc<Metrics>,
) -> Result<Arc<Registry>, OpenError> {
    let link = LinkGovernor::new(&config.mirror, machine.clock.clone(), Arc::clone(&metrics));
    let mirrors = connect_mirrors(config, link.as_ref(), (&machine, &metrics), None).await?;
    let limits = config.mirror.cache.clone();
    let ledger = Ledger::new(store.cache.clone(), limits, &machine, Arc::clone(&metrics));
    let shared = Shared::new(Arc::clone(&ledger), config.mirror.fill.clone(), &machine, Arc::clone(&metrics));
    let fills = Fills::new(store.cache.clone(), shared);
    let hosted = hosted::HostedContext {
        store: store.hosted.clone(),
        unused_files: hosted::UnusedFiles::new(store.clone(), machine.clock.clone()),
        ledger: Arc::clone(&ledger),
        tasks: machine.tasks.clone(),
        sparse: config.validation.sparse,
        urls: config.validation.urls.clone(),
        delete: config.storage.delete,
    };
    let mirror = mirror::MirrorContext {
        store: store.cache.clone(),
        ledger: Arc::clone(&ledger),
        fills,
        flights: Flights::new(&machine),
        negative: NegativeCache::new(&machine.clock),
        pulls: config.mirror.follow.as_ref().map(|_| PullLog::new(&machine.clock)),
        machine: machine.clone(),
        metrics: Arc::clone(&metrics),
        delete: config.storage.delete,
    };
    Ok(Arc::new(Registry {
        mirrors: ArcSwap::from_pointee(mirrors),
        inventory: Inventory::new(store.clone(), ledger, machine.clone()),
        store,
        hosted: Arc::new(hosted),
        mirror: Arc::new(mirror),
        link,
        health: StorageHealth::new(config.health.storage.clone()),
        warm_fetches: Semaphore::new(WARM_FETCHES),
        reindex: Notify::new(),
        machine,
        metrics,
    }))
}

/// Takes over the upstreams, the rules for names and the limits of the cache of a changed configuration. Running transfers continue
/// with the upstreams that they began with. If the configuration cannot be used, nothing changes.
pub async fn reload(registry: &Registry, config: &Config) -> Result<(), OpenError> {
    let Registry { link, machine, metrics, .. } = registry;
    let known = registry.mirrors.load_full();
    let mirrors = connect_mirrors(config, link.as_ref(), (machine, metrics), Some(&known)).await?;
    registry.mirrors.store(Arc::new(mirrors));
    registry.mirror.ledger.set_limits(config.mirror.cache.clone()).await;
    Ok(())
}

/// Returns the hosted repositories of a store that the rules of a mirror would hide: their names would mean an upstream's
/// repositories.
pub async fn hidden_by(mirror: &config::Mirror, store: &Store) -> Result<Vec<RepositoryName>, StoreError> {
    let naming = Naming::new(mirror, Vec::new());
    let names = store.hosted.inhabited().await?;
    Ok(names.into_iter().filter(|name| !matches!(naming.resolve(None, name), Ok(Target::Hosted(_)))).collect())
}

/// Reads every file that the upstreams' configuration names, and returns all errors. Uses no network.
pub async fn examine_files(config: &Config) -> Vec<(HostName, FileError)> {
    let upstreams: Vec<_> = config.mirror.upstreams.values().cloned().collect();
    let all = move || {
        let errors_of = |spec: &config::Upstream| {
            let errors = Files::read(spec).err().unwrap_or_default();
            errors.into_iter().map(|error| (spec.name.clone(), error)).collect::<Vec<_>>()
        };
        upstreams.iter().flat_map(errors_of).collect()
    };
    blocking(all).await
}

/// Fails if an upstream's configuration cannot work. Uses no network.
pub async fn examine_upstreams(config: &Config, machine: &Machine, metrics: &Arc<Metrics>) -> Result<(), OpenError> {
    connect_all(config.mirror.upstreams.values().collect(), config.mirror.fill.stall, None, machine, metrics)
        .await
        .map(|_| ())
        .map_err(OpenError::Upstreams)
}

/// Builds the upstreams and the rules for names, or returns all errors. Keeps the remotes of `known` whose configuration is the
/// same.
async fn connect_mirrors(
    config: &Config,
    link: Option<&Arc<LinkGovernor>>,
    (machine, metrics): (&Machine, &Arc<Metrics>),
    known: Option<&Mirrors>,
) -> Result<Mirrors, OpenError> {
    let specs = &config.mirror.upstreams;
    let mut remotes = HashMap::new();
    let kept = |spec: &config::Upstream| known.and_then(|known| known.unchanged(spec));
    remotes.extend(specs.values().filter_map(|spec| Some((spec.name.clone(), kept(spec)?))));
    let changed = specs.values().filter(|spec| !remotes.contains_key(&spec.name)).collect();
    for (spec, upstream) in
        connect_all(changed, config.mirror.fill.stall, link, machine, metrics).await.map_err(OpenError::Upstreams)?
    {
        remotes.insert(spec.name.clone(), Arc::new(Remote::new(upstream, spec, machine.clock.clone())));
    }
    Ok(Mirrors::new(Naming::new(&config.mirror, config.own_names()), remotes, specs.clone()))
}

/// Builds all upstreams, or returns all errors.
async fn connect_all<'c>(
    specs: Vec<&'c config::Upstream>,
    stall: Duration,
    link: Option<&Arc<LinkGovernor>>,
    machine: &Machine,
    metrics: &Arc<Metrics>,
) -> Result<Vec<(&'c config::Upstream, Upstream)>, Vec<ConnectError>> {
    let (mut connected, mut failed) = (Vec::new(), Vec::new());
    for spec in specs {
        let pace = BodyPace { stall, link: link.and_then(|link| link.share(&spec.name)) };
        match connect(spec, pace, machine, metrics).await {
            Ok(upstream) => connected.push((spec, upstream)),
            Err(errors) => failed.extend(errors),
        }
    }
    if failed.is_empty() { Ok(connected) } else { Err(failed) }
}

async fn connect(
    spec: &config::Upstream,
    pace: BodyPace,
    machine: &Machine,
    metrics: &Arc<Metrics>,
) -> Result<Upstream, Vec<ConnectError>> {
    let named = spec.clone();
    let files = blocking(move || Files::read(&named)).await;
    let of_file = |error| ConnectError::File { upstream: spec.name.clone(), error };
    let files = files.map_err(|errors| errors.into_iter().map(of_file).collect::<Vec<_>>())?;
    let upstream = Upstream::new(spec, pace, files, machine, Arc::clone(metrics));
    upstream.map_err(|error| vec![ConnectError::Upstream(error)])
}
