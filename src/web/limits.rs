//! How large the head of a request may be. What serves the connection has limits of its own, which are larger: so that whoever
//! goes too far is told in words, by HTTP/1.1 and HTTP/2 alike.

use http::request::Parts;

/// The longest address, in bytes: far more than a name, a digest and as many tags as go into one request.
const TARGET: usize = 8 << 10;
/// All header fields together, in bytes. podman asks for a thousand ranges in one of them, and cookies can be long.
const FIELDS: usize = 48 << 10;
/// How many fields there may be. Also the number that HTTP/1.1's parser takes.
const COUNT: usize = 100;

/// A head that is too large, and what would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooLarge {
    #[error("the address of the request has {0} bytes; at most {TARGET} are read")]
    Target(usize),
    #[error("the header fields of the request have {0} bytes together; at most {FIELDS} are read")]
    Fields(usize),
    #[error("the request has {0} header fields; at most {COUNT} are read")]
    Count(usize),
}

impl TooLarge {
    /// What it is, and what it may be.
    pub(super) fn numbers(self) -> (usize, usize) {
        match self {
            Self::Target(found) => (found, TARGET),
            Self::Fields(found) => (found, FIELDS),
            Self::Count(found) => (found, COUNT),
        }
    }
}

pub(super) fn check(head: &Parts) -> Result<(), TooLarge> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET {
        return Err(TooLarge::Target(target));
    }
    if head.headers.len() > COUNT {
        return Err(TooLarge::Count(head.headers.len()));
    }
    // As HTTP/1.1 writes it: a colon, a space and the end of the line come to each.
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if fields > FIELDS { Err(TooLarge::Fields(fields)) } else { Ok(()) }
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
    fn good_and_bad() {
        for (head, want) in [
            (head(1, 0, 0), Ok(())),
            (head(TARGET, COUNT, 400), Ok(())),
            (head(TARGET + 1, 0, 0), Err(TooLarge::Target(TARGET + 1))),
            (head(1, COUNT + 1, 0), Err(TooLarge::Count(COUNT + 1))),
            (head(1, 1, FIELDS - 5), Ok(())),
            (head(1, 1, FIELDS - 4), Err(TooLarge::Fields(FIELDS + 1))),
        ] {
            assert_eq!(check(&head), want);
        }
    }
}
