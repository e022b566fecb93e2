//! A blob to read, whether it is stored or still arriving.

use bytes::Bytes;

use crate::fills::{ArrivingBlob, FillProgress, Follower, PassReader};
use crate::oci::{Digest, Span};
use crate::store::{Piece, ReadError, StoredBlob};

/// A blob to read.
pub struct Blob {
    digest: Digest,
    size: Option<u64>,
    source: BlobSource,
}

enum BlobSource {
    Stored(StoredBlob),
    /// A manifest that is read as a blob.
    Bytes(Bytes),
    Arriving(Box<ArrivingBlob>),
}

impl Blob {
    pub(super) fn stored(digest: Digest, stored: StoredBlob) -> Self {
        Self { digest, size: Some(stored.size), source: BlobSource::Stored(stored) }
    }

    pub(super) fn bytes(digest: Digest, bytes: Bytes) -> Self {
        Self { digest, size: Some(bytes.len() as u64), source: BlobSource::Bytes(bytes) }
    }

    pub(super) fn arriving(arriving: ArrivingBlob, progress: FillProgress) -> Self {
        let size = arriving.passing.as_ref().map_or(progress.size, PassReader::size);
        Self { digest: arriving.fill.digest, size, source: BlobSource::Arriving(Box::new(arriving)) }
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the size in bytes. `None` while the blob arrives from an upstream that does not state the size.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns a reader of the whole blob.
    pub fn reader(self) -> Reader {
        let whole = Span { start: 0, end: self.size.unwrap_or(u64::MAX) };
        Reader(match self.source {
            BlobSource::Arriving(arriving) => {
                Reading::Following(Box::new(Follower::new(*arriving, self.size, Vec::new())))
            }
            source => Reading::Stored(source.cut(vec![whole]).into_iter()),
        })
    }

    /// Returns a reader of these parts, one after the other. Each part lies within the blob and is not empty.
    pub fn parts(self, spans: Vec<Span>) -> Reader {
        Reader(match self.source {
            BlobSource::Arriving(arriving) => Reading::Following(Box::new(Follower::new(*arriving, self.size, spans))),
            source => Reading::Stored(source.cut(spans).into_iter()),
        })
    }
}

impl BlobSource {
    /// Returns parts of stored content. Returns nothing for content that is arriving.
    fn cut(&self, spans: Vec<Span>) -> Vec<Piece> {
        let spans = spans.into_iter();
        match self {
            Self::Stored(stored) => spans.map(|span| Piece::Extent(stored.extent_of(span))).collect(),
            Self::Bytes(bytes) => {
                let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                spans.map(|span| Piece::Bytes(bytes.slice(position(span.start)..position(span.end)))).collect()
            }
            Self::Arriving(_) => Vec::new(),
        }
    }
}

/// Reads a blob piece by piece. Each piece belongs to one part. Dropping the reader affects no other reader.
pub struct Reader(Reading);

enum Reading {
    Stored(std::vec::IntoIter<Piece>),
    Following(Box<Follower>),
}

impl Reader {
    /// Returns the next piece. `None` means that all pieces were delivered and right. After an error, the caller must cut the
    /// body and never end it cleanly.
    pub async fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        match &mut self.0 {
            Reading::Stored(pieces) => pieces.next().map(Ok),
            Reading::Following(follower) => follower.next().await,
        }
    }
}
