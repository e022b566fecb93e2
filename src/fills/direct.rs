//! The rest of a blob that cannot be stored, streamed from a source to one reader.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::FillError;
use super::fill::{Fill, WITHHELD};
use super::source::{BlobSource, agreed_size};
use crate::oci::{Digest, Hasher};
use crate::sys::jitter;
use crate::upstream::{BlobStream, UpstreamError};

/// The stream gives up after this many attempts to resume that brought no new bytes.
const FRUITLESS_TRIES: u32 = 6;
/// Half the wait before the first attempt; it doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The reach of a reader: whether it reads up to the blob's last byte. It is decided once, from the size that the
/// client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The reader stops earlier, so it cannot wait until the whole blob is verified.
    Early,
    /// The reader's body ends only when the whole blob is verified.
    End,
}

impl Reach {
    /// Returns the reach of a reader that stops at `end`, of a blob of `size` bytes.
    pub fn of(end: Option<u64>, size: Option<u64>) -> Self {
        if end.zip(size).is_some_and(|(end, size)| end < size) { Self::Early } else { Self::End }
    }
}

/// A stream from a source to one reader. Its content is verified, but not stored.
pub struct DirectStream {
    digest: Digest,
    source: BlobSource,
    stream: BlobStream,
    /// The number of bytes to skip, because the stream began before the requested offset.
    skip: u64,
    /// The number of attempts to resume that brought nothing.
    fruitless: u32,
    size: Option<u64>,
    /// The hash of everything before `hashed`.
    hasher: Hasher,
    hashed: u64,
    /// Received bytes that were not handed out. They begin at `position`.
    buffer: BytesMut,
    position: u64,
    ended: bool,
}

impl DirectStream {
    /// Asks the reader's own source for the content after the offset at which the fill gave up.
    pub async fn open(fill: &Fill, source: &BlobSource) -> Result<Self, FillError> {
        let (from, hasher) = fill.given_up().ok_or(FillError::Interrupted(fill.digest))?;
        let failed = |error| FillError::upstream(&error, &fill.digest, &source.name);
        let stream = source.upstream.get_blob(source.name.repository(), &fill.digest, from).await.map_err(failed)?;
        let size = agreed_size([source.expected_size, fill.progress().size, stream.total()]).map_err(failed)?;
        let (position, source) = (stream.start(), source.clone());
        let (buffer, ended, skip, fruitless) = (BytesMut::new(), false, 0, 0);
        Ok(Self {
            digest: fill.digest,
            source,
            stream,
            skip,
            fruitless,
            size,
            hasher,
            hashed: from,
            buffer,
            position,
            ended,
        })
    }

    /// Returns the size of the whole blob, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns the offset of the next byte that the stream can hand out.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the next piece after `from`. The last [`WITHHELD`] bytes are returned only when the whole blob is
    /// verified.
    pub(super) async fn next(
        &mut self,
        from: u64,
        end: Option<u64>,
        reach: Reach,
    ) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let skipped = from.saturating_sub(self.position).min(self.buffer.len() as u64);
            drop(self.buffer.split_to(usize::try_from(skipped).unwrap_or(0)));
            self.position += skipped;
            let ready = self.ready(end.filter(|_| reach == Reach::Early));
            if self.position == from && ready > 0 {
                self.position += ready as u64;
                return Ok(Some(self.buffer.split_to(ready).freeze()));
            }
            if self.ended || (reach == Reach::Early && end.is_some_and(|end| from >= end)) {
                return Ok(None);
            }
            self.receive().await?;
        }
    }

    /// Returns how many bytes of the buffer may be handed out. `early` is the offset at which the reader stops before
    /// the blob's end.
    fn ready(&self, early: Option<u64>) -> usize {
        let buffered = self.buffer.len() as u64;
        let ready = match early {
            Some(end) => buffered.min(end.saturating_sub(self.position)),
            None if self.ended => buffered,
            None => buffered.saturating_sub(WITHHELD),
        };
        usize::try_from(ready).unwrap_or(usize::MAX)
    }

    /// Receives one chunk from the upstream, and hashes it.
    async fn receive(&mut self) -> Result<(), UpstreamError> {
        let chunk = match self.stream.chunk().await {
            Ok(chunk) => chunk,
            Err(error) => return self.resume(error).await,
        };
        let Some(mut chunk) = chunk else {
            let found = self.hasher.clone().finish();
            self.ended = true;
            let expected = self.digest;
            return if found == expected { Ok(()) } else { Err(UpstreamError::Mismatch { expected, found }) };
        };
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        drop(chunk.split_to(skipped));
        self.skip -= skipped as u64;
        if chunk.is_empty() {
            return Ok(());
        }
        self.fruitless = 0;
        let at = self.position + self.buffer.len() as u64;
        let known = usize::try_from(self.hashed.saturating_sub(at)).unwrap_or(usize::MAX).min(chunk.len());
        self.hasher.update(&chunk[known..]);
        self.hashed += (chunk.len() - known) as u64;
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }

    /// Opens another connection after a failure, a bounded number of times.
    async fn resume(&mut self, error: UpstreamError) -> Result<(), UpstreamError> {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_TRIES {
            return Err(error);
        }
        tokio::time::sleep(jitter(FIRST_WAIT * (1 << self.fruitless))).await;
        let at = self.position + self.buffer.len() as u64;
        match self.source.upstream.get_blob(self.source.name.repository(), &self.digest, at).await {
            Ok(stream) => {
                self.skip = at.saturating_sub(stream.start());
                self.stream = stream;
                Ok(())
            }
            // The broken stream returns its error again, which leads to the next attempt or to the end.
            Err(error) if error.is_passing() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
