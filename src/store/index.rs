//! What is known of the store without reading it: names, revisions, holders. Filled behind the requests, and true without that.

use std::sync::Arc;

use super::cache::{LINKED, parse_mirrored};
use super::hosted::INHABITED;
use super::layout::Layout;
use super::{CacheStore, HostedStore, Store, StoreError};
use crate::oci::{Algorithm, Digest, HostName, RepositoryName};
use crate::sys::{blocking, disk};

/// How many repositories are read at a time, so that a stop need not wait for all.
const AT_ONCE: usize = 100;

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Indexed {
    pub repositories: usize,
    pub manifests: usize,
    /// Links: one for each layer in each repository, and for all that mirrored ones may serve.
    pub links: usize,
}

impl Store {
    /// Reads all that the index is to know. Until then, and of what this cannot read, answers come from the directories.
    pub async fn index(&self) -> Result<Indexed, StoreError> {
        let mut indexed = Indexed::default();
        self.hosted.index(&mut indexed).await?;
        self.cache.index(&mut indexed).await?;
        Ok(indexed)
    }
}

impl HostedStore {
    /// Repositories that may hold a blob, in byte order of their names: a link there says whether it is so.
    pub async fn holders(&self, digest: &Digest) -> Result<impl Iterator<Item = RepositoryName> + use<>, StoreError> {
        let names = match self.holders.of(digest) {
            Some(names) => names,
            None => self.names.all(INHABITED).await?.into_iter().map(Arc::from).collect(),
        };
        Ok(names.into_iter().filter_map(|name| name.parse().ok()))
    }

    async fn index(&self, indexed: &mut Indexed) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let names = self.names.page(INHABITED, after.as_deref(), AT_ONCE).await?;
            let (store, entries, mut sum) = (self.clone(), names.entries.clone(), *indexed);
            *indexed = blocking(move || {
                for name in entries.iter().filter_map(|name| name.parse().ok()) {
                    store.enter(&name, &mut sum);
                }
                sum
            })
            .await;
            after = names.entries.last().cloned().filter(|_| names.more);
            if after.is_none() {
                break;
            }
        }
        self.holders.completed();
        Ok(())
    }

    /// Enters one repository. One that cannot be read is left out: nothing could be served of it either.
    fn enter(&self, name: &RepositoryName, sum: &mut Indexed) {
        let layers = layers(&self.layout, name);
        let manifests = self.revisions.enter(&self.layout, name, &self.clock);
        match (layers, manifests) {
            (Ok(layers), Ok(manifests)) => {
                self.holders.add(name.as_str(), &layers);
                sum.repositories += 1;
                sum.manifests += manifests;
                sum.links += layers.len();
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, repository = %name, "a repository cannot be read")
            }
        }
    }
}

impl CacheStore {
    /// Mirrored repositories that may hold a blob; as [`HostedStore::holders`].
    pub async fn holders(
        &self,
        digest: &Digest,
    ) -> Result<impl Iterator<Item = (HostName, RepositoryName)> + use<>, StoreError> {
        let names = match self.holders.of(digest) {
            Some(names) => names,
            None => self.names.all(LINKED).await?.into_iter().map(Arc::from).collect(),
        };
        Ok(names.into_iter().filter_map(|name| parse_mirrored(&name)))
    }

    async fn index(&self, indexed: &mut Indexed) -> Result<(), StoreError> {
        for name in self.names.all(LINKED).await? {
            let Some((upstream, repository)) = parse_mirrored(&name) else { continue };
            match self.digests(&upstream, &repository).await {
                Ok(digests) => {
                    self.holders.add(&name, &digests);
                    indexed.repositories += 1;
                    indexed.links += digests.len();
                }
                Err(error) => tracing::warn!(%error, repository = name, "a repository of the cache cannot be read"),
            }
        }
        self.holders.completed();
        Ok(())
    }
}

/// The layers that a repository has links to.
fn layers(layout: &Layout, repository: &RepositoryName) -> std::io::Result<Vec<Digest>> {
    let mut found = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let directory = layout.layers(repository, algorithm);
        disk::each(&directory, |entry| found.extend(Digest::from_parts(algorithm.as_str(), &entry.name)))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Clock;

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    #[tokio::test]
    async fn who_holds_what_before_and_after_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let other = Store::new(directory.path(), Clock::system());
        let (one, two): (RepositoryName, RepositoryName) = ("team/one".parse().unwrap(), "team/two".parse().unwrap());
        let layer = digest(b"x");
        other.hosted.link_layer(&one, &layer, &layer).await.unwrap();
        other.hosted.link_layer(&two, &digest(b"y"), &digest(b"y")).await.unwrap();

        let store = Store::new(directory.path(), Clock::system());
        let holders = async || store.hosted.holders(&layer).await.unwrap().collect::<Vec<_>>();
        assert_eq!(holders().await, [one.clone(), two.clone()], "each may");
        let indexed = store.index().await.unwrap();
        assert_eq!((indexed.repositories, indexed.manifests, indexed.links), (2, 0, 2));
        assert_eq!(holders().await, std::slice::from_ref(&one));
        store.hosted.link_layer(&two, &layer, &layer).await.unwrap();
        assert_eq!(holders().await, [one.clone(), two.clone()]);
        store.hosted.unlink_layer(&one, &layer).await.unwrap();
        assert_eq!(holders().await, std::slice::from_ref(&two));
        other.hosted.link_layer(&one, &layer, &layer).await.unwrap();
        assert_eq!(holders().await, std::slice::from_ref(&two), "what others add is known when it is read again");
        store.index().await.unwrap();
        assert_eq!(holders().await, [one, two]);
    }
}
