//! Space that is reserved for blobs that are arriving.

use std::sync::Arc;

use super::eviction::CacheFull;
use super::ledger::Ledger;
use crate::oci::Digest;

/// A blob of unknown size reserves this many bytes at a time.
const GROW_BY: u64 = 16 << 20;

/// Space for a blob that is arriving. Dropping it returns the space.
pub struct Reservation {
    ledger: Arc<Ledger>,
    bytes: u64,
    written: u64,
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
        {
            let mut accounts = self.accounts();
            accounts.leftovers.remove(digest);
            accounts.arriving += arrived;
        }
        let mut reservation = Reservation { ledger: Arc::clone(self), bytes: arrived, written: arrived };
        reservation.grow(size.unwrap_or(0).saturating_sub(arrived)).await?;
        Ok(reservation)
    }

    /// Reserves `bytes` bytes, and evicts the least recently used content if necessary.
    pub async fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, CacheFull> {
        let mut reservation = Reservation { ledger: Arc::clone(self), bytes: 0, written: 0 };
        reservation.grow(bytes).await?;
        Ok(reservation)
    }
}

impl Reservation {
    async fn grow(&mut self, bytes: u64) -> Result<(), CacheFull> {
        // No disk has that much space, and a size that an upstream claims must not overflow the sums.
        if bytes > u64::MAX >> 8 {
            return Err(CacheFull);
        }
        // Counted before the space is free, so that two fills cannot reserve the same space.
        self.ledger.accounts().reserved += bytes;
        self.bytes += bytes;
        let freed = self.ledger.free_space().await;
        if freed.is_err() {
            self.ledger.accounts().reserved -= bytes;
            self.bytes -= bytes;
        }
        freed
    }

    /// Records that `bytes` more bytes of the blob are on the disk. Reserves more space if the reservation does not
    /// cover them.
    pub async fn written(&mut self, bytes: u64) -> Result<(), CacheFull> {
        if self.written + bytes > self.bytes {
            self.grow(bytes.max(GROW_BY)).await?;
        }
        self.written += bytes;
        let mut accounts = self.ledger.accounts();
        accounts.reserved -= bytes;
        accounts.arriving += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts();
        accounts.reserved -= self.bytes - self.written;
        accounts.arriving -= self.written;
    }
}
