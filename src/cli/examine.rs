//! What only the machine knows of a configuration: the files that it names, the store that is there, the room on the disk. Each
//! mistake is added to those of the text, at the key that it is about.

use std::path::{Path, PathBuf};

use indicatif::BinaryBytes;

use super::settings::{covering, root};
use super::storage_root::{ROOT_KEY, unwritable};
use crate::auth::{self, Finding};
use crate::config::{Config, Draft, MirrorOrigin};
use crate::oci::RepositoryName;
use crate::registry::{examine_files, hidden_by};
use crate::store::Store;
use crate::sys::{Clock, blocking, disk};

/// The store that a configuration meets.
pub(super) struct Met {
    pub(super) root: PathBuf,
    /// The repositories in it that the mirror's rules would hide.
    pub(super) hidden: Vec<RepositoryName>,
    access: Access,
}

/// What is known of whether the store can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Untried,
    /// It was said that it cannot.
    Refused,
}

/// Looks at everything that `serve` is about to use; changes nothing.
pub(super) async fn examine(source: &str, draft: &mut Draft) -> Met {
    let Some(config) = draft.config().cloned() else {
        return Met { root: PathBuf::new(), hidden: Vec::new(), access: Access::Refused };
    };
    // What a wrong rule hides says nothing.
    let right = draft.is_right();
    files(&config, draft).await;
    let root = root(source, &config).await;
    let (mut hidden, mut access) = (Vec::new(), Access::Untried);
    if right {
        let store = Store::new(&root, Clock::system());
        match hidden_by(&config.mirror, &store).await {
            Ok(found) => hidden = found,
            Err(error) => {
                access = Access::Refused;
                draft.error(&ROOT_KEY, &unwritable(&store, &error));
            }
        }
        if !hidden.is_empty() && config.mirror.origin == MirrorOrigin::Written {
            draft.error(&["mirror", "local"], &covering(&config, &root, &hidden));
        }
    }
    space(&config, &root, draft).await;
    Met { root, hidden, access }
}

/// Could `serve` write to the store, or make it? Tries, and leaves nothing behind: the rights alone do not tell of /proc, of
/// mounts that are read-only, or of servers that do not believe root.
pub(super) async fn probe(met: &Met, draft: &mut Draft) {
    let store = Store::new(&met.root, Clock::system());
    if met.access == Access::Untried
        && let Err(error) = store.rehearse().await
        && !error.is_full()
    {
        draft.error(&ROOT_KEY, &unwritable(&store, &error));
    }
}

async fn files(config: &Config, draft: &mut Draft) {
    if let Some(auth) = config.auth.clone() {
        let key = ["auth", "htpasswd", "path"];
        for finding in blocking(move || auth::examine(&auth)).await {
            match finding {
                Finding::Wrong(message) => draft.error(&key, &message),
                Finding::Doubtful(message) => draft.warn(&key, &message),
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
