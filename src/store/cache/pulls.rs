//! The pulls of mirrored content by clients: the last pull of each tag, with the platforms that clients pulled, and the
//! last pull of each manifest by its digest. `mirror.follow` uses these records.
//!
//! They are not synced, so that pulls need not wait. A crash may lose the newest of them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::paths::{change_on_disk, on_disk};
use super::store::{CacheStore, digests_below};
use crate::oci::{Digest, MirroredName, Reference, Tag};
use crate::store::StoreError;
use crate::store::bad_entries::Wanted;
use crate::sys::disk;

/// The pulls of a tag. All times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TagPulls {
    /// The time of the last pull by a client.
    pub at: u64,
    /// The platforms whose images clients pulled, each with the time of the last pull that is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub platforms: BTreeMap<String, u64>,
    /// The time at which the tag was last followed to the end.
    #[serde(skip_serializing_if = "is_zero")]
    pub followed: u64,
    /// The digest of the manifest whose content was fetched completely for these platforms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<String>,
}

/// The last pull of a manifest by its digest.
#[derive(Serialize, Deserialize)]
struct ManifestPull {
    at: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl CacheStore {
    /// Records that a client pulls a manifest now.
    pub async fn record_pull(&self, name: &MirroredName, reference: &Reference) -> Result<(), StoreError> {
        let at = self.now();
        match reference {
            Reference::Tag(tag) => self.update_pulls(name, tag, move |pulls| pulls.at = at).await,
            Reference::Digest(digest) => {
                let path = self.paths.manifest_pull(name, digest);
                let to = path.clone();
                change_on_disk("write", &path, move || write(&to, &ManifestPull { at })).await
            }
        }
    }

    /// Changes the record of a tag's pulls. A tag without a record of its own gets none.
    pub async fn update_pulls(
        &self,
        name: &MirroredName,
        tag: &Tag,
        change: impl FnOnce(&mut TagPulls) + Send + 'static,
    ) -> Result<(), StoreError> {
        let (path, of_tag) = (self.paths.tag_pulls(name, tag), self.paths.tag(name, tag));
        let (to, pulling) = (path.clone(), Arc::clone(&self.pulling));
        change_on_disk("write", &path, move || {
            let _alone = pulling.lock().unwrap_or_else(PoisonError::into_inner);
            if disk::optional(disk::metadata(&of_tag))?.is_none() {
                return Ok(());
            }
            let mut pulls = read::<TagPulls>(&to)?.unwrap_or_default();
            change(&mut pulls);
            write(&to, &pulls)
        })
        .await
    }

    /// Returns the tags that clients have pulled since a time, and removes the records of older pulls.
    pub async fn pulled_since(&self, name: &MirroredName, since: u64) -> Result<Vec<(Tag, TagPulls)>, StoreError> {
        let (tags, manifests) = (self.paths.all_tag_pulls(name), self.paths.manifest_pulls(name));
        let (listed, pulling) = (tags.clone(), Arc::clone(&self.pulling));
        let clock = self.clock.clone();
        // A time from the future was written while the clock was wrong, and tells nothing.
        let is_since = move |at: u64| at >= since && clock.age_of_record(at) < Duration::MAX;
        let bad = Arc::clone(&self.bad);
        on_disk("list", &tags, move || {
            let place = |path: &Path| path.display().to_string();
            for (_, path) in digests_below(&manifests, &bad) {
                let Some(pull) = bad.accept(Wanted::Object, || place(&path), read::<ManifestPull>(&path)) else {
                    continue;
                };
                if pull.is_none_or(|pull| !is_since(pull.at)) {
                    bad.accept(Wanted::Object, || place(&path), disk::remove(&path));
                }
            }
            let mut found = Vec::new();
            for entry in disk::list(&listed)? {
                let Ok(tag) = entry.name.parse::<Tag>() else { continue };
                let path = listed.join(&entry.name);
                let _alone = pulling.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(pulls) = bad.accept(Wanted::Object, || place(&path), read::<TagPulls>(&path)) else {
                    continue;
                };
                match pulls.filter(|pulls| is_since(pulls.at)) {
                    Some(pulls) => found.push((tag, pulls)),
                    None => drop(bad.accept(Wanted::Object, || place(&path), disk::remove(&path))),
                }
            }
            Ok(found)
        })
        .await
    }

    /// Returns when clients last pulled these manifests by their digests, if that was recorded.
    pub async fn manifest_pulls(
        &self,
        name: &MirroredName,
        digests: Vec<Digest>,
    ) -> Result<Vec<Option<u64>>, StoreError> {
        let paths: Vec<_> = digests.iter().map(|digest| self.paths.manifest_pull(name, digest)).collect();
        on_disk("read", &self.paths.manifest_pulls(name), move || {
            paths.iter().map(|path| Ok(read::<ManifestPull>(path)?.map(|pull| pull.at))).collect()
        })
        .await
    }
}

/// Reads a record. A damaged one counts as missing.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    let json = disk::optional(disk::read(path))?;
    Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
}

