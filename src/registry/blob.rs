//! A blob that can be read: it hides whether it is stored or arriving.

use bytes::Bytes;

use crate::fills::{Arriving, Direct, Follower, Progress};
use crate::oci::{Digest, Span};
use crate::store::{Piece, ReadError, StoredBlob};

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

    /// Reads all of it.
    pub fn reader(self) -> Reader {
        let whole = Span { start: 0, end: self.size.unwrap_or(u64::MAX) };
        Reader(match self.content {
            Content::Arriving(arriving) => {
                Reading::Following(Box::new(Follower::new(*arriving, self.size, Vec::new())))
            }
            content => Reading::There(content.cut(vec![whole]).into_iter()),
        })
    }

    /// Reads these stretches of it, one after the other. Each lies in it, and none is empty.
    pub fn stretches(self, spans: Vec<Span>) -> Reader {
        Reader(match self.content {
            Content::Arriving(arriving) => Reading::Following(Box::new(Follower::new(*arriving, self.size, spans))),
            content => Reading::There(content.cut(spans).into_iter()),
        })
    }
}

impl Content {
    /// These stretches of what is there; nothing of what is arriving.
    fn cut(&self, spans: Vec<Span>) -> Vec<Piece> {
        let spans = spans.into_iter();
        match self {
            Self::Stored(stored) => spans.map(|span| Piece::Extent(stored.stretch(span))).collect(),
            Self::Bytes(bytes) => {
                let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                spans.map(|span| Piece::Bytes(bytes.slice(position(span.start)..position(span.end)))).collect()
            }
            Self::Arriving(_) => Vec::new(),
        }
    }
}

/// Reads a blob piece by piece, at its own pace; each piece is of one stretch. Dropping it harms nobody.
pub struct Reader(Reading);

enum Reading {
    There(std::vec::IntoIter<Piece>),
    Following(Box<Follower>),
}

impl Reader {
    /// The next piece; `None` at the end, which is reached only when everything was right. After an error the body must be
    /// cut, never ended cleanly.
    pub async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        match &mut self.0 {
            Reading::There(pieces) => pieces.next().map(Ok),
            Reading::Following(follower) => follower.next().await,
        }
    }
}
