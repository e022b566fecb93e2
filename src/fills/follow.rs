//! Reading a blob that is arriving.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::audience::Attention;
use super::error::FillError;
use super::fill::{Fill, Progress, State, WITHHELD};
use super::source::{Source, agree};
use crate::metrics::Metrics;
use crate::oci::{Digest, Hasher, Span};
use crate::store::{Piece, ReadError};
use crate::sys::{Extent, jitter};
use crate::upstream::{BlobStream, UpstreamError};

/// The largest extent that is handed out at once, so that a reader sees the fill's end soon.
const LARGEST: u64 = 4 << 20;

/// What is served without being kept goes on after so many fruitless tries, not more, the first of them after this.
const FRUITLESS_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Where several endpoints may bring a blob, one may lie; it is found out at the end, and put right from the others. So long
/// nothing of the blob is handed out, so that nobody has a part of the lie; a client waits for the first byte of a body for
/// about as long as this. It loses nothing by it: the last byte comes no later.
const HELD: Duration = Duration::from_secs(10);

/// A blob that a fill brings.
pub struct Arriving {
    pub fill: Arc<Fill>,
    pub source: Source,
    /// Opened beforehand when the fill has given up storing it.
    pub direct: Option<Direct>,
    pub attention: Attention,
    pub metrics: Arc<Metrics>,
}

/// Follows one fill from its own offset.
pub struct Follower {
    fill: Arc<Fill>,
    watch: watch::Receiver<Progress>,
    source: Source,
    /// What was handed out before the whole was verified; of the stretch that is being read last.
    unverified: Vec<Span>,
    position: u64,
    /// `None`: to the end, which is not known yet.
    end: Option<u64>,
    reach: Reach,
    /// The size that the client was told.
    size: Option<u64>,
    /// What is read after this stretch.
    rest: VecDeque<Span>,
    direct: Option<Direct>,
    attention: Attention,
    /// Nothing is handed out before.
    held: Option<Pin<Box<Sleep>>>,
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

impl Reach {
    fn of(end: Option<u64>, size: Option<u64>) -> Self {
        if end.zip(size).is_some_and(|(end, size)| end < size) { Self::Early } else { Self::End }
    }
}

impl Follower {
    /// Reads stretches of what arrives, one after the other, or all of it where there are none; should the fill give up storing
    /// it, the rest from the reader's own source. `size` is what the client was told.
    pub fn new(arriving: Arriving, size: Option<u64>, stretches: Vec<Span>) -> Self {
        let Arriving { fill, source, direct, attention, metrics } = arriving;
        let watch = fill.watch();
        let several = source.upstream.every_endpoint().len() > 1;
        let mut rest = VecDeque::from(stretches);
        let to_the_end = rest.is_empty() || rest.iter().any(|span| Reach::of(Some(span.end), size) == Reach::End);
        let held = (several && to_the_end).then(|| Box::pin(tokio::time::sleep(HELD)));
        let counted = Counted::new(metrics);
        let (position, end) = rest.pop_front().map_or((0, size), |span| (span.start, Some(span.end)));
        let (unverified, reach) = (vec![Span { start: position, end: position }], Reach::of(end, size));
        Self {
            fill,
            watch,
            source,
            unverified,
            position,
            end,
            reach,
            size,
            rest,
            direct,
            attention,
            held,
            _counted: counted,
        }
    }

    /// Goes on with the next stretch, if there is one.
    fn turn_to_next(&mut self) -> bool {
        let Some(span) = self.rest.pop_front() else { return false };
        self.position = span.start;
        self.end = Some(span.end);
        self.reach = Reach::of(self.end, self.size);
        self.unverified.push(Span { start: span.start, end: span.start });
        self.attention.turn_to(span);
        // A stream that has passed the place by does not come back to it.
        let begins = span.start.max(self.fill.given_up_at().unwrap_or(0));
        self.direct = self.direct.take().filter(|direct| direct.position <= begins);
        true
    }

