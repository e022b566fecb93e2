//! Folders that are moved away under a lock and removed without it: the removal takes long if there is much in them.

use std::io;

use super::store::HostedStore;
use crate::store::driver::Driver;
use crate::store::key::ObjectKey;
use crate::store::layout;
use crate::sys::random_id;

/// Folders that were moved away and wait for their removal.
#[must_use]
#[derive(Debug, Default)]
pub struct Trash(Vec<ObjectKey>);

impl Trash {
    /// Moves a folder away. Returns false if there was none. Blocks, but not for longer if there is more in the folder.
    ///
    /// A folder that cannot be moved is removed at once: it lies on another file system than the trash, or the storage is full.
    pub fn take(&mut self, driver: &dyn Driver, folder: &ObjectKey) -> io::Result<bool> {
        use io::ErrorKind::{CrossesDevices, QuotaExceeded, StorageFull};
        let away = layout::trash().join(&random_id());
        match driver.move_tree(folder, &away) {
            Ok(moved) => {
                self.0.extend(moved.then_some(away));
                Ok(moved)
            }
            Err(error) if matches!(error.kind(), CrossesDevices | StorageFull | QuotaExceeded) => {
                driver.remove_tree(folder)
            }
            Err(error) => Err(error),
        }
    }
}

impl HostedStore {
    /// Removes what was moved away. The caller holds no lock. A failure is logged: the content is gone for every client, and
    /// [`HostedStore::empty_trash`] tries again.
    pub(super) async fn remove_trash(&self, trash: Trash) {
        let remove =
            move |driver: &dyn Driver| trash.0.iter().map(|folder| driver.remove_tree(folder).map(drop)).collect();
        let removed =
            self.backend.change("remove", &layout::trash(), move |driver| Ok::<Vec<_>, _>(remove(driver))).await;
        for error in removed.into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(%error, "deleted content could not be removed from the disk yet");
        }
    }

    /// Removes what an earlier run has moved away and not removed. Returns the number of removed folders.
    pub async fn empty_trash(&self) -> u64 {
        let empty = |driver: &dyn Driver| {
            let trash = layout::trash();
            let is_removed = |child| driver.remove_tree(&trash.join(child)).unwrap_or(false);
            Ok(driver.children(&trash)?.iter().filter(|child| is_removed(&child.name)).count() as u64)
        };
        match self.backend.run("list", &layout::trash(), empty).await {
            Ok(removed) => removed,
            Err(error) => {
                tracing::warn!(%error, "deleted content could not be removed from the disk yet");
                0
            }
        }
    }
}

/// Logs a failure to remove the record of a push or a pull. The deletion that it belongs to has succeeded.
pub(super) fn forget_record(removed: io::Result<bool>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "the record of a push or a pull could not be removed");
    }
}
