//! What a client sends to prove who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Refusal, Unproven};
use crate::config::Secret;

/// The longest password that is looked at, in bytes: apr1 hashes it a thousand times, and whoever sends it is not yet known.
const MAX_PASSWORD: usize = 1024;

/// A user's name and password, not yet verified.
#[derive(Clone, Debug)]
pub struct Credentials {
    user: String,
    password: Secret,
}

impl Credentials {
    /// Reads the `Authorization` header (RFC 7617, section 2); `None` where there is none.
    ///
    /// A header that is there but cannot be read is refused, not ignored: its sender believes to be logged in.
    pub fn from_header(authorization: Option<&str>) -> Result<Option<Self>, Refusal> {
        match authorization {
            None => Ok(None),
            Some(header) => Ok(Some(Self::from_basic(header)?)),
        }
    }

    fn from_basic(header: &str) -> Result<Self, Unproven> {
        let (scheme, encoded) = header.trim().split_once(' ').ok_or(Unproven::Scheme)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Unproven::Scheme);
        }
        let decoded = STANDARD.decode(encoded.trim()).map_err(|_| Unproven::Malformed("they are not base64"))?;
        let text = String::from_utf8(decoded).map_err(|_| Unproven::Malformed("they are not UTF-8"))?;
        let (user, password) = text.split_once(':').ok_or(Unproven::Malformed("they hold no colon"))?;
        if password.len() > MAX_PASSWORD {
            return Err(Unproven::Malformed("the password is longer than 1024 bytes"));
        }
        Ok(Self { user: user.to_owned(), password: Secret::new(password.to_owned()) })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn password(&self) -> &Secret {
        &self.password
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn good() {
        assert!(Credentials::from_header(None).unwrap().is_none());
        for (header, user, password) in [
            (basic(b"alice:secret"), "alice", "secret"),
            (basic(b"bob:pass:word"), "bob", "pass:word"),
            (basic(b"carol:"), "carol", ""),
            (basic("d\u{e4}ve:p\u{e4}ss".as_bytes()), "d\u{e4}ve", "p\u{e4}ss"),
            ("bASIC  YWxpY2U6c2VjcmV0 ".to_owned(), "alice", "secret"),
        ] {
            let read = Credentials::from_header(Some(&header)).unwrap().unwrap();
            assert_eq!((read.user(), read.password().reveal()), (user, password), "{header}");
        }
    }

    #[test]
    fn bad() {
        let long = basic(format!("a:{}", "x".repeat(MAX_PASSWORD + 1)).as_bytes());
        for header in [
            "",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Bearer abc",
            "YWxpY2U6c2VjcmV0",
            &basic(b"alice"),
            &basic(b"a:\xff"),
            &long,
        ] {
            let refused = Credentials::from_header(Some(header)).map(|_| ());
            assert!(matches!(refused, Err(Refusal::Unauthorized { .. })), "{header:?} was taken for credentials");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let read = Credentials::from_header(Some(&basic(b"alice:secret"))).unwrap().unwrap();
        assert!(!format!("{read:?}").contains("secret"));
        let refused = Credentials::from_header(Some("hunter2 hunter2")).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}
