//! Eviction: makes space by removing leftovers first, then the least recently used blobs.

use std::path::Path;
use std::time::Duration;

use super::ledger::{Accounts, Ledger};
use super::removal::Victim;
use crate::oci::Digest;
use crate::store::LINK_BYTES;
use crate::sys::disk::Space;

/// A caller that needs space for a write of unknown size evicts this many bytes at a time, so that it need not evict
/// for each piece.
pub const EVICTION_STEP: u64 = 256 << 20;

/// Eviction removes this fraction of the cache in addition to the space that is needed, so that the next fill need not
/// evict again.
const SLACK: u64 = 50;

/// Blobs that are used while others are evicted are kept. If too few are evicted, they are looked at again, this many times in
/// all.
const ROUNDS: usize = 3;

/// Links are looked at one by one at most this often.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Links are looked at only if there are more than two for each blob, and this many in addition.
const SPARE_LINKS: u64 = 256;

/// The cache has no space left, even after eviction.
pub struct CacheFull;

/// The bytes that may be evicted for one reservation.
#[derive(Clone, Copy, Debug)]
pub(super) enum MostEvicted {
    All,
    /// This part of the cache's limit, such as a quarter for 4.
    Part(u64),
}

impl Ledger {
    /// Grants `bytes` more bytes of space, after eviction if necessary, or refuses them. If they are refused, nothing is
    /// evicted or counted. `evicted` bytes were evicted for the same reservation before. Returns the bytes that were
    /// evicted now.
    pub(super) async fn grant(&self, bytes: u64, most: MostEvicted, evicted: u64) -> Result<u64, CacheFull> {
        // No disk has that much space, and a size that an upstream claims must not overflow the sums.
        if bytes > u64::MAX >> 8 {
            return Err(CacheFull);
        }
        let _alone = self.freeing.lock().await;
        let Ok(space) = self.store.space().await else { return Err(CacheFull) };
        let mut shortage = self.grant_free(bytes, space)?;
        if shortage > 0 && self.sweep_is_due() {
            self.index_links().await.map_err(|_| CacheFull)?;
            shortage = self.grant_free(bytes, space)?;
        }
        if shortage == 0 {
            return Ok(0);
        }
        let (limit, _) = self.bounds(space);
        if let MostEvicted::Part(part) = most
            && evicted + shortage > limit / part
        {
            return Err(CacheFull);
        }
        let evicted = self.evict(shortage).await?;
        self.accounts().reserved += bytes;
        Ok(evicted)
    }

    /// Grants `bytes` more bytes if they are free. Returns the number of bytes that must be evicted otherwise.
    fn grant_free(&self, bytes: u64, space: Space) -> Result<u64, CacheFull> {
        let mut accounts = self.accounts();
        accounts.space = Some(space);
        let shortage = self.shortage(&accounts, space, bytes)?;
        if shortage == 0 {
            accounts.reserved += bytes;
        }
        Ok(shortage)
    }

    /// Returns true if there are many more links than blobs, and they were not looked at lately. Most of them may be for
    /// content that was asked for and never fetched.
    fn sweep_is_due(&self) -> bool {
        let mut accounts = self.accounts();
        let many = self.store.link_count() > 2 * accounts.blobs.len() as u64 + SPARE_LINKS;
        let due = accounts.swept.is_none_or(|swept| self.machine.clock.since(swept) >= SWEEP_EVERY);
        if many && due {
            accounts.swept = Some(self.machine.clock.moment());
        }
        many && due && self.is_indexed()
    }

    /// Returns the number of bytes that must be evicted before `bytes` more can be reserved. Fails if the cache holds
    /// less than that.
    pub(super) fn shortage(&self, accounts: &Accounts, space: Space, bytes: u64) -> Result<u64, CacheFull> {
        let (limit, reserve) = self.bounds(space);
        let links = self.store.link_count() * LINK_BYTES;
        let held = accounts.bytes + accounts.leftovers.bytes() + links;
        let reserved = accounts.reserved.saturating_add(bytes);
        let taken = held.saturating_add(accounts.arriving).saturating_add(reserved);
        let over_limit = taken.saturating_sub(limit);
        let over_disk = reserved.saturating_add(reserve).saturating_sub(space.free);
        let shortage = over_limit.max(over_disk);
        if shortage > held { Err(CacheFull) } else { Ok(shortage) }
    }

