//! Decodes a blob that has arrived completely in an encoded form (`docs/decisions/0049-encodings-are-claims.md`).

use super::error::TransferError;
use super::state::Transfer;
use crate::oci::ContentCoding;
use crate::store::{Batch, CacheStore, Decoding, Partial};
use crate::upstream::UpstreamError;

/// The decoded content has at most this many bytes, and this many for each encoded byte, unless a descriptor names more. So
/// a few bytes cannot fill the disk.
const DECODED_BYTES: u64 = 4 << 20;
const DECODED_FOR_EACH: u64 = 32;

impl Transfer<'_> {
    /// Decodes the blob into a file of its own, and returns that file if its content matches the digest. Returns `None` if no
    /// answer has named a coding. A source error says why the decoded content is not right.
    pub(in crate::fills) async fn decode(&self, store: &CacheStore) -> Option<Result<Partial, TransferError>> {
        let coding = (*self.coding())?;
        let aside = match store.partial_aside(&self.fill.digest).await {
            Ok(aside) => aside,
            Err(error) => return Some(Err(error.into())),
        };
        let decoded = tokio::select! {
            decoded = self.decode_into(&aside, coding) => decoded,
            () = self.fill.stopped(self.shared.settings.unattended) => Err(TransferError::Stopped),
        };
        if let Err(error) = decoded {
            aside.release().await;
            return Some(Err(error));
        }
        Some(Ok(aside))
    }

    async fn decode_into(&self, aside: &Partial, coding: ContentCoding) -> Result<(), TransferError> {
        let digest = self.fill.digest;
        let wrong = |reason: String| {
            TransferError::Source(UpstreamError::Undecodable { digest, coding: coding.to_string(), reason })
        };
        let (arrivals, most) = (self.partial.arrivals(), self.most_decoded());
        let mut decoding = Decoding::new(arrivals, coding, digest.algorithm());
        let mut position = 0;
        loop {
            let Some(bytes) = decoding.next().await? else { return Err(wrong("cannot be decoded".to_owned())) };
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len() as u64;
            if position + len > most {
                return Err(wrong(format!("decodes to more than {most} bytes")));
            }
            if let Some(reservation) = self.reservation.lock().await.as_mut() {
                reservation.written(len).await.map_err(|_| TransferError::Storage(None))?;
            }
            aside.write(Batch::new(position, vec![bytes])).await?;
            position += len;
        }
        match decoding.digest() {
            Some(found) if found == digest => Ok(()),
            found => Err(wrong(format!("decodes to {}", found.map(|found| found.to_string()).unwrap_or_default()))),
        }
    }

    /// Returns the most bytes that the blob may have.
    fn most_decoded(&self) -> u64 {
        let named = self.fill.usable_sources().iter().filter_map(|source| source.expected_size).max();
        let encoded = self.partial.arrivals().total();
        named.unwrap_or(0).max(DECODED_BYTES + DECODED_FOR_EACH * encoded)
    }
}
