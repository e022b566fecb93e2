//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use serde::Serialize;

use super::exchange::Exchange;
use super::multipart::Multipart;
use crate::registry::{Piece, Reader};
use crate::sys::Extent;

/// How much of a file is read, and held in memory for one client, at a time.
const PIECE: usize = 64 << 10;

/// The body of an answer. It carries what must last as long as the answer is being sent.
pub struct Body {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

enum Content {
    Empty,
    Whole(Bytes),
    Pieces {
        pieces: Pieces,
        /// How many bytes were announced and are still to come.
        left: Option<u64>,
    },
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Cut>> + Send>>;

/// A body could not be sent to its end: the connection is cut, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cut(String);

impl Cut {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::from(Content::Empty)
    }

    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::from(Content::Whole(bytes.into()))
    }

    /// Writes a value as JSON. Its type must have no maps with keys that are not text.
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::whole(serde_json::to_vec(value).expect("the types of an answer are valid JSON"))
    }

    /// What a blob's reader yields; `len` is what it was asked for, where that is known.
    pub(super) fn blob(reader: Reader, len: Option<u64>) -> Self {
        let pieces =
            stream::unfold(Source::new(reader), |mut source| async move { Some((source.next().await?, source)) });
        Self::from(Content::Pieces { pieces: Box::pin(pieces), left: len })
    }

    /// Several stretches of a blob, which `reader` reads.
    pub(super) fn multipart(parts: Multipart, reader: Reader) -> Self {
        let left = Some(parts.len());
        Self::from(Content::Pieces { pieces: Box::pin(parts.pieces(reader)), left })
    }

    /// Pieces of no announced length, as they come.
    pub(super) fn stream(pieces: impl Stream<Item = Result<Bytes, Cut>> + Send + 'static) -> Self {
        Self::from(Content::Pieces { pieces: Box::pin(pieces), left: None })
    }

    fn from(content: Content) -> Self {
        Self { content, exchange: None }
    }

    /// Is there nothing to be sent, not even a length to be told?
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    /// The same, and `exchange` ends when it has been sent or dropped.
    pub(super) fn ending(mut self, mut exchange: Box<Exchange>) -> Self {
        if self.content.is_over() {
            exchange.complete();
        }
        self.exchange = Some(exchange);
        self
    }
}

impl Content {
    fn is_over(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces { left, .. } => *left == Some(0),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let (pieces, left) = match self {
            Self::Empty => return Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                return Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)));
            }
            Self::Pieces { pieces, left } => (pieces, left),
        };
        let piece = match (ready!(pieces.as_mut().poll_next(cx)), left) {
            (Some(Ok(piece)), Some(left)) => match left.checked_sub(piece.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    return Poll::Ready(Some(Ok(piece)));
                }
                None => Some(Err(Cut("the content is longer than was announced".to_owned()))),
            },
            (None, Some(1..)) => Some(Err(Cut("the content is shorter than was announced".to_owned()))),
            (Some(Ok(piece)), None) => return Poll::Ready(Some(Ok(piece))),
            (end, _) => end,
        };
        *self = Self::Empty;
        Poll::Ready(piece)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let piece = ready!(self.content.poll_piece(cx));
        let over = self.content.is_over();
        if let Some(exchange) = &mut self.exchange {
            match &piece {
                Some(Ok(piece)) => exchange.sent(piece.len()),
                Some(Err(cut)) => exchange.cut(cut.to_string()),
                None => {}
            }
            if over && !matches!(piece, Some(Err(_))) {
                exchange.complete();
            }
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Pieces { left: Some(left), .. } => SizeHint::with_exact(*left),
            Content::Pieces { left: None, .. } => SizeHint::default(),
        }
    }
}

/// Turns what a blob's reader yields into bytes.
pub(super) struct Source {
    reader: Reader,
    /// The rest of the stretch that is being read.
    extent: Option<Extent>,
}

impl Source {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, extent: None }
    }

    /// The next bytes, which are of one stretch; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let piece = self.read().await?;
        if piece.is_err() {
            // A cut throws away what was not flushed: the head, and what came before, go out first.
            tokio::task::yield_now().await;
        }
        Some(piece)
    }

    /// The same, where more is to come.
    pub(super) async fn next_or_cut(&mut self) -> Result<Bytes, Cut> {
        let short = || Err(Cut("the content is shorter than was announced".to_owned()));
        self.next().await.unwrap_or_else(short)
    }

    async fn read(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            if let Some(extent) = self.extent.as_mut().filter(|extent| !extent.is_empty()) {
                let piece = extent.read(PIECE).await;
                return Some(piece.map_err(|error| Cut(format!("a stored blob could not be read: {error}"))));
            }
            match self.reader.next().await? {
                Ok(Piece::Extent(extent)) => self.extent = Some(extent),
                Ok(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Ok(Piece::Bytes(bytes)) => return Some(Ok(bytes)),
                Err(error) => return Some(Err(Cut(error.to_string()))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn pieces(pieces: Vec<Result<&'static str, &str>>, left: Option<u64>) -> Body {
        let pieces: Vec<_> = pieces.into_iter().map(|p| p.map(Bytes::from).map_err(|e| Cut(e.to_owned()))).collect();
        Body::from(Content::Pieces { pieces: Box::pin(stream::iter(pieces)), left })
    }

    #[tokio::test]
    async fn ends_cleanly_only_when_whole() {
        let whole = pieces(vec![Ok("ab"), Ok("c")], Some(3)).collect().await.unwrap().to_bytes();
        assert_eq!(whole, "abc");
        let chunked = pieces(vec![Ok("ab"), Ok("c")], None).collect().await.unwrap().to_bytes();
        assert_eq!(chunked, "abc");
        for (bad, left) in [
            (vec![Ok("ab")], Some(3)),
            (vec![Ok("abcd")], Some(3)),
            (vec![Ok("ab"), Err("gone")], Some(3)),
            (vec![Ok("ab"), Err("gone")], None),
        ] {
            assert!(pieces(bad, left).collect().await.is_err());
        }
    }

    #[test]
    fn announces_its_length() {
        use http_body::Body as _;
        assert_eq!(Body::whole("abc").size_hint().exact(), Some(3));
        assert_eq!(pieces(vec![], Some(7)).size_hint().exact(), Some(7));
        assert_eq!(pieces(vec![], None).size_hint().exact(), None);
        assert!(Body::empty().is_end_stream());
    }
}
