//! Hosted repositories as a whole: their list, their content, their removal.

use std::io;
use std::sync::Arc;

use super::links;
use super::store::HostedStore;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::directory::Part;
use crate::store::driver::Driver;
use crate::store::{Page, StoreError, layout};

/// The parts that make a folder a repository: also one that has layers and no manifest yet.
const INHABITED: &[Part] = &[Part::Manifests, Part::Layers];

impl HostedStore {
    /// Returns up to `limit` repositories after `after`, sorted by name. A repository is listed once a manifest was
    /// pushed to it.
    pub async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Page<String>, StoreError> {
        self.names.page(&[Part::Manifests], after, limit).await
    }

    /// Returns up to `limit` repositories after `after`, sorted by name. A repository is listed once it holds a layer
    /// or a manifest.
    pub async fn inhabited_after(&self, after: Option<&str>, limit: usize) -> Result<Page<String>, StoreError> {
        self.names.page(INHABITED, after, limit).await
    }

    /// Returns every repository that holds a layer or a manifest.
    pub async fn inhabited(&self) -> Result<Vec<RepositoryName>, StoreError> {
        Ok(self.names.all(INHABITED).await?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Returns true if the repository holds a layer or a manifest, or did so once.
    pub async fn exists(&self, repository: &RepositoryName) -> Result<bool, StoreError> {
        let (key, repository) = (layout::repository(repository), repository.clone());
        self.backend.run("read", &key, move |driver| exists(driver, &repository)).await
    }

    /// Returns the digests that the content of a repository lies under, each once. Links that cannot be read are left out.
    pub async fn digests(&self, repository: &RepositoryName) -> Result<Vec<Digest>, StoreError> {
        let (key, repository) = (layout::repository(repository), repository.clone());
        let bad = Arc::clone(&self.bad);
        self.backend.run("list", &key, move |driver| Ok(linked(driver, &bad, &repository))).await
    }
}

fn exists(driver: &dyn Driver, repository: &RepositoryName) -> io::Result<bool> {
    Ok(driver.exists(&layout::manifests(repository))? || driver.exists(&layout::layers(repository))?)
}

/// Returns the digests that the links of a repository name.
fn linked(driver: &dyn Driver, bad: &BadEntries, repository: &RepositoryName) -> Vec<Digest> {
    let mut found = Vec::new();
    for folder in [layout::layers(repository), layout::revisions(repository)] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = folder.join(algorithm.as_str());
            for child in driver.readable_children(&folder, bad) {
                let place = folder.join(&child.name);
                let link = place.join("link");
                match Digest::from_parts(algorithm.as_str(), &child.name) {
                    // Under sha256 the name of the link is the digest of the bytes.
                    Ok(digest) if algorithm == Algorithm::Sha256 => found.push(digest),
                    // Under another algorithm the link tells it.
                    Ok(_) => {
                        let named = links::read(driver, &link);
                        found.extend(bad.accept(Wanted::Object, || driver.describe(&link), named).flatten());
                    }
                    Err(_) => bad.foreign(driver.describe(&place), &child.name),
                }
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
