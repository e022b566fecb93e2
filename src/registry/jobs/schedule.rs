//! The schedule of the jobs.

use std::sync::Arc;
use std::time::Duration;

use super::repeat::repeat;
use super::{follow, health, index, link, prefetch, purge};
use crate::config::Config;
use crate::registry::Registry;

/// The pause between two purges.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// The pause between two searches for temporary files, which read every directory of the store.
const TEMPORARY_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Starts all jobs of a registry.
pub fn start_jobs(registry: &Arc<Registry>, config: &Config) {
    let tasks = &registry.machine.tasks;
    let (own, partial_age) = (Arc::clone(registry), config.mirror.fill.keep);
    tasks.spawn(async move {
        // The index of the cache knows the partial blobs, so they are purged after it.
        index::index_cache(&own).await;
        repeat(PURGE_EVERY, || purge::purge_partials(&own, partial_age)).await;
    });
    let own = Arc::clone(registry);
    tasks.spawn(async move { repeat(TEMPORARY_EVERY, || purge::purge_temporary(&own)).await });
    let own = Arc::clone(registry);
    tasks.spawn(async move { purge::finish_deletions(&own).await });
    let own = Arc::clone(registry);
    tasks.spawn(async move { index::keep_index(&own).await });
    if let Some(check) = registry.health.check().cloned() {
        let own = Arc::clone(registry);
        tasks.spawn(async move { repeat(check.interval, || health::check_storage(&own)).await });
    }
    if let Some(age) = config.storage.upload_age {
        let own = Arc::clone(registry);
        tasks.spawn(async move { repeat(PURGE_EVERY, || purge::purge_uploads(&own, age)).await });
    }
    if let Some(governor) = registry.link.clone() {
        tasks.spawn(async move { repeat(link::LOOK_EVERY, || link::follow_schedule(&governor)).await });
    }
    if let Some(settings) = config.mirror.follow.clone() {
        let own = Arc::clone(registry);
        tasks.spawn(async move { follow::follow(&own, &settings).await });
    }
    for images in config.mirror.prefetch.clone() {
        let own = Arc::clone(registry);
        tasks.spawn(async move { prefetch::keep_warm(&own, &images).await });
    }
}
