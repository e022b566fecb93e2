//! A look at all links of a repository, which finds those that cannot be used.

use std::sync::Arc;

use super::store::HostedStore;
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::driver::Driver;
use crate::store::key::ObjectKey;
use crate::store::{StoreError, layout};

impl HostedStore {
    /// Looks at the links of a repository to its layers and manifests, and at its tags. Notes those that cannot be used.
    pub async fn survey(&self, repository: &RepositoryName) -> Result<(), StoreError> {
        let (key, name, bad) = (layout::repository(repository), repository.clone(), Arc::clone(&self.bad));
        let look = move |driver: &dyn Driver| {
            for folder in [layout::layers(&name), layout::revisions(&name)] {
                for algorithm in [Algorithm::Sha256.as_str(), Algorithm::Sha512.as_str()] {
                    let is_digest = |name: &str| Digest::from_parts(algorithm, name).is_ok();
                    look_at((driver, &bad), &folder.join(algorithm), "link", is_digest);
                }
            }
            look_at((driver, &bad), &layout::tags(&name), "current/link", |name| name.parse::<Tag>().is_ok());
            Ok(())
        };
        self.backend.run("list", &key, look).await
    }
}

/// Looks at the link in each folder inside of one.
fn look_at((driver, bad): (&dyn Driver, &BadEntries), folder: &ObjectKey, link: &str, fits: impl Fn(&str) -> bool) {
    for child in driver.readable_children(folder, bad) {
        let place = folder.join(&child.name);
        if child.is_folder && fits(&child.name) {
            let link = place.join(link);
            bad.accept(Wanted::Object, || driver.describe(&link), driver.stat(&link));
        } else {
            bad.foreign(driver.describe(&place), &child.name);
        }
    }
}
