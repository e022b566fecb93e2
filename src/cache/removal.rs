//! The removal of blobs, with the links of the repositories that may serve them.
//!
//! A link takes a block of the disk, so links do not outlive the content that they are for. A link stays as long as its
//! blob is stored, or a stored manifest of the repository names it.

use std::collections::{HashMap, HashSet};

use super::ledger::Ledger;
use crate::oci::{Digest, MAX_MANIFEST_BYTES, Manifest, MediaType, MirroredName};
use crate::store::StoreError;

/// A blob that is to be evicted, unless it was used meanwhile.
pub(super) struct Victim {
    pub(super) digest: Digest,
    pub(super) last_used: u64,
}

/// The most links to the content of a removed manifest that are removed under the lock at a time. A manifest may name thousands.
const LINKS_AT_A_TIME: usize = 8;

/// The content that was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedBlob {
    /// The size of the blob.
    pub bytes: u64,
    /// The number of links.
    pub links: u64,
}

/// The content that the manifest of a repository names.
type Named = (MirroredName, Vec<Digest>);

impl Ledger {
    /// Removes a blob and all links to it, whether or not it is stored. If it is a manifest, links to the content that it
    /// names are removed too, unless that content is stored.
    pub async fn remove(&self, digest: &Digest) -> Result<RemovedBlob, StoreError> {
        let alone = self.store.lock_blob(digest).await;
        let size = self.store.blob(digest).await?.map_or(0, |stored| stored.size);
        let (links, named) = self.remove_with_links(digest).await?;
        self.removed(digest);
        drop(alone);
        Ok(RemovedBlob { bytes: size, links: links + self.unlink_named(digest, named).await })
    }

    /// Removes a blob like [`Self::remove`], unless it was used meanwhile.
    pub(super) async fn remove_unused(&self, victim: &Victim) -> Result<Option<RemovedBlob>, StoreError> {
        let digest = &victim.digest;
        let alone = self.store.lock_blob(digest).await;
        let is_unused = |bytes: Option<(u64, u64)>| bytes.filter(|(_, last_used)| *last_used == victim.last_used);
        let entry = self.accounts().blobs.get(digest).map(|entry| (entry.size, entry.last_used));
        let Some((bytes, _)) = is_unused(entry) else { return Ok(None) };
        // A blob that cannot be removed stays in the accounts.
        let (links, named) = self.remove_with_links(digest).await?;
        self.removed(digest);
        drop(alone);
        Ok(Some(RemovedBlob { bytes, links: links + self.unlink_named(digest, named).await }))
    }

    /// Removes a blob and the links to it. Returns their number, and the content that it names.
    async fn remove_with_links(&self, digest: &Digest) -> Result<(u64, Vec<Named>), StoreError> {
        let named = self.named_by(digest).await?;
        self.store.remove(digest).await?;
        Ok((self.store.unlink_all(digest).await?, named))
    }

    /// Removes the links to the content that a removed manifest names, a few at a time under the lock of the manifest. Ends if the
    /// manifest is stored again, since the links are for it then. Returns the number of removed links.
    async fn unlink_named(&self, manifest: &Digest, named: Vec<Named>) -> u64 {
        let mut links = 0;
        for (name, digests) in named {
            for few in digests.chunks(LINKS_AT_A_TIME) {
                let _alone = self.store.lock_blob(manifest).await;
                if self.is_held(manifest) {
                    return links;
                }
                for digest in few.iter().filter(|digest| !self.is_held(digest)) {
                    match self.store.unlink(&name, digest).await {
                        Ok(removed) => links += u64::from(removed),
                        // A link that is for nothing is looked for again when space is needed.
                        Err(error) => tracing::warn!(%digest, %error, "a link to removed content stays"),
                    }
                }
            }
        }
        links
    }

    /// Returns the content that a manifest names, for each repository that has it as a manifest.
    async fn named_by(&self, digest: &Digest) -> Result<Vec<Named>, StoreError> {
        let mut found = Vec::new();
        for name in self.store.linked(digest) {
            if let Some(link) = self.store.link(&name, digest).await?.filter(|link| link.media_type.is_manifest()) {
                found.push((name, self.names_of(digest, &link.media_type).await?));
            }
        }
        Ok(found)
    }

    /// Returns the content that a stored manifest names; nothing if it is not stored, or damaged.
    async fn names_of(&self, digest: &Digest, media_type: &MediaType) -> Result<Vec<Digest>, StoreError> {
        let Some(body) = self.store.read(digest, MAX_MANIFEST_BYTES).await? else { return Ok(Vec::new()) };
        let manifest = Manifest::parse(&body, Some(media_type));
        Ok(manifest.map(|manifest| manifest.named().map(|named| named.digest).collect()).unwrap_or_default())
    }

    /// Removes the links of a repository that are not needed: neither is their content stored, nor does a stored manifest
    /// name it. `links` are all links of the repository. Returns the number of removed links.
    pub(super) async fn sweep(
        &self,
        name: &MirroredName,
        links: &HashMap<Digest, MediaType>,
    ) -> Result<u64, StoreError> {
        let mut named = HashSet::new();
        for (digest, media_type) in links.iter().filter(|(_, media_type)| media_type.is_manifest()) {
            if self.is_held(digest) {
                named.extend(self.names_of(digest, media_type).await?);
            }
        }
        let mut removed = 0;
        for digest in links.keys().filter(|digest| !named.contains(*digest)) {
            if self.is_held(digest) {
                continue;
            }
            // The blob may be stored just now, together with its link.
            let _alone = self.store.lock_blob(digest).await;
            if !self.is_held(digest) {
                removed += u64::from(self.store.unlink(name, digest).await?);
            }
        }
        Ok(removed)
    }

    /// Returns true if a blob is stored, or a fill is fetching it.
    fn is_held(&self, digest: &Digest) -> bool {
        let accounts = self.accounts();
        accounts.blobs.contains_key(digest) || accounts.filling.contains_key(digest)
    }
}
