//! Finds which of many digests a repository does not hold.

use std::io;

use super::links;
use super::store::HostedStore;
use crate::oci::{Digest, RepositoryName};
use crate::store::driver::Driver;
use crate::store::{StoreError, layout};

impl HostedStore {
    /// Returns those of `digests` that the repository holds neither as a blob nor as a manifest, in their order. The
    /// search ends once `limit` are found. One task off the async threads looks for all of them: a manifest may name
    /// tens of thousands.
    pub async fn missing(
        &self,
        repository: &RepositoryName,
        digests: Vec<Digest>,
        limit: usize,
    ) -> Result<Vec<Digest>, StoreError> {
        let (key, repository) = (layout::repository(repository), repository.clone());
        self.backend
            .run("look into", &key, move |driver| {
                let mut missing = Vec::new();
                for digest in digests {
                    if missing.len() == limit {
                        break;
                    }
                    if !is_held(driver, &repository, &digest)? {
                        missing.push(digest);
                    }
                }
                Ok(missing)
            })
            .await
    }
}

/// Returns true if the repository holds a blob or a manifest. A link alone is not enough: its content may be gone.
fn is_held(driver: &dyn Driver, repository: &RepositoryName, digest: &Digest) -> io::Result<bool> {
    let is_stored = |content: Option<Digest>| -> io::Result<bool> {
        content.map_or(Ok(false), |content| links::has_content(driver, &content))
    };
    Ok(is_stored(links::read(driver, &layout::layer_link(repository, digest))?)?
        || is_stored(links::manifest_content(driver, repository, digest)?)?)
}
