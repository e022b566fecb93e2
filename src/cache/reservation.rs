//! Room for what is arriving.

use std::sync::Arc;

use super::Quota;
use crate::oci::Digest;

/// A blob of unknown size reserves so many bytes at a time.
const GROW_BY: u64 = 16 << 20;

/// Room for a blob that is arriving; given back when dropped.
pub struct Reservation {
    quota: Arc<Quota>,
    bytes: u64,
    written: u64,
}

/// There is no room, even after eviction.
pub struct NoRoom;

impl Quota {
    /// Makes room for a blob of which so much has arrived already, as [`Self::reserve`] does. While its size is unknown, room
    /// is made as it arrives.
    pub async fn reserve_for(
        self: &Arc<Self>,
        digest: &Digest,
        arrived: u64,
        size: Option<u64>,
    ) -> Result<Reservation, NoRoom> {
        {
            let mut held = self.held();
            held.forget_left(digest);
            held.arriving += arrived;
        }
        let mut reservation = Reservation { quota: Arc::clone(self), bytes: arrived, written: arrived };
        reservation.grow(size.unwrap_or(0).saturating_sub(arrived)).await?;
        Ok(reservation)
    }

    /// Makes room for `bytes`, evicting what was not used for longest.
    pub async fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, NoRoom> {
        let mut reservation = Reservation { quota: Arc::clone(self), bytes: 0, written: 0 };
        reservation.grow(bytes).await?;
        Ok(reservation)
    }
}

impl Reservation {
    async fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        // No disk holds this; what an upstream claims must not overflow the sums.
        if bytes > u64::MAX >> 8 {
            return Err(NoRoom);
        }
        // Promised before there is room, so that two fills cannot be promised the same.
        self.quota.held().reserved += bytes;
        self.bytes += bytes;
        let made = self.quota.make_room().await;
        if made.is_err() {
            self.quota.held().reserved -= bytes;
            self.bytes -= bytes;
        }
        made
    }

    /// `bytes` more of the blob are on the disk; reserves more when that is more than was asked for.
    pub async fn written(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if self.written + bytes > self.bytes {
            self.grow(bytes.max(GROW_BY)).await?;
        }
        self.written += bytes;
        let mut held = self.quota.held();
        held.reserved -= bytes;
        held.arriving += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.quota.held();
        held.reserved -= self.bytes - self.written;
        held.arriving -= self.written;
    }
}
