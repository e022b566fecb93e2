//! The write half of a connection: it stores the bytes that the network half has received.
//!
//! The network half may be cut at any time. The write half always runs to its end, so a connection has ended only when
//! all its bytes are on the disk (`docs/fills.md`).

use tokio::sync::mpsc;

use super::error::TransferError;
use super::provenance::Sender;
use super::state::Transfer;
use crate::fills::progress::Phase;
use crate::fills::schedule::Assignment;
use crate::oci::Span;
use crate::store::{Batch, WrittenSpan};

/// The number of batches of a connection that wait for the disk while another one is written.
const QUEUED_BATCHES: usize = 2;

/// The write half of one connection.
pub(super) struct WriteHalf<'t> {
    pub(super) transfer: &'t Transfer<'t>,
    pub(super) assignment: Assignment,
    /// The endpoint that sends the bytes.
    pub(super) sender: Sender,
}

/// Returns the queue between the halves of a connection.
pub(super) fn queue() -> (mpsc::Sender<Batch>, mpsc::Receiver<Batch>) {
    mpsc::channel(QUEUED_BATCHES)
}

impl WriteHalf<'_> {
    /// Writes batches until the network half has ended. `stored` counts the bytes that had not arrived before.
    pub(super) async fn run(&self, mut batches: mpsc::Receiver<Batch>, stored: &mut u64) -> Result<(), TransferError> {
        while let Some(mut batch) = batches.recv().await {
            // A slow disk gets everything that waits for it in one write.
            while let Ok(next) = batches.try_recv() {
                batch.append(next);
            }
            *stored += self.store(batch).await?;
        }
        Ok(())
    }

    /// Stores the bytes of a batch that have not arrived yet. Returns their number. A stream of the whole blob also
    /// contains bytes that have arrived already. They are dropped.
    async fn store(&self, batch: Batch) -> Result<u64, TransferError> {
        let Span { start, end } = batch.span();
        let mut wanted = end;
        if self.assignment.bounded && self.transfer.scheduler().is_by_ranges() {
            wanted = end.min(self.transfer.scheduler().end_of(self.assignment)).max(start);
        }
        let batch = if wanted < end { batch.part(Span { start, end: wanted }) } else { batch };
        let written = self.write(batch).await?;
        let stored = written.iter().map(|written| written.span.len()).sum();
        self.transfer.shared.metrics.fill_duplicate_bytes.inc_by((end - start).saturating_sub(stored));
        Ok(stored)
    }

    async fn write(&self, batch: Batch) -> Result<Vec<WrittenSpan>, TransferError> {
        let transfer = self.transfer;
        let missing = transfer.partial.arrivals().missing_in(batch.span());
        if missing == 0 {
            return Ok(Vec::new());
        }
        let written = if transfer.fill.progress().phase == Phase::Repairing {
            transfer.partial.overwrite(batch).await?
        } else {
            if let Some(reservation) = transfer.reservation.lock().await.as_mut() {
                reservation.written(missing).await.map_err(|_| TransferError::Storage(None))?;
            }
            transfer.partial.write(batch).await?
        };
        for WrittenSpan { span, differs } in &written {
            let before = transfer.provenance().set(&self.sender, *span);
            if *differs {
                transfer.fill.content().mark_replaced(*span);
                transfer.suspect(before);
            }
        }
        transfer.fill.arrived();
        Ok(written)
    }
}
