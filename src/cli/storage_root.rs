//! Why a store's directory cannot be used, in words for whoever named it, and what to do about it.

use std::path::Path;

use crate::store::{Store, StoreError};
use crate::sys::disk;

/// What says where the store is.
pub(super) const ROOT_KEY: [&str; 3] = ["storage", "filesystem", "rootdirectory"];

/// Where a store keeps what was pushed: a directory that has it is one.
const PUSHED: &str = "docker/registry";

/// A store that cannot be written to: what stands in the way, and what to do. The message goes on after the key's name.
pub(super) fn unwritable(store: &Store, error: &StoreError) -> String {
    let root = store.root();
    let existing = disk::nearest(root);
    let is_there = existing == root;
    if let Some(found) = in_its_place(existing) {
        let below = if is_there { String::new() } else { format!("{}, below ", root.display()) };
        return format!("is {below}{}, which is {found}, not a directory; name a directory", existing.display());
    }
    if error.is_permission() {
        let answer = if is_there { not_ours(root, error) } else { not_to_be_made(root, existing) };
        return format!("cannot be used: {error}; {answer}");
    }
    let place = existing.display();
    let rest = if is_there { String::new() } else { format!(": no directory can be made in {place}") };
    format!("cannot be used: {error}{rest}; name a directory that can be written to")
}

/// What stands where a directory should; `None` if one does.
fn in_its_place(path: &Path) -> Option<&'static str> {
    match disk::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(found) if found.is_file() => Some("a file"),
        Ok(_) => Some("a device, a pipe or a socket"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("a link that leads nowhere"),
        Err(_) => None,
    }
}

/// It is there. Only what is a store is given away with all below it: anything else may be named by mistake.
fn not_ours(root: &Path, error: &StoreError) -> String {
    let (user, group) = disk::process_owner();
    let (place, owner) = (root.display(), disk::owner(root).ok());
    if user == 0 {
        return format!("not even root may write to {place}; name another directory");
    }
    let is_itself = matches!(error, StoreError::Io { path, .. } if path == root);
    if is_itself && owner.is_some_and(|(owner, _)| owner == user) {
        return format!(
            "it belongs to {user}, as whom this process runs; run `chmod u+rwx {place}`, or name another directory"
        );
    }
    let belongs = owner.map_or_else(String::new, |(uid, gid)| format!("it belongs to {uid}:{gid}, and "));
    let deep = if disk::metadata(&root.join(PUSHED)).is_ok() { "-R " } else { "" };
    format!(
        "{belongs}this process runs as {user}:{group}. Run `chown {deep}{user}:{group} {place}` as root, run this as its owner \
         (docker run --user), or name another directory"
    )
}

/// It is not there, and `parent`, the nearest directory that is, belongs to others: nothing there is to be changed for this.
fn not_to_be_made(root: &Path, parent: &Path) -> String {
    let ((user, group), place, parent) = (disk::process_owner(), root.display(), parent.display());
    if user == 0 {
        return format!("not even root may make a directory in {parent}; name another directory");
    }
    format!(
        "it does not exist, and {user}:{group}, as whom this process runs, may not make it in {parent}. Run \
         `mkdir -p {place} && chown {user}:{group} {place}` as root, or name another directory"
    )
}