    /// Brings the cache back within its limits. An operator may have lowered them while the server was stopped.
    pub(super) async fn enforce_limits(&self) {
        if self.grant(0, MostEvicted::All, 0).await.is_err() {
            tracing::warn!(
                "the disk has less free space than mirror.cache.reserve demands, and the cache holds nothing to evict"
            );
        }
    }

    /// Evicts up to `wanted` bytes for a write that the disk has no space for, such as a push. Returns false if the
    /// cache holds nothing to evict.
    pub async fn evict_up_to(&self, wanted: u64) -> bool {
        let held = {
            let accounts = self.accounts();
            accounts.bytes + accounts.leftovers.bytes()
        };
        held > 0 && self.evict(wanted.min(held)).await.is_ok()
    }

    /// Evicts like [`Self::evict_up_to`] if that frees space on the disk of `place`.
    pub async fn evict_beside(&self, place: &Path, wanted: u64) -> bool {
        self.store.shares_disk(place).await && self.evict_up_to(wanted).await
    }

    /// Removes leftovers that were last written more than `age` ago.
    pub async fn purge_leftovers(&self, age: Duration) {
        let before = self.now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let old = self.accounts().leftovers.older_than(before);
        let mut purged = 0;
        for digest in old {
            purged += self.remove_leftover(&digest).await;
        }
        if purged > 0 {
            tracing::info!(bytes = purged, "removed unfinished blobs that no client has asked for again");
        }
    }

    /// Removes leftovers and then blobs, each in the order of their last use, until `wanted` bytes are free. Returns the
    /// number of bytes that this freed.
    async fn evict(&self, wanted: u64) -> Result<u64, CacheFull> {
        let mut freed = 0;
        let leftovers = self.accounts().leftovers.older_than(u64::MAX);
        for digest in leftovers {
            if freed < wanted {
                freed += self.remove_leftover(&digest).await;
            }
        }
        match wanted.saturating_sub(freed) {
            0 => Ok(freed),
            wanted => Ok(freed + self.evict_blobs(wanted).await?),
        }
    }

    /// Evicts the least recently used blobs, and a little more than is needed.
    async fn evict_blobs(&self, wanted: u64) -> Result<u64, CacheFull> {
        let goal = wanted + self.accounts().bytes / SLACK;
        let mut freed = 0;
        for _ in 0..ROUNDS {
            for victim in self.victims() {
                if freed >= goal {
                    return Ok(freed);
                }
                freed += self.evict_blob(&victim).await;
            }
        }
        if freed >= wanted { Ok(freed) } else { Err(CacheFull) }
    }

    async fn evict_blob(&self, victim: &Victim) -> u64 {
        let digest = victim.digest;
        match self.remove_unused(victim).await {
            Ok(Some(removed)) => {
                self.metrics.evictions.inc();
                self.metrics.evicted_bytes.inc_by(removed.bytes);
                tracing::debug!(%digest, size = removed.bytes, links = removed.links, "evicted a blob");
                removed.bytes + removed.links * LINK_BYTES
            }
            Ok(None) => 0,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot evict a blob");
                0
            }
        }
    }

    /// Returns all blobs, the least recently used first.
    fn victims(&self) -> Vec<Victim> {
        let accounts = self.accounts();
        let mut victims: Vec<_> = accounts
            .blobs
            .iter()
            .map(|(digest, entry)| Victim { digest: *digest, last_used: entry.last_used })
            .collect();
        drop(accounts);
        victims.sort_unstable_by_key(|victim| victim.last_used);
        victims
    }

    /// Removes the leftover of one blob. Returns the number of bytes that this freed.
    async fn remove_leftover(&self, digest: &Digest) -> u64 {
        let bytes = self.accounts().leftovers.remove(digest);
        match self.store.remove_partial(digest).await {
            Ok(true) => bytes,
            // A fill has resumed it meanwhile, and counts it as arriving.
            Ok(false) => 0,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot remove an unfinished blob");
                0
            }
        }
    }
}
