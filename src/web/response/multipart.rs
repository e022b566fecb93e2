//! Several ranges of a blob in one body: `multipart/byteranges` (RFC 9110, section 14.6).

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::HeaderValue;

use super::headers;
use super::source::{BlobBytes, Cut};
use crate::oci::{MediaType, Span};
use crate::registry::Reader;
use crate::sys::random_id;

/// The parts of a multipart body. Their length is known before the blob is read.
pub(in crate::web) struct Multipart {
    boundary: String,
    parts: Vec<RangePart>,
    tail: Bytes,
}

/// The head of a part, and the number of bytes that follow it.
struct RangePart {
    head: Bytes,
    len: u64,
}

impl Multipart {
    /// Makes a body of these ranges of a blob of `size` bytes, in this order.
    pub(in crate::web) fn new(spans: &[Span], size: u64) -> Self {
        // A random boundary cannot occur in the content.
        Self::with_boundary(random_id(), spans, size)
    }

    fn with_boundary(boundary: String, spans: &[Span], size: u64) -> Self {
        let part = |(at, span): (usize, &Span)| {
            let (line, range) = (if at == 0 { "" } else { "\r\n" }, content_range(*span, size));
            let head = format!(
                "{line}--{boundary}\r\nContent-Type: {}\r\nContent-Range: {range}\r\n\r\n",
                MediaType::OCTET_STREAM
            );
            RangePart { head: Bytes::from(head), len: span.len() }
        };
        let parts = spans.iter().enumerate().map(part).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        Self { boundary, parts, tail }
    }

    /// Returns the value of `Content-Type`.
    pub(in crate::web) fn content_type(&self) -> HeaderValue {
        headers::value(format_args!("multipart/byteranges; boundary={}", self.boundary))
    }

    /// Returns the length of the body.
    pub(super) fn len(&self) -> u64 {
        let parts: u64 = self.parts.iter().map(|part| part.head.len() as u64 + part.len).sum();
        parts + self.tail.len() as u64
    }

    /// Returns the pieces of the body. `reader` must read the same ranges.
    pub(super) fn pieces(self, reader: Reader) -> impl Stream<Item = Result<Bytes, Cut>> + Send {
        let state = (BlobBytes::new(reader), VecDeque::from(self.parts), 0u64, Some(self.tail));
        stream::unfold(state, |(mut source, mut parts, left, mut tail)| async move {
            if left > 0 {
                let piece = source.next_or_cut().await;
                let left = piece.as_ref().map_or(0, |piece| left.saturating_sub(piece.len() as u64));
                return Some((piece, (source, parts, left, tail)));
            }
            match parts.pop_front() {
                Some(RangePart { head, len }) => Some((Ok(head), (source, parts, len, tail))),
                None => tail.take().map(|tail| (Ok(tail), (source, parts, 0, None))),
            }
        })
    }
}

/// Returns the value of `Content-Range` (RFC 9110, section 14.4).
pub(in crate::web) fn content_range(span: Span, size: u64) -> String {
    format!("bytes {}-{}/{size}", span.start, span.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_multipart_body_matches_its_text() {
        let spans = [Span { start: 8, end: 10 }, Span { start: 0, end: 1 }];
        let multipart = Multipart::with_boundary("B".to_owned(), &spans, 10);
        assert_eq!(multipart.content_type(), "multipart/byteranges; boundary=B");
        let text = "--B\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n\
                    --B\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n--B--\r\n";
        assert_eq!(multipart.len(), text.len() as u64);
        let head = |at: usize| String::from_utf8_lossy(&multipart.parts[at].head).into_owned();
        assert_eq!(format!("{}89{}0{}", head(0), head(1), String::from_utf8_lossy(&multipart.tail)), text);
    }
}
