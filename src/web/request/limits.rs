//! The size limits for the head of a request. The limits of the connection are larger, so that a client that exceeds these gets an
//! answer with an explanation, on HTTP/1.1 and HTTP/2 alike.

use http::request::Parts;

/// The longest target, in bytes. It is far more than a name, a digest and the most tags of one request need.
const MAX_TARGET: usize = 8 << 10;
/// The size of all header fields together, in bytes. Podman asks for a thousand ranges in one field, and cookies can be long.
const MAX_FIELDS: usize = 48 << 10;
/// The number of header fields, which is also the limit of hyper's HTTP/1.1 parser.
const MAX_COUNT: usize = 100;

/// A head that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum TooLarge {
    #[error("the address of the request has {0} bytes; at most {MAX_TARGET} are accepted")]
    Target(usize),
    #[error("the header fields of the request have {0} bytes together; at most {MAX_FIELDS} are accepted")]
    Fields(usize),
    #[error("the request has {0} header fields; at most {MAX_COUNT} are accepted")]
    Count(usize),
}

impl TooLarge {
    /// Returns the size found and its limit.
    pub(in crate::web) fn numbers(self) -> (usize, usize) {
        match self {
            Self::Target(found) => (found, MAX_TARGET),
            Self::Fields(found) => (found, MAX_FIELDS),
            Self::Count(found) => (found, MAX_COUNT),
        }
    }
}

/// Checks the size of a head.
pub(in crate::web) fn check_limits(head: &Parts) -> Result<(), TooLarge> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET {
        return Err(TooLarge::Target(target));
    }
    if head.headers.len() > MAX_COUNT {
        return Err(TooLarge::Count(head.headers.len()));
    }
    // HTTP/1.1 adds a colon, a space and a line end to each field.
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if fields > MAX_FIELDS { Err(TooLarge::Fields(fields)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Request};

    fn head(target: usize, fields: usize, value: usize) -> Parts {
        let mut request = Request::new(());
        *request.uri_mut() = format!("/{}", "a".repeat(target - 1)).parse().unwrap();
        let value = HeaderValue::try_from("v".repeat(value)).unwrap();
        (0..fields).for_each(|_| _ = request.headers_mut().append("x", value.clone()));
        request.into_parts().0
    }

    #[test]
    fn head_is_limited_by_target_fields_and_count() {
        for (head, want) in [
            (head(1, 0, 0), Ok(())),
            (head(MAX_TARGET, MAX_COUNT, 400), Ok(())),
            (head(MAX_TARGET + 1, 0, 0), Err(TooLarge::Target(MAX_TARGET + 1))),
            (head(1, MAX_COUNT + 1, 0), Err(TooLarge::Count(MAX_COUNT + 1))),
            (head(1, 1, MAX_FIELDS - 5), Ok(())),
            (head(1, 1, MAX_FIELDS - 4), Err(TooLarge::Fields(MAX_FIELDS + 1))),
        ] {
            assert_eq!(check_limits(&head), want);
        }
    }
}