fn write(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(record).expect("strings and numbers are always JSON");
    disk::write_replace(path, &json)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::oci::{Algorithm, MediaType};
    use crate::store::{Store, TagRecord};
    use crate::sys::Clock;

    #[tokio::test]
    async fn pulls_are_recorded_kept_apart_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let store = Store::new(directory.path(), clock.clone()).cache;
        let name: MirroredName = "docker.io/library/app".parse().unwrap();
        let (tag, child) = ("1".parse::<Tag>().unwrap(), Digest::of(Algorithm::Sha256, b"child"));
        let (by_tag, by_digest) = (Reference::Tag(tag.clone()), Reference::Digest(child));
        store.record_pull(&name, &by_tag).await.unwrap();
        assert_eq!(store.pulled_since(&name, 0).await.unwrap(), [], "a tag without a record is not followed");

        let media_type = MediaType::known(MediaType::OCI_INDEX);
        let record = TagRecord { digest: child, media_type, size: 1, seen: 1, followed: false };
        store.set_tag(&name, &tag, &record).await.unwrap();
        let begun = clock.unix_seconds();
        store.record_pull(&name, &by_tag).await.unwrap();
        store.record_pull(&name, &by_digest).await.unwrap();
        store
            .update_pulls(&name, &tag, |pulls| pulls.platforms = BTreeMap::from([("linux/amd64".to_owned(), 7)]))
            .await
            .unwrap();
        store.record_pull(&name, &by_tag).await.unwrap();
        let found = store.pulled_since(&name, begun).await.unwrap();
        assert!(found.len() == 1 && found[0].1.at >= begun && found[0].1.platforms["linux/amd64"] == 7, "{found:?}");
        let other = Digest::of(Algorithm::Sha256, b"other");
        let pulls = store.manifest_pulls(&name, vec![child, other]).await.unwrap();
        assert!(pulls[0].is_some_and(|at| at >= begun) && pulls[1].is_none(), "{pulls:?}");

        // The records of an evicted tag or manifest are removed with it.
        store.untag(&name, &tag).await.unwrap();
        store.unlink(&name, &child).await.unwrap();
        assert_eq!(store.pulled_since(&name, 0).await.unwrap(), []);
        assert_eq!(store.manifest_pulls(&name, vec![child]).await.unwrap(), [None]);

        // Old records are removed, and damaged ones count as missing.
        store.set_tag(&name, &tag, &record).await.unwrap();
        store.record_pull(&name, &by_tag).await.unwrap();
        store.record_pull(&name, &by_digest).await.unwrap();
        clock.advance(Duration::from_secs(100));
        assert_eq!(store.pulled_since(&name, begun + 50).await.unwrap(), []);
        assert_eq!(store.manifest_pulls(&name, vec![child]).await.unwrap(), [None]);
        disk::write_replace(&store.paths.tag_pulls(&name, &tag), b"{").unwrap();
        assert_eq!(store.pulled_since(&name, 0).await.unwrap(), []);
        assert!(store.remove_repository(&name).await.unwrap().is_some());
        assert!(!store.has_repository(&name).await.unwrap());
    }
}
