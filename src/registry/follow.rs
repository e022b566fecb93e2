//! Reading a blob that is arriving.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::RegistryError;
use super::fill::{Fill, Progress, Source, State, WITHHELD, agree};
use super::piece::{Piece, ReadError};
use crate::metrics::Metrics;
use crate::oci::{Digest, Hasher, Span};
use crate::sys::Extent;
use crate::upstream::{BlobStream, UpstreamError};

/// The largest extent that is handed out at once, so that a reader sees the fill's end soon.
const LARGEST: u64 = 4 << 20;

/// A blob that a fill brings.
pub struct Arriving {
    pub fill: Arc<Fill>,
    pub source: Source,
    /// Opened beforehand when the fill has given up storing it.
    pub direct: Option<Direct>,
    pub metrics: Arc<Metrics>,
}

/// Follows one fill from its own offset.
pub struct Follower {
    fill: Arc<Fill>,
    watch: watch::Receiver<Progress>,
    source: Source,
    position: u64,
    /// `None`: to the end, which is not known yet.
    end: Option<u64>,
    reach: Reach,
    direct: Option<Direct>,
    _counted: Counted,
}

/// Does a reader go to the blob's last byte? Decided once, by the size that its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It ends before, and so before anybody can know whether the whole is right.
    Early,
    /// Its body ends only when the whole is verified.
    End,
}

impl Follower {
    /// Reads `span`, or all of it, of what arrives; should the fill give up storing it, the rest from the reader's own source.
    pub fn new(arriving: Arriving, span: Option<Span>, reach: Reach) -> Self {
        let Arriving { fill, source, direct, metrics } = arriving;
        let watch = fill.watch();
        let (position, end) = span.map_or((0, None), |span| (span.start, Some(span.end)));
        Self { fill, watch, source, position, end, reach, direct, _counted: Counted::new(metrics) }
    }

    /// The next piece; waits until there is one. `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        loop {
            let progress = *self.watch.borrow_and_update();
            let end = self.end.or(progress.size);
            let verified = matches!(progress.state, State::Complete | State::Unkept);
            if end.is_some_and(|end| self.position >= end) && (verified || self.reach == Reach::Early) {
                return None;
            }
            if let Some(extent) = self.extent(visible(progress, end, self.reach)) {
                return Some(Ok(Piece::Extent(extent)));
            }
            match progress.state {
                // Shorter than was announced: `web` cuts the body.
                State::Complete | State::Unkept => return None,
                State::Failed => return Some(Err(ReadError(self.fill.failure(&self.source.key()).to_string()))),
                State::Unstorable => return self.next_direct().await,
                State::Asking | State::Arriving => {}
            }
            if self.watch.changed().await.is_err() {
                return Some(Err(ReadError("the fill was interrupted".to_owned())));
            }
        }
    }

    /// The stretch that may be read now.
    fn extent(&mut self, visible: u64) -> Option<Extent> {
        let file = self.fill.file().filter(|_| visible > self.position)?;
        let (offset, len) = (self.position, (visible - self.position).min(LARGEST));
        self.position += len;
        Some(Extent { file, offset, len })
    }

    /// Goes on from the own source, where storing was given up.
    async fn next_direct(&mut self) -> Option<Result<Piece, ReadError>> {
        let direct = match self.direct.take() {
            Some(direct) => direct,
            None => match Direct::open(&self.fill, &self.source).await {
                Ok(direct) => direct,
                Err(error) => return Some(Err(ReadError(error.to_string()))),
            },
        };
        let piece = self.direct.insert(direct).next(self.position, self.end, self.reach).await;
        match piece {
            Ok(Some(piece)) => {
                self.position += piece.len() as u64;
                Some(Ok(Piece::Bytes(piece)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(ReadError(error.to_string()))),
        }
    }
}

/// How far a reader may read: what has arrived, without the blob's last bytes until they are verified.
fn visible(progress: Progress, end: Option<u64>, reach: Reach) -> u64 {
    let arrived = end.map_or(progress.prefix, |end| progress.prefix.min(end));
    match (progress.state, reach) {
        // Where storing was given up, what is missing comes from the reader's own source, which verifies it.
        (State::Complete | State::Unkept | State::Unstorable, _) | (_, Reach::Early) => arrived,
        (_, Reach::End) => arrived.min(end.unwrap_or(progress.prefix).saturating_sub(WITHHELD)),
    }
}

/// The rest of a blob that cannot be stored, straight from a source: served, not kept, and verified all the same.
pub struct Direct {
    digest: Digest,
    stream: BlobStream,
    size: Option<u64>,
    /// Has seen everything before `fed`.
    hasher: Hasher,
    fed: u64,
    /// Received, beginning at `position`, and not handed out.
    held: BytesMut,
    position: u64,
    over: bool,
}

impl Direct {
    /// Asks the reader's own source for what comes after the point where the fill gave up.
    pub async fn open(fill: &Fill, source: &Source) -> Result<Self, RegistryError> {
        let (from, hasher) = fill.given_up().ok_or_else(|| RegistryError::interrupted(&fill.digest))?;
        let stream = source.upstream.get_blob(&source.repository, &fill.digest, from).await;
        let stream = stream.map_err(|error| RegistryError::blob(&error, &fill.digest, &source.key()))?;
        let size = agree([source.expected_size, fill.progress().size, stream.total()]);
        let size = size.map_err(|error| RegistryError::blob(&error, &fill.digest, &source.key()))?;
        let position = stream.start();
        Ok(Self { digest: fill.digest, stream, size, hasher, fed: from, held: BytesMut::new(), position, over: false })
    }

    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next piece from `from` on; the last [`WITHHELD`] bytes only when everything is verified.
    async fn next(&mut self, from: u64, end: Option<u64>, reach: Reach) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let skipped = from.saturating_sub(self.position).min(self.held.len() as u64);
            drop(self.held.split_to(usize::try_from(skipped).unwrap_or(0)));
            self.position += skipped;
            let free = self.free(end.filter(|_| reach == Reach::Early));
            if self.position == from && free > 0 {
                self.position += free as u64;
                return Ok(Some(self.held.split_to(free).freeze()));
            }
            if self.over || (reach == Reach::Early && end.is_some_and(|end| from >= end)) {
                return Ok(None);
            }
            self.receive().await?;
        }
    }

    /// How many of the held bytes may go out, to a reader that stops `early` or goes to the end.
    fn free(&self, early: Option<u64>) -> usize {
        let held = self.held.len() as u64;
        let free = match early {
            Some(end) => held.min(end.saturating_sub(self.position)),
            None if self.over => held,
            None => held.saturating_sub(WITHHELD),
        };
        usize::try_from(free).unwrap_or(usize::MAX)
    }

    async fn receive(&mut self) -> Result<(), UpstreamError> {
        let Some(piece) = self.stream.chunk().await? else {
            let found = self.hasher.clone().finish();
            self.over = true;
            let expected = self.digest;
            return if found == expected { Ok(()) } else { Err(UpstreamError::Mismatch { expected, found }) };
        };
        let at = self.position + self.held.len() as u64;
        let known = usize::try_from(self.fed.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        self.hasher.update(&piece[known..]);
        self.fed += (piece.len() - known) as u64;
        self.held.extend_from_slice(&piece);
        Ok(())
    }
}

/// A reader in the gauge of followers.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.fill_followers.inc();
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fill_followers.dec();
    }
}
