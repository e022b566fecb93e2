//! `storage`: the directory of the images, and the changes that are allowed to it.

use std::path::PathBuf;
use std::time::Duration;

use super::scalar_type::{FLAG, TIMEOUT};
use super::section::{Keys, Section};

/// The values of `storage`.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `storage.filesystem.rootdirectory`.
    pub root: PathBuf,
    pub origin: RootOrigin,
    /// `storage.delete.enabled`.
    pub delete: Delete,
    /// `storage.maintenance.uploadpurging`: uploads older than this are removed. `None` keeps them forever.
    pub upload_age: Option<Duration>,
}

/// The origin of `storage.root`. A default may be replaced by a directory that suits the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootOrigin {
    Written,
    Default,
}

/// The permission to delete content over the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    Allowed,
    Refused,
}

const HOUR: Duration = Duration::from_secs(3600);

/// The drivers of `registry:2` that this version does not have.
const OTHER_DRIVERS: &[&str] = &["inmemory", "s3", "s3aws", "gcs", "azure", "swift", "oss", "rados"];

impl Default for Storage {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/registry"),
            origin: RootOrigin::Default,
            delete: Delete::Refused,
            upload_age: Some(168 * HOUR),
        }
    }
}

impl Section for Storage {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.driver_group("filesystem", |keys| filesystem(self, keys));
        let mut delete = self.delete == Delete::Allowed;
        keys.group("delete", |keys| keys.scalar("enabled", &FLAG, &mut delete));
        self.delete = if delete { Delete::Allowed } else { Delete::Refused };
        keys.group("maintenance", |keys| {
            keys.group("uploadpurging", |keys| purging(&mut self.upload_age, keys));
            keys.group("readonly", |keys| {
                keys.refused_unless("enabled", "false", "a read-only registry comes with a later version; remove it");
            });
        });
        keys.silent("cache");
        keys.ignored(&[("redirect", "clients get the content from this server and are not redirected")]);
        keys.silent("tag");
        keys.refused_drivers(OTHER_DRIVERS, "write `filesystem: {rootdirectory: /var/lib/registry}`");
    }
}

fn filesystem(storage: &mut Storage, keys: &mut Keys<'_, '_>) {
    keys.path("rootdirectory", &mut storage.root);
    if let Some(root) = keys.raw("rootdirectory").filter(|root| !root.is_empty()) {
        storage.origin = RootOrigin::Written;
        if root == "~" || root.starts_with("~/") {
            keys.error("rootdirectory", "begins with `~`, which is not expanded here; write the whole path");
        }
    }
    keys.ignored(&[
        ("maxthreads", "the number of threads follows from the machine"),
        ("maxsize", "pushed content has no limit; the size of the cache is `mirror.cache.maxsize`"),
    ]);
}

fn purging(age: &mut Option<Duration>, keys: &mut Keys<'_, '_>) {
    let (mut enabled, mut dry_run) = (age.is_some(), None);
    keys.scalar("enabled", &FLAG, &mut enabled);
    keys.scalar("age", &TIMEOUT, age);
    keys.scalar("dryrun", &FLAG, &mut dry_run);
    *age = age.filter(|_| enabled && dry_run != Some(true));
    if age.is_some_and(|age| age < HOUR) {
        keys.warn(
            "age",
            "is shorter than 1h, so that uploads on a slow link are removed while they arrive; write 168h",
        );
    }
    keys.ignored(&[("interval", "the server decides when it looks for old uploads")]);
}
