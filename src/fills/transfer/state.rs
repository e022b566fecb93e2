//! The state that the activities of one transfer share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::TransferError;
use super::provenance::{Provenance, Sender};
use crate::cache::Reservation;
use crate::fills::fill::Fill;
use crate::fills::progress::Phase;
use crate::fills::schedule::{Needs, Scheduler};
use crate::fills::shared::Shared;
use crate::oci::{ContentCoding, Hasher, MirroredName, Span};
use crate::store::{Partial, PrefixHash, StoreError};
use crate::upstream::{EndpointId, UpstreamError};

/// The transfer of one blob to the disk.
pub(in crate::fills) struct Transfer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) fill: &'a Fill,
    pub(super) partial: &'a Partial,
    /// An async lock: hashing continues across awaits, and only one caller may drive it.
    pub(super) hash: tokio::sync::Mutex<PrefixHash>,
    /// An async lock: a write beyond the expected size waits for more space. `None` until a source has answered.
    pub(super) reservation: tokio::sync::Mutex<Option<Reservation>>,
    // Each of the std locks is held for one operation.
    scheduler: Mutex<Scheduler>,
    provenance: Mutex<Provenance>,
    /// The sizes that endpoints claim, and that contradict a size that was known before. `None`: an endpoint names no size,
    /// and has sent more.
    claims: Mutex<Vec<(Sender, Option<u64>)>>,
    /// The endpoints whose bytes a repair has replaced.
    suspects: Mutex<Vec<Sender>>,
    /// True once bytes of an encoded form may have been stored.
    encoded: AtomicBool,
    /// The coding that an answer has named.
    coding: Mutex<Option<ContentCoding>>,
    /// Notified when an answer has come, since there may be work for more connections.
    pub(super) answered: Notify,
}

