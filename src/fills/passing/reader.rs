//! A reader of a blob that cannot be stored: it follows one stream after another.

use std::sync::Arc;

use bytes::Bytes;

use super::pass::JoinedPass;
use super::passes::{Joinable, Passes};
use super::prefix::Prefix;
use super::reach::Reach;
use super::window::{Taken, Want};
use crate::fills::source::{BlobSource, agreed_size};
use crate::oci::{ByteRange, MirroredName};
use crate::upstream::UpstreamError;

/// A reader gives up after this many streams that brought it nothing.
const FRUITLESS_STREAMS: u32 = 6;

/// A reader of one blob. Its streams may come from other sources, if its own source has proven its right to the blob.
pub struct PassReader {
    passes: Arc<Passes>,
    source: BlobSource,
    joinable: Joinable,
    /// The size that the client was told.
    size: Option<u64>,
    seat: Option<JoinedPass>,
    /// The hash of everything before the reader's position, once it has handed out bytes of the present span.
    handed: Option<Prefix>,
    /// The number of streams that brought nothing, since the last one that did.
    fruitless: u32,
}

impl PassReader {
    /// Returns a reader without a stream. `size` is the size that the client was told. `is_proven` says whether the source
    /// has proven its right to the blob already.
    pub fn new(passes: Arc<Passes>, source: &BlobSource, size: Option<u64>, is_proven: bool) -> Self {
        let joinable = if is_proven { Joinable::All } else { Joinable::Own };
        let (source, seat, handed) = (source.clone(), None, None);
        Self { passes, source, joinable, size, seat, handed, fruitless: 0 }
    }

    /// Joins or opens a stream for the part that the client asked for, and waits for its answer.
    pub async fn open(&mut self, range: Option<ByteRange>) -> Result<(), UpstreamError> {
        let stored = self.passes.stored().clone();
        let begun = Some(stored.clone()).filter(|stored| stored.end() > 0);
        let whole = Want { position: stored.end(), end: None, reach: Reach::End, handed: begun };
        let Some(ByteRange::Closed(first, last)) = range.filter(|_| stored.end() == 0) else {
            return self.join(&whole).await;
        };
        let end = Some(last.saturating_add(1));
        // While the size is unknown, the answer to a range tells it.
        let reach = self.size.map_or(Reach::Early, |size| Reach::of(end, Some(size)));
        match self.join(&Want { position: first, end, reach, handed: None }).await {
            // The answer to a range may not tell the size, or the range lies beyond the end. The stream of the whole blob
            // tells more.
            Ok(()) if self.size.is_none() => self.join(&whole).await,
            Err(UpstreamError::Unsatisfiable { .. }) if reach == Reach::Early => self.join(&whole).await,
            joined => joined,
        }
    }

    /// Returns the size of the whole blob, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns the repository whose source has answered, if a stream is open.
    pub fn answered_by(&self) -> Option<&MirroredName> {
        self.seat.as_ref().map(JoinedPass::source)
    }

    /// Moves to another span.
    pub fn move_on(&mut self) {
        self.handed = None;
    }

    /// Returns the next bytes of a span from `position` on. The last bytes of the blob are
    /// returned only when the whole blob is verified. Returns `None` at the end.
    pub async fn next(
        &mut self,
        span: (u64, Option<u64>),
        position: u64,
        reach: Reach,
    ) -> Result<Option<Bytes>, UpstreamError> {
        let (began, end) = span;
        if reach == Reach::Early && end.is_some_and(|end| position >= end) {
            return Ok(None);
        }
        if self.handed.is_none() && began < position && position == self.passes.stored().end() {
            // Everything before was read from the disk.
            self.handed = Some(self.passes.stored().clone());
            let want = Want { position, end, reach, handed: self.handed.clone() };
            self.seat = self.seat.take().filter(|seat| seat.admits(&want));
        }
        loop {
            let want = Want { position, end, reach, handed: self.handed.clone() };
            let taken = match &mut self.seat {
                Some(seat) => seat.take(&want).await,
                None => {
                    self.join(&want).await?;
                    continue;
                }
            };
            match taken {
                Taken::Bytes(bytes, after) => {
                    (self.handed, self.fruitless) = (after, 0);
                    return Ok(Some(bytes));
                }
                Taken::End(size) if self.size.is_none_or(|told| told == size) => return Ok(None),
                Taken::End(found) => {
                    return Err(UpstreamError::Length { expected: self.size.unwrap_or_default(), found });
                }
                Taken::Failed(error) => self.leave(Some(error))?,
                Taken::Elsewhere => self.leave(None)?,
                Taken::Wait => {}
            }
        }
    }

    /// Leaves the present stream. Returns the error if another stream would not help.
    fn leave(&mut self, error: Option<UpstreamError>) -> Result<(), UpstreamError> {
        let seat = self.seat.take();
        let is_own = seat.is_some_and(|seat| *seat.source() == self.source.name);
        self.fruitless += 1;
        let Some(error) = error else {
            let host = self.source.upstream.name().to_string();
            let reason = "the blob cannot be fetched from where its reader continues".to_owned();
            let is_last = self.fruitless > FRUITLESS_STREAMS;
            return if is_last { Err(UpstreamError::Protocol { host: host.into(), reason }) } else { Ok(()) };
        };
        // Bytes that are wrong cannot be taken back. If none were handed out, another endpoint may have the right ones.
        let endpoints = self.source.upstream.every_endpoint().len() as u32;
        let may_continue = match error {
            UpstreamError::Mismatch { .. } => {
                self.handed.is_none() && (!is_own || self.fruitless < endpoints.min(FRUITLESS_STREAMS))
            }
            _ => !is_own,
        };
        if !is_own {
            self.joinable = Joinable::Own;
        }
        if may_continue { Ok(()) } else { Err(error) }
    }

    /// Joins or opens a stream, and waits for its answer.
    async fn join(&mut self, want: &Want) -> Result<(), UpstreamError> {
        loop {
            let seat = self.passes.join(&self.source, self.joinable, want);
            let answer = seat.answered().await;
            let sized = answer.and_then(|size| agreed_size([self.size, size]));
            match sized {
                Ok(size) => {
                    self.size = self.size.or(size);
                    self.seat = Some(seat);
                    return Ok(());
                }
                // Each reader gets the errors of its own source.
                Err(_) if *seat.source() != self.source.name => self.joinable = Joinable::Own,
                Err(error) => return Err(error),
            }
        }
    }
}
