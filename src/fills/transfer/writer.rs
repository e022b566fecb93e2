//! The write half of a connection: it stores the bytes that the network half has received.
//!
//! The network half may be cut at any time. The write half always runs to its end, so a connection has ended only when
//! all its bytes are on the disk (`docs/fills.md`).

use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::TransferError;
use super::provenance::Sender;
use super::state::Transfer;
use crate::fills::progress::Phase;
use crate::fills::schedule::Assignment;
use crate::oci::Span;

/// The number of batches of a connection that wait for the disk while another one is written.
const QUEUED_BATCHES: usize = 2;

/// Consecutive pieces that a connection has received.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) position: u64,
    pub(super) pieces: Vec<Bytes>,
}

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
                batch.pieces.extend(next.pieces);
            }
            *stored += self.store(batch).await?;
        }
        Ok(())
    }

    /// Stores the bytes of a batch that have not arrived yet. Returns their number.
    async fn store(&self, Batch { position, pieces }: Batch) -> Result<u64, TransferError> {
        let received = total_len(&pieces);
        let mut end = position + received;
        if self.assignment.bounded && self.transfer.scheduler().is_by_ranges() {
            end = end.min(self.transfer.scheduler().end_of(self.assignment));
        }
        let mut stored = 0;
        let mut from = position;
        // A stream of the whole blob also contains bytes that have arrived already. They are dropped.
        while let Some(span) = self.transfer.partial.arrivals().snapshot().first_missing(Span { start: from, end }) {
            self.write(span, slice(&pieces, position, span)).await?;
            stored += span.len();
            from = span.end;
        }
        self.transfer.shared.metrics.fill_duplicate_bytes.inc_by(received.saturating_sub(stored));
        Ok(stored)
    }

    async fn write(&self, span: Span, pieces: Vec<Bytes>) -> Result<(), TransferError> {
        let transfer = self.transfer;
        if transfer.fill.progress().phase == Phase::Repairing {
            let differs = transfer.partial.overwrite(span.start, pieces).await?;
            let before = transfer.provenance().set(&self.sender, span);
            if differs {
                transfer.fill.content().mark_replaced(span);
                transfer.suspect(before);
            }
        } else {
            if let Some(reservation) = transfer.reservation.lock().await.as_mut() {
                reservation.written(span.len()).await.map_err(|_| TransferError::Storage(None))?;
            }
            transfer.partial.write(span.start, pieces).await?;
            transfer.provenance().set(&self.sender, span);
        }
        transfer.fill.arrived();
        Ok(())
    }
}

pub(super) fn total_len(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Returns the part that `span` names of consecutive pieces, the first of which begins at `position`.
fn slice(pieces: &[Bytes], position: u64, span: Span) -> Vec<Bytes> {
    let mut at = position;
    let mut sliced = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let len = piece.len() as u64;
        let from = span.start.clamp(at, at + len) - at;
        let to = span.end.clamp(at, at + len) - at;
        if from < to {
            // Both lie within the piece, whose length is a usize.
            sliced.push(piece.slice(from as usize..to as usize));
        }
        at += len;
    }
    sliced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slicing_crosses_pieces() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"de"), Bytes::from_static(b"fgh")];
        for ((start, end), want) in
            [((10, 18), "abcdefgh"), ((11, 14), "bcd"), ((13, 15), "de"), ((16, 18), "gh"), ((12, 13), "c")]
        {
            let found: Vec<u8> = slice(&pieces, 10, Span { start, end }).concat();
            assert_eq!(String::from_utf8(found).unwrap(), want);
        }
    }
}
