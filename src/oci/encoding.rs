//! Decodes content that a server encoded although the request accepts no encoding.

use std::fmt;
use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    Gzip,
    Deflate,
    /// A coding that cannot be decoded here, or several.
    Unsupported,
}

impl ContentCoding {
    /// Returns the coding that these field values name. `None`: the content is not encoded.
    pub fn named<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
        let mut codings = names.filter(|name| !matches!(name.as_str(), "" | "identity"));
        let first = codings.next()?;
        Some(match (first.as_str(), codings.next()) {
            ("gzip" | "x-gzip", None) => Self::Gzip,
            ("deflate", None) => Self::Deflate,
            _ => Self::Unsupported,
        })
    }

    /// Returns a reader of the decoded content. Content that cannot be decoded is an error of a kind that
    /// [`Self::cannot_decode`] knows.
    pub fn reader(self, mut encoded: impl Read + Send + 'static) -> Box<dyn Read + Send> {
        match self {
            Self::Gzip => return Box::new(MultiGzDecoder::new(encoded)),
            Self::Unsupported => return Box::new(Undecodable),
            Self::Deflate => {}
        }
        let mut first = Vec::new();
        // The error comes again when the content is read.
        let _ = encoded.by_ref().take(2).read_to_end(&mut first);
        let is_zlib =
            matches!(first[..], [method, flags] if method & 15 == 8 && u16::from_be_bytes([method, flags]) % 31 == 0);
        let encoded = std::io::Cursor::new(first).chain(encoded);
        if is_zlib { Box::new(ZlibDecoder::new(encoded)) } else { Box::new(DeflateDecoder::new(encoded)) }
    }

    /// Returns true if an error of [`Self::reader`] means that the content is not encoded so, or is damaged.
    pub fn cannot_decode(error: &std::io::Error) -> bool {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
    }

    /// Returns the decoded body if it has at most `limit` bytes. It blocks for as long as that takes.
    pub fn decode(self, body: &[u8], limit: usize) -> Option<Bytes> {
        match self {
            Self::Gzip => read(MultiGzDecoder::new(body), limit),
            // Servers send both forms under this name.
            Self::Deflate => read(ZlibDecoder::new(body), limit).or_else(|| read(DeflateDecoder::new(body), limit)),
            Self::Unsupported => None,
        }
    }
}

impl fmt::Display for ContentCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Unsupported => "an unsupported coding",
        })
    }
}

/// Content in a coding that is not supported.
struct Undecodable;

impl Read for Undecodable {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::InvalidData.into())
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
            let mut read = Vec::new();
            coding.reader(std::io::Cursor::new(body.clone())).read_to_end(&mut read).unwrap();
            assert_eq!(read, plain, "{coding:?}");
            // The other form has no checksum.
            let damaged = [body[..body.len() - 1].to_vec(), plain.to_vec(), Vec::new()];
            for damaged in damaged.into_iter().filter(|_| coding == ContentCoding::Gzip) {
                let error = coding.reader(std::io::Cursor::new(damaged)).read_to_end(&mut Vec::new()).unwrap_err();
                assert!(ContentCoding::cannot_decode(&error), "{coding:?}: {error:?}");
            }
        }
    }

    #[test]
    fn labels_are_read_leniently() {
        for (values, want) in [
            (&["gzip"][..], Some(ContentCoding::Gzip)),
            (&[" X-GZIP "], Some(ContentCoding::Gzip)),
            (&["deflate"], Some(ContentCoding::Deflate)),
            (&["identity, gzip"], Some(ContentCoding::Gzip)),
            (&["identity"], None),
            (&[""], None),
            (&[], None),
            (&["aws-chunked"], Some(ContentCoding::Unsupported)),
            (&["br"], Some(ContentCoding::Unsupported)),
            (&["gzip, gzip"], Some(ContentCoding::Unsupported)),
            (&["gzip", "gzip"], Some(ContentCoding::Unsupported)),
            (&["gzip;q=1"], Some(ContentCoding::Unsupported)),
        ] {
            assert_eq!(ContentCoding::named(values.iter().copied()), want, "{values:?}");
        }
    }
}
