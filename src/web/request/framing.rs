//! Refuses requests that hyper accepts although RFC 9112 requires that they are refused. Otherwise this server and a proxy
//! in front of it could disagree about where a request ends or which host it is for.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Version};

/// A request with ambiguous framing. The answer closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum FramingError {
    #[error("an HTTP/1.1 request needs exactly one Host header with the name of the registry")]
    Host,
    #[error("the only supported Transfer-Encoding is `chunked`, once")]
    Coding,
}

/// Checks that the host of the request (RFC 9112, section 3.2) and the end of its body (section 6.1) are unambiguous.
pub(in crate::web) fn check_framing(head: &Parts) -> Result<(), FramingError> {
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

/// Returns true for a host with or without a port. An empty value is valid: it means a target without an authority.
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
        check_framing(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn host_header_must_be_one_valid_host() {
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
    fn transfer_encoding_must_be_chunked_once() {
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
