//! Checks of a configuration that need the machine: the files that it names, the store on the disk, and the size of the file
//! system. Each mistake is added to the mistakes in the text, at the key that causes it.

use std::path::Path;

use indicatif::BinaryBytes;

use super::hidden::not_covered;
use super::storage_root::{ROOT_KEY, degraded, full, unusable, unwritable};
use crate::auth::{self, Finding};
use crate::config::{Config, Draft, MirrorOrigin};
use crate::oci::RepositoryName;
use crate::registry::{examine_files, hidden_by};
use crate::store::Store;
use crate::sys::{Clock, blocking, disk};

/// Checks everything on the machine that `serve` would use, and leaves nothing changed. Returns the repositories in the store that
/// the mirror's rules would hide. The bad entries of the store `running`, which a server uses, are no news: its log names each
/// once.
pub(in crate::cli) async fn examine(draft: &mut Draft, running: Option<&Store>) -> Vec<RepositoryName> {
    let Some(config) = draft.config().cloned() else { return Vec::new() };
    // If a rule in the text is wrong, the names that it hides mean nothing.
    let is_right = draft.is_valid();
    examine_named_files(&config, draft).await;
    let running = running.filter(|running| running.root() == config.storage.root);
    let store = running.cloned().unwrap_or_else(|| Store::new(&config.storage.root, Clock::system()));
    let hidden = if is_right { hidden_by(&config.mirror, &store).await } else { Ok(Vec::new()) };
    // Permission bits do not tell whether a directory can be written to: /proc, read-only mounts and file servers that
    // distrust root refuse it all the same. So a write is tried. A full disk is no error: its content can be served.
    let rehearsed = match &hidden {
        Ok(_) => store.rehearse().await,
        Err(error) => Err(error.clone()),
    };
    match rehearsed {
        Ok(lacks) => degraded(&store, lacks).iter().for_each(|message| draft.warn(&ROOT_KEY, message)),
        Err(error) if error.is_full() => draft.warn(&ROOT_KEY, &full(&store, &error)),
        Err(error) => draft.error(&ROOT_KEY, &unwritable(&store, &error)),
    }
    let entries = if running.is_some() { Vec::new() } else { store.hosted.bad_entries().await };
    for entry in entries {
        draft.warn(&ROOT_KEY, &unusable(&entry));
    }
    let hidden = hidden.unwrap_or_default();
    if !hidden.is_empty() && config.mirror.origin == MirrorOrigin::Written {
        draft.error(&["mirror", "local"], &not_covered(&config, store.root(), &hidden));
    }
    examine_space(&config, store.root(), draft).await;
    hidden
}

async fn examine_named_files(config: &Config, draft: &mut Draft) {
    if let Some(auth) = config.auth.clone() {
        let key = ["auth", "htpasswd", "path"];
        for finding in blocking(move || auth::examine(&auth)).await {
            match finding {
                Finding::Error(message) => draft.error(&key, &message),
                Finding::Warning(message) => draft.warn(&key, &message),
            }
        }
    }
    for (upstream, error) in examine_files(config).await {
        let message = format!("names {}: {}", error.path.display(), error.reason);
        draft.error(&["mirror", "upstreams", upstream.as_str(), error.key], &message);
    }
}

/// Warns if the cache may become larger than the file system.
async fn examine_space(config: &Config, root: &Path, draft: &mut Draft) {
    // A directory that does not exist yet is created on the file system of its nearest existing parent.
    let near = root.to_owned();
    let space = |path: &Path| disk::space(if path.as_os_str().is_empty() { Path::new(".") } else { path }).ok();
    let found = blocking(move || near.ancestors().find_map(space)).await;
    let Some(total) = found.map(|space| space.total).filter(|total| *total > 0) else { return };
    let (root, capacity) = (root.display(), BinaryBytes(total));
    if let Some(size) = config.mirror.cache.max_size.filter(|size| *size > total) {
        let size = BinaryBytes(size);
        let message = format!(
            "is {size}, but the file system of {root} has only {capacity}; write less, or remove the key for 80 % of the \
             file system"
        );
        draft.warn(&["mirror", "cache", "maxsize"], &message);
    }
    if config.mirror.cache.reserve.is_some_and(|reserve| reserve >= total) {
        let message = format!(
            "leaves nothing for the cache: the file system of {root} has only {capacity}; write less, such as 10GiB"
        );
        draft.warn(&["mirror", "cache", "reserve"], &message);
    }
}
