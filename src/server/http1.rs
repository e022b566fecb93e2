//! The text of HTTP/1.1 answers: recognising hyper's own errors, and writing ours.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};

/// Returns the status of an answer that is the head of an HTTP/1 error without a body. Answers of the application always have a
/// body.
pub(super) fn bare_error(written: &[u8]) -> Option<StatusCode> {
    let head = std::str::from_utf8(written).ok()?.strip_prefix("HTTP/1.")?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<StatusCode>().ok()?;
    let empty = lines.any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    (status.is_client_error() && empty).then_some(status)
}

/// Writes an answer as HTTP/1.1 text.
pub(super) fn to_text(answer: Response<Bytes>) -> Bytes {
    let (head, body) = answer.into_parts();
    let mut text = BytesMut::from(format!("HTTP/1.1 {}\r\n", head.status).as_bytes());
    write_fields(&mut text, &head.headers);
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    text.freeze()
}

fn write_fields(text: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_error_is_an_error_head_without_a_body() {
        for (head, want) in [
            ("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nDate: x\r\n\r\n", Some(431)),
            ("HTTP/1.0 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", Some(400)),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nmore", None),
            ("\0\0\x12\x04\0", None),
            ("", None),
        ] {
            assert_eq!(bare_error(head.as_bytes()).map(|status| status.as_u16()), want, "{head:?}");
        }
    }
}