    /// The next piece, which is of one stretch; waits until there is one. `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        loop {
            let progress = *self.watch.borrow_and_update();
            let end = self.end.or(progress.size);
            if self.fill.is_tainted(&self.unverified) {
                return Some(Err(ReadError("what was sent of this blob was not what its digest says".to_owned())));
            }
            let kept = self.fill.given_up_at().unwrap_or(u64::MAX);
            if self.reach == Reach::End && self.unverified.iter().any(|span| !span.is_empty() && span.end > kept) {
                // It came from beyond a hole, and nobody will ever verify it.
                return Some(Err(ReadError("the disk is full, and what was sent could not be verified".to_owned())));
            }
            let verified = matches!(progress.state, State::Complete | State::Unkept);
            if end.is_some_and(|end| self.position >= end) && (verified || self.reach == Reach::Early) {
                if self.turn_to_next() {
                    continue;
                }
                return None;
            }
            let undecided = matches!(progress.state, State::Asking | State::Arriving | State::Doubted);
            if !undecided || self.held.as_ref().is_some_and(|held| held.is_elapsed()) {
                self.held = None;
            }
            if self.held.is_none()
                && let Some(extent) = self.extent(&progress, end)
            {
                return Some(Ok(Piece::Extent(extent)));
            }
            match progress.state {
                // Shorter than was announced: `web` cuts the body.
                State::Complete | State::Unkept => return None,
                State::Failed => return Some(Err(ReadError(self.fill.failure(&self.source.key()).to_string()))),
                State::Unstorable => match self.next_direct().await {
                    None if self.end.is_some_and(|end| self.position >= end) && self.turn_to_next() => continue,
                    piece => return piece,
                },
                State::Asking | State::Arriving | State::Doubted => {}
            }
            if self.changed().await.is_err() {
                return Some(Err(ReadError("the fill was interrupted".to_owned())));
            }
        }
    }

    /// Waits until there may be more to hand out.
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        match &mut self.held {
            None => self.watch.changed().await,
            Some(held) => tokio::select! {
                changed = self.watch.changed() => changed,
                () = held => Ok(()),
            },
        }
    }

    /// The stretch that may be read now.
    fn extent(&mut self, progress: &Progress, end: Option<u64>) -> Option<Extent> {
        let arrivals = self.fill.arrivals()?;
        // Where storing was given up, the rest comes from the reader's own source, also what had arrived beyond a hole.
        let kept = self.fill.given_up_at().unwrap_or(u64::MAX);
        let visible = visible(progress, arrivals.end_of(self.position).min(kept), end, self.reach);
        let (offset, len) = (self.position, visible.checked_sub(self.position).filter(|len| *len > 0)?.min(LARGEST));
        self.position += len;
        if !matches!(progress.state, State::Complete | State::Unkept) {
            let stretch = self.unverified.last_mut().expect("there is one for the stretch that is being read");
            stretch.end = self.position;
        }
        self.attention.reached(self.position);
        Some(arrivals.extent(offset, len))
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

/// How far a reader may read of what has `arrived` without a hole from its position on: not the blob's last bytes until they
/// are verified, and nothing at all that is in doubt.
fn visible(progress: &Progress, arrived: u64, end: Option<u64>, reach: Reach) -> u64 {
    let arrived = end.map_or(arrived, |end| arrived.min(end));
    match (progress.state, reach) {
        (State::Doubted, _) => 0,
        // Where storing was given up, what is missing comes from the reader's own source, which verifies it.
        (State::Complete | State::Unkept | State::Unstorable, _) | (_, Reach::Early) => arrived,
        (_, Reach::End) => arrived.min(end.unwrap_or(arrived).saturating_sub(WITHHELD)),
    }
}

/// The rest of a blob that cannot be stored, straight from a source: served, not kept, and verified all the same.
pub struct Direct {
    digest: Digest,
    source: Source,
    stream: BlobStream,
    /// So many bytes of the stream are known: it began before it should.
    known: u64,
    /// Tries to go on that brought nothing.
    fruitless: u32,
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
    pub async fn open(fill: &Fill, source: &Source) -> Result<Self, FillError> {
        let (from, hasher) = fill.given_up().ok_or(FillError::Interrupted(fill.digest))?;
        let stream = source.upstream.get_blob(&source.repository, &fill.digest, from).await;
        let stream = stream.map_err(|error| FillError::upstream(&error, &fill.digest, &source.key()))?;
        let size = agree([source.expected_size, fill.progress().size, stream.total()]);
        let size = size.map_err(|error| FillError::upstream(&error, &fill.digest, &source.key()))?;
        let (position, source) = (stream.start(), source.clone());
        let (held, over, known, fruitless) = (BytesMut::new(), false, 0, 0);
        Ok(Self {
            digest: fill.digest,
            source,
            stream,
            known,
            fruitless,
            size,
            hasher,
            fed: from,
            held,
            position,
            over,
        })
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
        let piece = match self.stream.chunk().await {
            Ok(piece) => piece,
            Err(error) => return self.go_on(error).await,
        };
        let Some(mut piece) = piece else {
            let found = self.hasher.clone().finish();
            self.over = true;
            let expected = self.digest;
            return if found == expected { Ok(()) } else { Err(UpstreamError::Mismatch { expected, found }) };
        };
        let again = usize::try_from(self.known).unwrap_or(usize::MAX).min(piece.len());
        drop(piece.split_to(again));
        self.known -= again as u64;
        if piece.is_empty() {
            return Ok(());
        }
        self.fruitless = 0;
        let at = self.position + self.held.len() as u64;
        let known = usize::try_from(self.fed.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        self.hasher.update(&piece[known..]);
        self.fed += (piece.len() - known) as u64;
        self.held.extend_from_slice(&piece);
        Ok(())
    }

    /// The connection failed: another goes on from there, a bounded number of times.
    async fn go_on(&mut self, error: UpstreamError) -> Result<(), UpstreamError> {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_TRIES {
            return Err(error);
        }
        tokio::time::sleep(jitter(FIRST_WAIT * (1 << self.fruitless))).await;
        let at = self.position + self.held.len() as u64;
        match self.source.upstream.get_blob(&self.source.repository, &self.digest, at).await {
            Ok(stream) => {
                self.known = at.saturating_sub(stream.start());
                self.stream = stream;
                Ok(())
            }
            // The stream that broke says so again, and is given up in the end.
            Err(error) if error.is_passing() => Ok(()),
            Err(error) => Err(error),
        }
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