impl<'a> Transfer<'a> {
    /// Prepares a transfer into a partial blob.
    pub(in crate::fills) fn new(shared: &'a Shared, fill: &'a Fill, partial: &'a Partial) -> Self {
        let scheduler = Scheduler::new(None, shared.settings.segment, Vec::new());
        Self {
            shared,
            fill,
            partial,
            hash: tokio::sync::Mutex::new(PrefixHash::new(fill.digest.algorithm())),
            reservation: tokio::sync::Mutex::default(),
            scheduler: Mutex::new(scheduler),
            provenance: Mutex::default(),
            claims: Mutex::default(),
            suspects: Mutex::default(),
            encoded: AtomicBool::new(false),
            coding: Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Returns the reservation of disk space, which is kept until the blob is stored.
    pub(in crate::fills) fn into_reservation(self) -> Option<Reservation> {
        self.reservation.into_inner()
    }

    /// Reserves disk space for the size that an answer names, unless that has been done.
    pub(super) async fn reserve(&self, named: Option<u64>) -> Result<(), TransferError> {
        let mut reservation = self.reservation.lock().await;
        if reservation.is_none() {
            // Nothing is evicted for a size that only a manifest names.
            let arrived = self.partial.arrivals().total();
            let reserved = self.shared.ledger.reserve_for(&self.fill.digest, arrived, named).await;
            *reservation = Some(reserved.map_err(|_| TransferError::Storage(None))?);
        }
        Ok(())
    }

    /// Begins again at the first byte, because the bytes that had arrived are not the beginning of this blob.
    pub(in crate::fills) async fn restart(&self) -> Result<(), StoreError> {
        self.forget_hash().await;
        *self.scheduler() = Scheduler::new(None, self.shared.settings.segment, Vec::new());
        self.partial.restart().await?;
        self.fill.begin_again(Arc::clone(self.partial.arrivals()));
        Ok(())
    }

    /// Returns the length and the hash of everything that has arrived without a gap.
    pub(in crate::fills) async fn hashed(&self) -> Result<(u64, Hasher), StoreError> {
        let mut hash = self.hash.lock().await;
        let prefix = self.partial.arrivals().prefix();
        while hash.position() < prefix {
            hash.advance(self.partial.arrivals(), prefix).await?;
        }
        Ok((prefix, hash.hasher()))
    }

    /// Records that bytes of an encoded form of the blob arrive. Returns the phase of such a fill.
    pub(super) fn encoded(&self) -> Phase {
        self.encoded.store(true, Ordering::Relaxed);
        Phase::Encoded
    }

    /// Returns true if what has arrived may be an encoded form of the blob. A later fill must not resume it: its source may
    /// send the blob plain.
    pub(in crate::fills) fn is_encoded(&self) -> bool {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Makes the hash begin again at the first byte.
    pub(super) async fn forget_hash(&self) {
        *self.hash.lock().await = PrefixHash::new(self.fill.digest.algorithm());
    }

    /// Returns true if everything has arrived.
    pub(super) fn is_done(&self) -> bool {
        let scheduler = self.scheduler();
        // Nothing of an empty blob is missing, but its source has to confirm it.
        let unasked = scheduler.size() == Some(0) && self.fill.progress().phase == Phase::Asking;
        !unasked && scheduler.is_done(&self.partial.arrivals().snapshot())
    }

    /// Records that an endpoint claims another size than an endpoint before it or than a descriptor. Returns the error of its
    /// connection.
    pub(super) fn contradicted(&self, sender: &Sender, claim: Option<u64>, error: UpstreamError) -> TransferError {
        self.claims().push((sender.clone(), claim));
        TransferError::Source(error)
    }

    /// Returns true if an endpoint has claimed this size before.
    pub(super) fn has_claimed(&self, sender: &Sender, size: u64) -> bool {
        self.claims().contains(&(sender.clone(), Some(size)))
    }

    /// Takes the claims of a source's endpoints: one of the sizes that were not tried yet, and the endpoints that claim it.
    /// Returns `None` if there are no such claims.
    pub(super) fn take_claim(
        &self,
        name: &MirroredName,
        tried: &[Option<u64>],
    ) -> Option<(Option<u64>, Vec<EndpointId>)> {
        let mut claims = self.claims();
        claims.retain(|((source, _), size)| source != name || !tried.contains(size));
        let size = claims.iter().find(|((source, _), _)| source == name).map(|(_, size)| *size)?;
        let taken = claims.extract_if(.., |((source, _), claim)| source == name && *claim == size);
        let mut endpoints: Vec<_> = taken.map(|((_, endpoint), _)| endpoint).collect();
        endpoints.dedup();
        Some((size, endpoints))
    }

    fn claims(&self) -> MutexGuard<'_, Vec<(Sender, Option<u64>)>> {
        // As for the scheduler: a poisoned lock holds a usable value.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the scheduler choose. The transfer may use this number of connections.
    pub(super) fn schedule<T>(&self, connections: usize, choose: impl FnOnce(&mut Scheduler, &Needs<'_>) -> T) -> T {
        let mut scheduler = self.scheduler();
        let wanted: Vec<Span> = self.fill.waiters().wanted(scheduler.size());
        let arrived = self.partial.arrivals().snapshot();
        let needs = Needs { arrived: &arrived, wanted: &wanted, connections, now: self.shared.hosts.now() };
        choose(&mut scheduler, &needs)
    }

    pub(super) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        // A panic leaves a connection that is never released, so a poisoned lock holds a usable scheduler.
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn provenance(&self) -> MutexGuard<'_, Provenance> {
        // As for the scheduler: a poisoned lock holds a usable value.
        self.provenance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn suspects(&self) -> MutexGuard<'_, Vec<Sender>> {
        // As for the scheduler: a poisoned lock holds a usable value.
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn coding(&self) -> MutexGuard<'_, Option<ContentCoding>> {
        // As for the scheduler: a poisoned lock holds a usable value.
        self.coding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the endpoints whose bytes were replaced by different ones.
    pub(super) fn suspect(&self, senders: Vec<Sender>) {
        let mut suspects = self.suspects();
        for sender in senders {
            if !suspects.contains(&sender) {
                suspects.push(sender);
            }
        }
    }
}
