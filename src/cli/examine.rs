//! What only the machine knows of a configuration: the files that it names, the store that is there, the room on the disk. Each
//! mistake is added to those of the text, at the key that it is about.

use std::path::Path;

use indicatif::BinaryBytes;

use super::settings::covering;
use super::storage_root::{ROOT_KEY, unwritable};
use crate::auth::{self, Finding};
use crate::config::{Config, Draft, MirrorOrigin};
use crate::oci::RepositoryName;
use crate::registry::{examine_files, hidden_by};
use crate::store::Store;
use crate::sys::{Clock, blocking, disk};

/// Looks at everything that `serve` is about to use, and changes nothing. Gives the repositories in the store that the mirror's
/// rules would hide.
pub(super) async fn examine(draft: &mut Draft) -> Vec<RepositoryName> {
    let Some(config) = draft.config().cloned() else { return Vec::new() };
    // What a wrong rule hides says nothing.
    let right = draft.is_right();
    files(&config, draft).await;
    let store = Store::new(&config.storage.root, Clock::system());
    let hidden = if right { hidden_by(&config.mirror, &store).await } else { Ok(Vec::new()) };
    // Whether it can be written to is tried: the rights alone do not tell of /proc, of mounts that are read-only, or of servers that
    // do not believe root. What is held on a full disk can be served.
    let trouble = match &hidden {
        Ok(_) => store.rehearse().await.err().filter(|error| !error.is_full()),
        Err(error) => Some(error.clone()),
    };
    if let Some(error) = trouble {
        draft.error(&ROOT_KEY, &unwritable(&store, &error));
    }
    let hidden = hidden.unwrap_or_default();
    if !hidden.is_empty() && config.mirror.origin == MirrorOrigin::Written {
        draft.error(&["mirror", "local"], &covering(&config, store.root(), &hidden));
    }
    space(&config, store.root(), draft).await;
    hidden
}

async fn files(config: &Config, draft: &mut Draft) {
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

/// Does the file system hold what the cache may?
async fn space(config: &Config, root: &Path, draft: &mut Draft) {
    let near = root.to_owned();
    // What does not exist will be made in what does.
    let space = |path: &Path| disk::space(if path.as_os_str().is_empty() { Path::new(".") } else { path }).ok();
    let found = blocking(move || near.ancestors().find_map(space)).await;
    let Some(total) = found.map(|space| space.total).filter(|total| *total > 0) else { return };
    let has = format!("has {} in all", BinaryBytes(total));
    if let Some(size) = config.mirror.cache.max_size.filter(|size| *size > total) {
        let message = format!(
            "is {}, but the file system of {} {has}; write less, or leave it out for 80 % of it",
            BinaryBytes(size),
            root.display()
        );
        draft.warn(&["mirror", "cache", "maxsize"], &message);
    }
    if config.mirror.cache.reserve.is_some_and(|reserve| reserve >= total) {
        let message = format!(
            "leaves nothing for the cache: the file system of {} {has}; write less, such as 10GiB",
            root.display()
        );
        draft.warn(&["mirror", "cache", "reserve"], &message);
    }
}
