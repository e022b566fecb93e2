//! Frees the space of abandoned uploads when the storage is full.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::store::HostedStore;
use super::uploads::{idle_for, remove_idle};
use crate::oci::RepositoryName;
use crate::store::driver::Driver;
use crate::store::key::ObjectKey;
use crate::store::{StoreError, layout};
use crate::sys::{Clock, disk};

/// An upload that has received bytes within this time probably belongs to a push between two requests. It is removed alone,
/// after all older ones.
const RECENT: Duration = Duration::from_secs(60);

/// An upload that could be removed.
struct IdleUpload {
    idle: Duration,
    folder: ObjectKey,
    id: String,
    size: u64,
}

impl HostedStore {
    /// Returns the number of times that uploads were removed.
    pub fn reclaim_round(&self) -> u64 {
        self.reclaiming.rounds.load(Ordering::Acquire)
    }

    /// Removes one upload that no request holds, at any age, from the disk of `full`: the one that has received nothing for
    /// the longest time. Older ones without bytes, which free almost nothing, are removed with it. Returns false if nothing
    /// could be removed. Removes nothing if there is more space than at the time of `round`, when the caller's write began.
    pub async fn reclaim_uploads(&self, full: &Path, round: u64) -> Result<bool, StoreError> {
        let _turn = self.reclaiming.turn.lock().await;
        if self.reclaim_round() != round {
            return Ok(true);
        }
        let mut idle = Vec::new();
        for repository in self.uploading().await? {
            idle.extend(self.idle_uploads(&repository, full).await);
        }
        idle.sort_by_key(|upload| std::cmp::Reverse(upload.idle));
        let table = Arc::clone(&self.uploads);
        let remove = move |driver: &dyn Driver| {
            let (mut freed, mut removed) = (0, Vec::new());
            for upload in idle {
                if freed > 0 || (upload.idle < RECENT && !removed.is_empty()) {
                    break;
                }
                // An upload that a request holds, or that cannot be removed, stays.
                if remove_idle(driver, &upload.folder, &upload.id, &table).unwrap_or(false) {
                    freed += upload.size;
                    removed.push(upload);
                }
            }
            Ok(removed)
        };
        let removed = self.backend.change("remove", &layout::repositories(), remove).await?;
        for upload in &removed {
            if let Ok(id) = upload.id.parse() {
                self.uploads.forget(&id);
            }
            let (place, idle) = (self.backend.driver().describe(&upload.folder), upload.idle.as_secs());
            tracing::warn!(
                upload = place,
                idle,
                bytes = upload.size,
                "the disk is full: an upload without a request was removed"
            );
        }
        if !removed.is_empty() {
            self.reclaiming.rounds.fetch_add(1, Ordering::Release);
        }
        Ok(!removed.is_empty())
    }

    /// Lists the uploads of a repository on the disk of `full`. Those that cannot be read are left out.
    async fn idle_uploads(&self, repository: &RepositoryName, full: &Path) -> Vec<IdleUpload> {
        let (uploads, clock) = (layout::uploads(repository), self.clock.clone());
        let (listed, full) = (uploads.clone(), full.to_owned());
        let list = move |driver: &dyn Driver| {
            if !disk::shares_disk(Path::new(&driver.describe(&listed)), &full) {
                return Ok(Vec::new());
            }
            let children = driver.children(&listed)?;
            Ok(children.into_iter().filter_map(|child| examine(driver, &listed, child.name, &clock).ok()?).collect())
        };
        match self.backend.run("list", &uploads, list).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the uploads of a repository cannot be listed, so none is removed");
                Vec::new()
            }
        }
    }
}

fn examine(driver: &dyn Driver, uploads: &ObjectKey, id: String, clock: &Clock) -> io::Result<Option<IdleUpload>> {
    let folder = uploads.join(&id);
    let size = driver.stat(&folder.join("data"))?.map_or(0, |found| found.size);
    Ok(idle_for(driver, &folder, clock)?.map(|idle| IdleUpload { idle, folder, id, size }))
}
