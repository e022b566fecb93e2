//! A blob that can be read: it hides whether it is stored or arriving.

use bytes::Bytes;

use super::fills::fill::Progress;
use super::fills::follow::{Arriving, Direct, Follower, Reach};
use super::piece::{Piece, ReadError};
use crate::oci::{Digest, Span};
use crate::store::StoredBlob;
use crate::sys::Extent;

/// A blob to be read: stored, or arriving from an upstream.
pub struct Blob {
    digest: Digest,
    size: Option<u64>,
    content: Content,
}

enum Content {
    Stored(StoredBlob),
    /// A manifest, asked for as a blob.
    Bytes(Bytes),
    Arriving(Box<Arriving>),
}

impl Blob {
    pub(super) fn stored(digest: Digest, stored: StoredBlob) -> Self {
        Self { digest, size: Some(stored.size), content: Content::Stored(stored) }
    }

    pub(super) fn bytes(digest: Digest, bytes: Bytes) -> Self {
        Self { digest, size: Some(bytes.len() as u64), content: Content::Bytes(bytes) }
    }

    pub(super) fn arriving(arriving: Arriving, progress: Progress) -> Self {
        let size = arriving.direct.as_ref().map_or(progress.size, Direct::size);
        Self { digest: arriving.fill.digest, size, content: Content::Arriving(Box::new(arriving)) }
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes; `None` while an upstream that does not say it sends it.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads a stretch of it, or all of it (`None`: the only choice while the size is unknown).
    pub fn reader(self, span: Option<Span>) -> Reader {
        let whole = Span { start: 0, end: self.size.unwrap_or(u64::MAX) };
        let span_or_whole = span.unwrap_or(whole);
        Reader(match self.content {
            Content::Stored(stored) => {
                let extent = Extent { offset: span_or_whole.start, len: span_or_whole.len(), ..stored.extent() };
                Reading::Once(Some(Piece::Extent(extent)))
            }
            Content::Bytes(bytes) => {
                let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let piece = bytes.slice(position(span_or_whole.start)..position(span_or_whole.end));
                Reading::Once(Some(Piece::Bytes(piece)))
            }
            Content::Arriving(arriving) => {
                let span = span.or(self.size.map(|end| Span { start: 0, end }));
                let early = span.zip(self.size).is_some_and(|(span, size)| span.end < size);
                let reach = if early { Reach::Early } else { Reach::End };
                Reading::Following(Box::new(Follower::new(*arriving, span, reach)))
            }
        })
    }
}

/// Reads a blob piece by piece, at its own pace. Dropping it harms nobody.
pub struct Reader(Reading);

enum Reading {
    Once(Option<Piece>),
    Following(Box<Follower>),
}

impl Reader {
    /// The next piece; `None` at the end, which is reached only when everything was right. After an error the body must be
    /// cut, never ended cleanly.
    pub async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        match &mut self.0 {
            Reading::Once(piece) => piece.take().map(Ok),
            Reading::Following(follower) => follower.next().await,
        }
    }
}
