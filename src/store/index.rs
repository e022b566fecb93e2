//! Reads the store into memory: names, manifests and the holders of each digest. It runs in the background. Answers are
//! right before it has finished, but slower.

use std::sync::Arc;

use super::bad_entries::Wanted;
use super::cache::CacheStore;
use super::hosted::{HostedStore, layers};
use super::{Store, StoreError, layout};
use crate::oci::{Digest, MirroredName, RepositoryName};
use crate::sys::blocking;

/// The number of repositories that are read at a time, so that a stop of the process need not wait for all.
const BATCH: usize = 100;

/// The amount of indexed content.
#[derive(Clone, Copy, Debug, Default)]
pub struct Indexed {
    pub repositories: usize,
    pub manifests: usize,
    /// The number of links: one for each layer of each repository, and for all content that a mirrored one may serve.
    pub links: usize,
}

impl Store {
    /// Reads the whole index. Until that is done, and for content that it cannot read, answers come from the storage.
    pub async fn index(&self) -> Result<Indexed, StoreError> {
        let mut indexed = Indexed::default();
        self.hosted.index(&mut indexed).await?;
        self.cache.index(&mut indexed).await?;
        Ok(indexed)
    }
}

impl HostedStore {
    /// Returns the repositories that may hold a blob, sorted by name. A link there says whether they do.
    pub async fn holders(&self, digest: &Digest) -> Result<impl Iterator<Item = RepositoryName> + use<>, StoreError> {
        let names = match self.holders.of(digest) {
            Some(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
            None => self.inhabited().await?,
        };
        Ok(names.into_iter())
    }

    pub(super) async fn index(&self, indexed: &mut Indexed) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let names = self.inhabited_after(after.as_deref(), BATCH).await?;
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

    /// Enters one repository. A repository that cannot be read is left out: nothing could be served of it either.
    fn enter(&self, name: &RepositoryName, sum: &mut Indexed) {
        let driver = self.backend.driver();
        let manifests = self.revisions.enter((driver, &self.bad), name, &self.clock);
        match (layers(driver, name), manifests) {
            (Ok(layers), Ok(manifests)) => {
                self.holders.add(name.as_str(), &layers);
                sum.repositories += 1;
                sum.manifests += manifests;
                sum.links += layers.len();
            }
            (Err(error), _) | (_, Err(error)) => {
                let place = || driver.describe(&layout::repository(name));
                self.bad.accept(Wanted::Folder, place, Err::<(), _>(error));
            }
        }
    }
}

impl CacheStore {
    /// Returns the mirrored repositories that may hold a blob; as [`HostedStore::holders`].
    pub async fn holders(&self, digest: &Digest) -> Result<impl Iterator<Item = MirroredName> + use<>, StoreError> {
        let names = match self.holders.of(digest) {
            Some(names) => names,
            None => self.all_names().await?.into_iter().map(Arc::from).collect(),
        };
        Ok(names.into_iter().filter_map(|name| name.parse().ok()))
    }

    pub(super) async fn index(&self, indexed: &mut Indexed) -> Result<(), StoreError> {
        for name in self.all_names().await? {
            let Ok(mirrored) = name.parse() else { continue };
            match self.digests(&mirrored).await {
                Ok(digests) => {
                    self.holders.add(&name, &digests);
                    indexed.repositories += 1;
                    indexed.links += digests.len();
                }
                Err(error) if self.bad.explains(&error) => {}
                Err(error) => tracing::warn!(%error, repository = name, "a repository of the cache cannot be read"),
            }
        }
        self.holders.completed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::store::Share;
    use crate::sys::Clock;

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    #[tokio::test]
    async fn holders_are_found_before_and_after_indexing() {
        let directory = tempfile::tempdir().unwrap();
        let other = Store::new(directory.path(), Clock::system());
        let (one, two): (RepositoryName, RepositoryName) = ("team/one".parse().unwrap(), "team/two".parse().unwrap());
        let layer = digest(b"x");
        other.hosted.link_layer(&one, &layer, &layer).await.unwrap();
        other.hosted.link_layer(&two, &digest(b"y"), &digest(b"y")).await.unwrap();

        let store = Store::new(directory.path(), Clock::system());
        let holders = async || store.hosted.holders(&layer).await.unwrap().collect::<Vec<_>>();
        assert_eq!(holders().await, [one.clone(), two.clone()], "each may hold it");
        let indexed = store.index().await.unwrap();
        assert_eq!((indexed.repositories, indexed.manifests, indexed.links), (2, 0, 2));
        assert_eq!(holders().await, std::slice::from_ref(&one));
        store.hosted.link_layer(&two, &layer, &layer).await.unwrap();
        assert_eq!(holders().await, [one.clone(), two.clone()]);
        let lock = store.hosted.lock(&one, Share::Alone).await.unwrap();
        store.hosted.unlink_layer(lock, &one, &layer).await.unwrap();
        assert_eq!(holders().await, std::slice::from_ref(&two));
        other.hosted.link_layer(&one, &layer, &layer).await.unwrap();
        assert_eq!(
            holders().await,
            std::slice::from_ref(&two),
            "links of another process are known after the next indexing"
        );
        store.index().await.unwrap();
        assert_eq!(holders().await, [one, two]);
    }
}
