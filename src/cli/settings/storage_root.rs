//! Messages for a store whose directory cannot be used: the reason and the remedy.

use std::path::Path;

use crate::registry::FULL_DISK;
use crate::store::{BadEntry, Store, StoreError};
use crate::sys::disk::{self, Lacks};

/// The configuration key that names the store's directory.
pub(in crate::cli) const ROOT_KEY: [&str; 3] = ["storage", "filesystem", "rootdirectory"];

/// The directories inside a store. A directory that contains one of them is a store.
const STORE: [&str; 3] = ["docker/registry", "entrepot/locks", "cache/blobs"];

/// Returns why the store cannot be written to, and what to do. The message continues after the name of the key.
pub(in crate::cli) fn unwritable(store: &Store, error: &StoreError) -> String {
    let root = store.root();
    let existing = disk::nearest(root);
    let is_there = existing == root;
    if let Some(found) = obstacle(existing) {
        let below = if is_there { String::new() } else { format!("{}, below ", root.display()) };
        return format!("is {below}{}, which is {found}, not a directory; name a directory", existing.display());
    }
    if error.is_permission() {
        let advice = if is_there { no_permission(root, error) } else { cannot_create(root, existing) };
        return format!("cannot be used: {error}; {advice}");
    }
    let parent = existing.display();
    let rest = if is_there { String::new() } else { format!(": no directory can be made in {parent}") };
    format!("cannot be used: {error}{rest}; name a directory that can be written to")
}

/// Returns the warning about a store that has no space. It continues after the name of the key.
pub(in crate::cli) fn full(store: &Store, error: &StoreError) -> String {
    let (root, place) = (store.root(), error.path().unwrap_or(store.root()));
    let exactly = if place == root { String::new() } else { format!(", at {}", place.display()) };
    format!(
        "names {}, where nothing can be written{exactly}: {FULL_DISK}. Free some space, or enlarge the file system",
        root.display()
    )
}

/// Returns what does not work as usual in this store, one message for each ability that its file systems lack. Each message
/// continues after the name of the key.
pub(in crate::cli) fn degraded(store: &Store, lacks: Lacks) -> Vec<String> {
    let root = store.root().display();
    let locks = format!(
        "names {root}, whose file system has no file locks (flock): let only one Entrepot process use it, since a second one \
         would not be noticed"
    );
    let directory_sync = format!(
        "names {root}, whose file system cannot sync a directory: a power cut may undo the pushes of the last seconds"
    );
    let one_disk = format!(
        "names {root}, where arriving and complete content lie on different file systems: each push is copied at its end, \
         which takes longer and needs its space twice meanwhile; move both to one file system to avoid this"
    );
    let messages = [(lacks.locks, locks), (lacks.directory_sync, directory_sync), (lacks.one_disk, one_disk)];
    messages.into_iter().filter(|(lacking, _)| *lacking).map(|(_, message)| message).collect()
}

/// Names the thing at `path` that is not a directory, such as a file. Returns `None` for a directory, and if `path` cannot be
/// read.
fn obstacle(path: &Path) -> Option<&'static str> {
    match disk::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(found) if found.is_file() => Some("a file"),
        Ok(_) => Some("a device, a pipe or a socket"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("a link to a path that does not exist"),
        Err(_) => None,
    }
}

/// Returns advice for a directory that exists. Everything in a store belongs to the server, so `chown -R` mends all of it at
/// once. Another directory may have been named by mistake, and its content must keep its owner.
fn no_permission(root: &Path, error: &StoreError) -> String {
    let (user, group) = disk::process_owner();
    let failed = error.path().unwrap_or(root);
    let (place, failed_place, owner) = (root.display(), failed.display(), disk::owner(failed).ok());
    if user == 0 {
        return format!("not even root may write to {failed_place}; name another directory");
    }
    let recursive = if is_store(root) || failed != root { "-R " } else { "" };
    if owner.is_some_and(|(owner, _)| owner == user) {
        let mode = if recursive.is_empty() { "u+rwx" } else { "u+rwX" };
        return format!(
            "{failed_place} belongs to user {user}, as which this process runs; run `chmod {recursive}{mode} {place}`, or name another \
             directory"
        );
    }
    let belongs = owner.map_or_else(String::new, |(uid, gid)| format!("{failed_place} belongs to {uid}:{gid}, and "));
    format!(
        "{belongs}this process runs as {user}:{group}. Run `chown {recursive}{user}:{group} {place}` as root, run this process as \
         the owner (docker run --user), or name another directory"
    )
}

/// Returns true if a directory holds what a store holds.
fn is_store(root: &Path) -> bool {
    STORE.iter().any(|name| disk::exists(&root.join(name)))
}

/// Returns the warning about an entry of the store that cannot be used. It continues after the name of the key.
pub(in crate::cli) fn unusable(entry: &BadEntry) -> String {
    let BadEntry { place, problem } = entry;
    let path = Path::new(place);
    let is_forbidden = disk::list(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    let (user, group) = disk::process_owner();
    let advice = match disk::owner(path) {
        Ok((owner, _)) if is_forbidden && owner == user => format!("run `chmod -R u+rwX {place}`"),
        Ok(_) if is_forbidden => format!("run `chown -R {user}:{group} {place}` as root"),
        _ => "look at it, and move it away if it is not needed".to_owned(),
    };
    format!("holds {place}, which cannot be used: {problem}. Everything else is served; {advice}")
}

/// Returns advice for a directory that does not exist. `parent` is the nearest existing directory above it. It belongs to
/// another user, so the advice leaves it unchanged.
fn cannot_create(root: &Path, parent: &Path) -> String {
    let ((user, group), place, parent) = (disk::process_owner(), root.display(), parent.display());
    if user == 0 {
        return format!("not even root may make a directory in {parent}; name another directory");
    }
    format!(
        "it does not exist, and this process runs as {user}:{group}, which may not create it in {parent}. Run \
         `mkdir -p {place} && chown {user}:{group} {place}` as root, or name another directory"
    )
}
