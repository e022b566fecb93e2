//! Decodes bodies that a server encoded although the request accepts none.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// A content coding that can be decoded (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    Gzip,
    Deflate,
}

impl ContentCoding {
    /// Returns the coding that `Content-Encoding` names. The label may be wrong: many servers name the encoding of a file there.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let label = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
        match label.as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Returns the decoded body if it has at most `limit` bytes. It blocks for as long as that takes.
    pub fn decode(self, body: &[u8], limit: usize) -> Option<Bytes> {
        match self {
            Self::Gzip => read(MultiGzDecoder::new(body), limit),
            // Servers send both forms under this name.
            Self::Deflate => read(ZlibDecoder::new(body), limit).or_else(|| read(DeflateDecoder::new(body), limit)),
        }
    }
}

fn read(decoder: impl std::io::Read, limit: usize) -> Option<Bytes> {
    let mut whole = Vec::new();
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut whole).ok()?;
    (read <= limit).then(|| whole.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn encoded_bodies_are_decoded_within_their_limit() {
        let plain = b"some text, some text, some text";
        let gzip = |level| {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        };
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(plain).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(plain).unwrap();
        for (coding, body) in [
            (ContentCoding::Gzip, gzip(Compression::best())),
            (ContentCoding::Gzip, gzip(Compression::none())),
            (ContentCoding::Deflate, zlib.finish().unwrap()),
            (ContentCoding::Deflate, deflate.finish().unwrap()),
        ] {
            assert_eq!(coding.decode(&body, plain.len()).as_deref(), Some(&plain[..]), "{coding:?}");
            assert_eq!(coding.decode(&body, plain.len() - 1), None, "{coding:?}");
            assert_eq!(coding.decode(plain, plain.len()), None, "{coding:?}");
        }
    }

    #[test]
    fn labels_are_read_leniently() {
        for (label, want) in [
            ("gzip", Some(ContentCoding::Gzip)),
            (" X-GZIP ", Some(ContentCoding::Gzip)),
            ("deflate", Some(ContentCoding::Deflate)),
            ("identity", None),
            ("aws-chunked", None),
            ("br", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, label.parse().unwrap())]);
            assert_eq!(ContentCoding::of(&headers), want, "{label:?}");
        }
    }
}
