//! Messages for a store whose directory cannot be used: the reason and the remedy.

use std::path::Path;

use crate::store::{Store, StoreError};
use crate::sys::disk::{self, Lacks};

/// The configuration key that names the store's directory.
pub(in crate::cli) const ROOT_KEY: [&str; 3] = ["storage", "filesystem", "rootdirectory"];

/// The directory for pushed content inside a store. A directory that contains it is a store.
const PUSHED: &str = "docker/registry";

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

/// Returns advice for a directory that exists. `chown -R` is suggested for a store only: another directory may have been named
/// by mistake, and its content must not change hands.
fn no_permission(root: &Path, error: &StoreError) -> String {
    let (user, group) = disk::process_owner();
    let (place, owner) = (root.display(), disk::owner(root).ok());
    if user == 0 {
        return format!("not even root may write to {place}; name another directory");
    }
    let is_root_itself = matches!(error, StoreError::Io { place, .. } if *place == root.display().to_string());
    if is_root_itself && owner.is_some_and(|(owner, _)| owner == user) {
        return format!(
            "it belongs to user {user}, as which this process runs; run `chmod u+rwx {place}`, or name another directory"
        );
    }
    let belongs = owner.map_or_else(String::new, |(uid, gid)| format!("it belongs to {uid}:{gid}, and "));
    let recursive = if disk::metadata(&root.join(PUSHED)).is_ok() { "-R " } else { "" };
    format!(
        "{belongs}this process runs as {user}:{group}. Run `chown {recursive}{user}:{group} {place}` as root, run this process as \
         the owner (docker run --user), or name another directory"
    )
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
