//! What RFC 9112 wants refused before anybody looks at the request, and what the library below lets pass. A proxy before us and we
//! could else disagree about where a request ends, or for whom it is.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Version};

/// Why a request is not looked at. The connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingError {
    #[error("an HTTP/1.1 request has one Host header, with the name that the registry was asked by")]
    Host,
    #[error("the only Transfer-Encoding that is read is `chunked`, once")]
    Coding,
}

/// Is it clear for whom the request is (RFC 9112 §3.2) and where its body ends (§6.1)?
pub(super) fn check(head: &Parts) -> Result<(), FramingError> {
    let hosts: Vec<&HeaderValue> = head.headers.get_all(HOST).iter().collect();
    match hosts.as_slice() {
        [host] if is_host(host) => {}
        [] if head.version != Version::HTTP_11 => {}
        _ => return Err(FramingError::Host),
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if chunked && codings.next().is_none() { Ok(()) } else { Err(FramingError::Coding) }
}

/// A host with or without a port. Nothing at all stands for an address that has none.
fn is_host(value: &HeaderValue) -> bool {
    value.is_empty() || Authority::try_from(value.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, fields: &[(&str, &[u8])]) -> Result<(), FramingError> {
        let mut request = http::Request::builder().version(version);
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn hosts() {
        for good in ["r", "r.lan:5000", "127.0.0.1", "[::1]:5000", "under_scored", "xn--bcher-kva.example", ""] {
            assert_eq!(checked(Version::HTTP_11, &[("host", good.as_bytes())]), Ok(()), "{good}");
        }
        for bad in [&b"a b"[..], b"a/b", b"u@r", b"\xff", b"http://r", b"r:x:y", b"[::1", b"a\\b"] {
            assert_eq!(checked(Version::HTTP_11, &[("host", bad)]), Err(FramingError::Host), "{bad:?}");
        }
        assert_eq!(checked(Version::HTTP_11, &[]), Err(FramingError::Host));
        assert_eq!(checked(Version::HTTP_11, &[("host", b"r"), ("host", b"r")]), Err(FramingError::Host));
        assert_eq!(checked(Version::HTTP_10, &[]), Ok(()));
        assert_eq!(checked(Version::HTTP_2, &[]), Ok(()));
    }

    #[test]
    fn codings() {
        let coded = |values: &[&str]| {
            let mut fields: Vec<(&str, &[u8])> = vec![("host", b"r")];
            fields.extend(values.iter().map(|value| ("transfer-encoding", value.as_bytes())));
            checked(Version::HTTP_11, &fields)
        };
        for good in [&[][..], &["chunked"], &["Chunked"]] {
            assert_eq!(coded(good), Ok(()), "{good:?}");
        }
        for bad in [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &[""]] {
            assert_eq!(coded(bad), Err(FramingError::Coding), "{bad:?}");
        }
    }
}
