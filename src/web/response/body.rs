//! The body of an answer. A body ends cleanly only if it is complete; otherwise the connection is cut.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use serde::Serialize;

use super::multipart::Multipart;
use super::source::{BlobBytes, Cut};
use crate::registry::Reader;
use crate::web::exchange::Exchange;

/// The body of an answer. It carries the exchange, which ends when the body has been sent or dropped.
pub struct Body {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

enum Content {
    Empty,
    Whole(Bytes),
    Pieces {
        pieces: Pieces,
        /// The announced bytes that are still to be sent; `None` if no length was announced.
        left: Option<u64>,
    },
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Cut>> + Send>>;

impl Body {
    pub(in crate::web) fn empty() -> Self {
        Self::from(Content::Empty)
    }

    pub(in crate::web) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::from(Content::Whole(bytes.into()))
    }

    /// Sends a value as JSON. Maps in it must have text keys.
    pub(in crate::web) fn json(value: &impl Serialize) -> Self {
        Self::whole(serde_json::to_vec(value).expect("the types of an answer are valid JSON"))
    }

    /// Sends the bytes of a blob. `len` is their number, if it is known.
    pub(in crate::web) fn blob(reader: Reader, len: Option<u64>) -> Self {
        let pieces =
            stream::unfold(BlobBytes::new(reader), |mut source| async move { Some((source.next().await?, source)) });
        Self::from(Content::Pieces { pieces: Box::pin(pieces), left: len })
    }

    /// Sends several ranges of a blob, which `reader` reads.
    pub(in crate::web) fn multipart(parts: Multipart, reader: Reader) -> Self {
        let left = Some(parts.len());
        Self::from(Content::Pieces { pieces: Box::pin(parts.pieces(reader)), left })
    }

    /// Sends pieces without an announced length.
    pub(in crate::web) fn stream(pieces: impl Stream<Item = Result<Bytes, Cut>> + Send + 'static) -> Self {
        Self::from(Content::Pieces { pieces: Box::pin(pieces), left: None })
    }

    fn from(content: Content) -> Self {
        Self { content, exchange: None }
    }

    /// Returns true if the answer has no body, so that not even a length is announced.
    pub(in crate::web) fn is_absent(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    /// Attaches the exchange that ends with this body.
    pub(in crate::web) fn with_exchange(mut self, mut exchange: Box<Exchange>) -> Self {
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
                None => Some(Err(Cut::too_long())),
            },
            (None, Some(1..)) => Some(Err(Cut::too_short())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn pieces(pieces: Vec<Result<&'static str, &str>>, left: Option<u64>) -> Body {
        let pieces: Vec<_> = pieces.into_iter().map(|p| p.map(Bytes::from).map_err(Cut::new)).collect();
        Body::from(Content::Pieces { pieces: Box::pin(stream::iter(pieces)), left })
    }

    #[tokio::test]
    async fn body_ends_cleanly_only_if_complete() {
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
    fn body_announces_its_length() {
        use http_body::Body as _;
        assert_eq!(Body::whole("abc").size_hint().exact(), Some(3));
        assert_eq!(pieces(vec![], Some(7)).size_hint().exact(), Some(7));
        assert_eq!(pieces(vec![], None).size_hint().exact(), None);
        assert!(Body::empty().is_end_stream());
    }
}
