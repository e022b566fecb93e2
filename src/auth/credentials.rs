//! The credentials that a client sends in the `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::Secret;

/// The longest accepted password, in bytes. Apr1 hashes a password a thousand times, and the sender is not known yet.
const MAX_PASSWORD_BYTES: usize = 1024;

/// Credentials that are not verified yet.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The request has no `Authorization` header, or one without a name, a password or a token.
    None,
    /// A user name and a password (RFC 7617).
    Basic { user: String, password: Secret },
    /// A token (RFC 6750).
    Bearer(Secret),
}

/// The reason why credentials do not prove who the caller is. `Display` gives a message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("authentication required: log in to this registry first (docker login)")]
    Missing,
    // The message does not repeat the header, which may contain a secret.
    #[error("this registry accepts only Basic credentials (a user name and a password)")]
    Scheme,
    #[error("the Basic credentials cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the request has several Authorization headers; send one")]
    Several,
    #[error("unknown user {user:?} or wrong password")]
    Mismatch { user: String },
    #[error("too many logins are waiting to be checked; log in again later")]
    Crowded,
}

impl Credentials {
    /// Parses the `Authorization` header.
    ///
    /// A header that cannot be read is an error and is not ignored, because its sender expects to be logged in. A header with an
    /// empty name and password counts as no credentials: clients whose configuration has an empty login send it.
    pub fn from_header(authorization: Option<&str>) -> Result<Self, Unproven> {
        let Some(header) = authorization else { return Ok(Self::None) };
        let header = header.trim();
        let (scheme, value) = header.split_once(' ').unwrap_or((header, ""));
        match (scheme.to_ascii_lowercase().as_str(), value.trim()) {
            ("" | "basic" | "bearer", "") => Ok(Self::None),
            ("basic", value) => Self::from_basic(value),
            ("bearer", value) => Ok(Self::Bearer(Secret::new(value.to_owned()))),
            _ => Err(Unproven::Scheme),
        }
    }

    fn from_basic(encoded: &str) -> Result<Self, Unproven> {
        let decoded = STANDARD.decode(encoded).map_err(|_| Unproven::Malformed("they are not base64"))?;
        let text = String::from_utf8(decoded).map_err(|_| Unproven::Malformed("they are not UTF-8"))?;
        let (user, password) = text.split_once(':').ok_or(Unproven::Malformed("they contain no colon"))?;
        if user.is_empty() && password.is_empty() {
            return Ok(Self::None);
        }
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Unproven::Malformed("the password is longer than 1024 bytes"));
        }
        Ok(Self::Basic { user: user.to_owned(), password: Secret::new(password.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn basic_credentials_are_parsed() {
        for (header, user, password) in [
            (basic(b"alice:secret"), "alice", "secret"),
            (basic(b"bob:pass:word"), "bob", "pass:word"),
            (basic(b"carol:"), "carol", ""),
            (basic("d\u{e4}ve:p\u{e4}ss".as_bytes()), "d\u{e4}ve", "p\u{e4}ss"),
            ("bASIC  YWxpY2U6c2VjcmV0 ".to_owned(), "alice", "secret"),
        ] {
            let parsed = Credentials::from_header(Some(&header)).unwrap();
            let Credentials::Basic { user: found, password: secret } = parsed else { panic!("{header}: {parsed:?}") };
            assert_eq!((found.as_str(), secret.reveal()), (user, password), "{header}");
        }
    }

    #[test]
    fn empty_credentials_are_none() {
        assert!(matches!(Credentials::from_header(None), Ok(Credentials::None)));
        for header in ["Basic Og==", "basic  Og== ", "Basic", "Basic ", "Bearer", "bearer  ", "", " "] {
            let parsed = Credentials::from_header(Some(header));
            assert!(matches!(parsed, Ok(Credentials::None)), "{header:?}: {parsed:?}");
        }
        for header in [basic(b"alice:"), basic(b":secret"), basic(b" : ")] {
            let parsed = Credentials::from_header(Some(&header));
            assert!(matches!(parsed, Ok(Credentials::Basic { .. })), "{header:?}: {parsed:?}");
        }
    }

    #[test]
    fn bearer_tokens_are_parsed() {
        for (header, token) in [("Bearer abc", "abc"), ("bEARER  a.b-c= ", "a.b-c=")] {
            let parsed = Credentials::from_header(Some(header)).unwrap();
            let Credentials::Bearer(found) = parsed else { panic!("{header}: {parsed:?}") };
            assert_eq!(found.reveal(), token, "{header}");
        }
    }

    #[test]
    fn unreadable_headers_are_refused() {
        let long = basic(format!("a:{}", "x".repeat(MAX_PASSWORD_BYTES + 1)).as_bytes());
        for header in
            ["Basic !!!", "Digest abc", "Digest", "YWxpY2U6c2VjcmV0", &basic(b"alice"), &basic(b"a:\xff"), &long]
        {
            assert!(Credentials::from_header(Some(header)).is_err(), "{header:?} was taken for credentials");
        }
    }

    #[test]
    fn secrets_are_never_printed() {
        let parsed = Credentials::from_header(Some(&basic(b"alice:secret"))).unwrap();
        assert!(!format!("{parsed:?}").contains("secret"));
        let parsed = Credentials::from_header(Some("Bearer hunter2")).unwrap();
        assert!(!format!("{parsed:?}").contains("hunter2"));
        let refused = Credentials::from_header(Some("hunter2 hunter2")).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}
