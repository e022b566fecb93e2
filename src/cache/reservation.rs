//! Space that is reserved for blobs that are arriving.

use std::sync::Arc;

use super::eviction::{CacheFull, MostEvicted};
use super::ledger::{Accounts, Ledger};
use crate::oci::Digest;
use crate::store::Right;

/// A blob of unknown size reserves this many bytes at a time.
const GROW_BY: u64 = 16 << 20;

/// A blob of unknown size makes the cache evict at most this part of its limit. It may turn out to be larger than the
/// cache, and then other blobs would have been evicted in vain.
const UNKNOWN_EVICTS: u64 = 4;

/// Space for a blob that is arriving. Dropping it returns the space.
pub struct Reservation {
    ledger: Arc<Ledger>,
    /// `None` for content that has no fill.
    digest: Option<Digest>,
    bytes: u64,
    written: u64,
    /// The bytes that were evicted while the size was unknown.
    evicted: u64,
}

impl Ledger {
    /// Reserves space for a blob of which `arrived` bytes are on the disk already, as [`Self::reserve`] does. While the
    /// size is unknown, the reservation grows as the blob arrives.
    pub async fn reserve_for(
        self: &Arc<Self>,
        digest: &Digest,
        arrived: u64,
        size: Option<u64>,
    ) -> Result<Reservation, CacheFull> {
        let size = {
            let mut accounts = self.accounts();
            // A fill that does not resume the stored bytes leaves them on the disk, so they still count.
            if arrived > 0 {
                accounts.leftovers.remove(digest);
            }
            accounts.arriving += arrived;
            size.or_else(|| accounts.refused.least_size(digest))
        };
        let mut reservation = self.reservation(Some(*digest));
        (reservation.bytes, reservation.written) = (arrived, arrived);
        let most = size.map_or(MostEvicted::Part(UNKNOWN_EVICTS), |_| MostEvicted::All);
        reservation.grow(size.unwrap_or(0).saturating_sub(arrived), most).await?;
        Ok(reservation)
    }

    /// Reserves `bytes` bytes, and evicts the least recently used content if necessary. The space is granted or refused
    /// as a whole. If it is refused, nothing is evicted, and no other reservation has seen it.
    pub async fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, CacheFull> {
        let mut reservation = self.reservation(None);
        reservation.grow(bytes, MostEvicted::All).await?;
        Ok(reservation)
    }

    /// Records that a blob was stored completely. Its reservation ends at the same moment, so that its space never counts
    /// twice.
    pub fn stored(&self, digest: Digest, size: u64, right: Right, reservation: Option<Reservation>) {
        let mut accounts = self.accounts();
        if let Some(reservation) = reservation {
            reservation.end(&mut accounts);
        }
        self.enter_stored(&mut accounts, digest, size, right);
    }

    /// Returns true if a reservation for a blob may be granted now. While its size is unknown, that is assumed.
    pub fn may_have_room(&self, digest: &Digest, size: Option<u64>) -> bool {
        let accounts = self.accounts();
        let Some(bytes) = size.or_else(|| accounts.refused.least_size(digest)) else { return true };
        accounts.space.is_none_or(|space| self.shortage(&accounts, space, bytes).is_ok())
    }

    /// Records the least size of a blob that could not be kept. Only bytes that have arrived count, not a size that an
    /// upstream claims.
    pub fn refused_has_size(&self, digest: &Digest, size: u64) {
        self.accounts().refused.add(*digest, size);
    }

    fn reservation(self: &Arc<Self>, digest: Option<Digest>) -> Reservation {
        if let Some(digest) = digest {
            *self.accounts().filling.entry(digest).or_default() += 1;
        }
        Reservation { ledger: Arc::clone(self), digest, bytes: 0, written: 0, evicted: 0 }
    }
}

impl Reservation {
    async fn grow(&mut self, bytes: u64, most: MostEvicted) -> Result<(), CacheFull> {
        self.evicted += self.ledger.grant(bytes, most, self.evicted).await?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves space for `bytes` more bytes of a blob whose size is unknown, and for more if that is possible.
    async fn cover(&mut self, bytes: u64) -> Result<(), CacheFull> {
        for wanted in [bytes.max(GROW_BY), bytes] {
            if self.grow(wanted, MostEvicted::Part(UNKNOWN_EVICTS)).await.is_ok() {
                return Ok(());
            }
        }
        if let Some(digest) = &self.digest {
            self.ledger.refused_has_size(digest, self.written + bytes);
        }
        Err(CacheFull)
    }

    /// Records that `bytes` more bytes of the blob are on the disk. Reserves more space if the reservation does not
    /// cover them.
    pub async fn written(&mut self, bytes: u64) -> Result<(), CacheFull> {
        if self.written + bytes > self.bytes {
            self.cover(bytes).await?;
        }
        self.written += bytes;
        let mut accounts = self.ledger.accounts();
        accounts.reserved -= bytes;
        accounts.arriving += bytes;
        Ok(())
    }
}

impl Reservation {
    /// Returns the space, because the accounts are about to count what was written.
    fn end(mut self, accounts: &mut Accounts) {
        self.return_space(accounts);
    }

