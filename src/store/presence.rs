//! Which content a repository does not hold, of much that is named at once.

use std::io;
use std::sync::Arc;

use super::hosted::{is_there, read_link};
use super::layout::Layout;
use super::manifests::content_of;
use super::{HostedStore, StoreError, on_disk};
use crate::oci::{Digest, RepositoryName};

impl HostedStore {
    /// Those of `digests` that the repository holds neither as a blob nor as a manifest, in their order. The search ends when
    /// `most` are found. One turn off the async threads does for all: a manifest may name tens of thousands.
    pub async fn absent(
        &self,
        repository: &RepositoryName,
        digests: Vec<Digest>,
        most: usize,
    ) -> Result<Vec<Digest>, StoreError> {
        let path = self.layout.hosted_repository(repository);
        let (layout, repository) = (Arc::clone(&self.layout), repository.clone());
        on_disk("look into", &path, move || {
            let mut absent = Vec::new();
            for digest in digests {
                if absent.len() == most {
                    break;
                }
                if !is_held(&layout, &repository, &digest)? {
                    absent.push(digest);
                }
            }
            Ok(absent)
        })
        .await
    }
}

/// Is it there, as a blob or as a manifest? A link alone is not enough: what it names may be gone.
fn is_held(layout: &Layout, repository: &RepositoryName, digest: &Digest) -> io::Result<bool> {
    let there = |content: Option<Digest>| -> io::Result<bool> {
        content.map_or(Ok(false), |content| is_there(layout, &content))
    };
    Ok(there(read_link(&layout.layer_link(repository, digest))?)? || there(content_of(layout, repository, digest)?)?)
}