    fn return_space(&mut self, accounts: &mut Accounts) {
        accounts.reserved -= self.bytes - self.written;
        accounts.arriving -= self.written;
        (self.bytes, self.written) = (0, 0);
        let Some(digest) = self.digest.take() else { return };
        if let Some(fills) = accounts.filling.get_mut(&digest) {
            *fills -= 1;
            if *fills == 0 {
                accounts.filling.remove(&digest);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // One that has ended holds nothing. Its accounts may be locked by the caller.
        if self.bytes > 0 || self.digest.is_some() {
            let ledger = Arc::clone(&self.ledger);
            self.return_space(&mut ledger.accounts());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::leftovers::Leftover;
    use crate::config;
    use crate::oci::Algorithm;
    use crate::store::Store;
    use crate::sys::{Clock, Machine};

    const MIB: u64 = 1 << 20;

    fn digest(content: &str) -> Digest {
        Digest::of(Algorithm::Sha256, content.as_bytes())
    }

    /// Returns a ledger of 10 MiB that holds a blob of 3 MiB and a leftover of 3 MiB, without their files.
    fn ledger(directory: &std::path::Path) -> Arc<Ledger> {
        crate::sys::disk::make_dir(&directory.join("cache")).unwrap();
        let limits = config::Cache { max_size: Some(10 * MIB), reserve: Some(0) };
        let store = Store::new(directory, Clock::system()).cache;
        let ledger = Ledger::new(store, limits, &Machine::system(), Arc::default());
        ledger.stored(digest("held"), 3 * MIB, Right::Public, None);
        ledger.left_unfinished(&digest("left"), 3 * MIB);
        ledger
    }

    fn held(ledger: &Ledger) -> (u64, u64, u64) {
        let accounts = ledger.accounts();
        (accounts.bytes, accounts.leftovers.bytes(), accounts.reserved + accounts.arriving)
    }

    #[tokio::test]
    async fn refused_reservation_evicts_nothing_and_is_never_seen() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path());
        let freeing = ledger.freeing.lock().await;
        let huge = digest("huge");
        let mut reserving = std::pin::pin!(ledger.reserve_for(&huge, 0, Some(11 * MIB)));
        tokio::select! {
            biased;
            _ = &mut reserving => panic!("another reservation is being granted"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(held(&ledger), (3 * MIB, 3 * MIB, 0), "the reservation is seen before it is granted");
        drop(freeing);
        assert!(reserving.await.is_err());
        assert_eq!(held(&ledger), (3 * MIB, 3 * MIB, 0));
        assert!(
            ledger.may_have_room(&digest("x"), Some(10 * MIB)) && !ledger.may_have_room(&digest("x"), Some(11 * MIB))
        );
    }

    #[tokio::test]
    async fn reservations_at_the_same_time_share_the_space_and_one_that_is_too_large_takes_none() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path());
        let huge = digest("huge");
        let (one, refused, two) = tokio::join!(
            ledger.reserve(2 * MIB),
            ledger.reserve_for(&huge, 0, Some(u64::MAX)),
            ledger.reserve(2 * MIB),
        );
        assert!(refused.is_err() && one.is_ok() && two.is_ok());
        assert_eq!(held(&ledger), (3 * MIB, 3 * MIB, 4 * MIB));
        assert!(ledger.reserve(3 * MIB).await.is_ok(), "the cache is evicted for it");
        drop((one, two));
        assert_eq!(held(&ledger), (0, 0, 0));
    }

    #[tokio::test]
    async fn stored_blob_is_counted_instead_of_its_reservation() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path());
        let Ok(mut arriving) = ledger.reserve_for(&digest("new"), 0, Some(2 * MIB)).await else { panic!() };
        assert!(arriving.written(MIB).await.is_ok() && arriving.written(MIB).await.is_ok());
        assert_eq!(held(&ledger), (3 * MIB, 3 * MIB, 2 * MIB));
        ledger.stored(digest("new"), 2 * MIB, Right::Public, Some(arriving));
        assert_eq!(held(&ledger), (5 * MIB, 3 * MIB, 0));
        assert!(ledger.accounts().filling.is_empty());
    }

    #[tokio::test]
    async fn blob_of_unknown_size_evicts_a_part_of_the_cache_and_its_next_attempt_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path());
        ledger.stored(digest("more"), 4 * MIB, Right::Public, None);
        let Ok(mut unknown) = ledger.reserve_for(&digest("unknown"), 0, None).await else { panic!("it has no size") };
        assert!(unknown.written(3 * MIB).await.is_err());
        drop(unknown);
        assert_eq!(held(&ledger), (7 * MIB, 3 * MIB, 0), "a quarter of 10 MiB is less than the 3 MiB that it needs");
        ledger.refused_has_size(&digest("unknown"), 12 * MIB);
        assert!(ledger.reserve_for(&digest("unknown"), 0, None).await.is_err());
        assert!(ledger.reserve_for(&digest("other"), 0, None).await.is_ok());
        let leftover = Leftover { bytes: MIB, last_used: 0 };
        ledger.accounts().leftovers.add(digest("resumed"), leftover);
        assert!(ledger.reserve_for(&digest("resumed"), MIB, Some(12 * MIB)).await.is_err());
        assert_eq!(held(&ledger), (7 * MIB, 3 * MIB, 0), "the partial blob is removed by its fill");
    }
}
