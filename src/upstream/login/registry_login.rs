//! A login for a registry: a user name with a password or an identity token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::config::Secret;

/// A user name with its secret. Its `Debug` output does not contain the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct RegistryLogin {
    username: String,
    secret: LoginSecret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LoginSecret {
    /// The value of `Authorization: Basic …`. It is marked as sensitive, so that it is not printed.
    Password(HeaderValue),
    /// An identity token, which only the token server accepts (`refresh_token` in OAuth 2).
    Identity(Secret),
}

impl RegistryLogin {
    pub(in crate::upstream) fn password(username: &str, password: &str) -> Self {
        let basic = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        let mut basic = HeaderValue::from_str(&basic).expect("base64 is made of header characters");
        basic.set_sensitive(true);
        Self { username: username.to_owned(), secret: LoginSecret::Password(basic) }
    }

    /// Makes a login with the kind of token that docker calls an identity token.
    pub(in crate::upstream) fn identity(username: &str, token: &str) -> Self {
        Self { username: username.to_owned(), secret: LoginSecret::Identity(Secret::new(token.to_owned())) }
    }

    pub(in crate::upstream) fn username(&self) -> &str {
        &self.username
    }

    pub(in crate::upstream) fn basic(&self) -> Option<&HeaderValue> {
        match &self.secret {
            LoginSecret::Password(basic) => Some(basic),
            LoginSecret::Identity(_) => None,
        }
    }

    /// Returns true if the text contains the secret, plain or as it is sent.
    pub(in crate::upstream) fn is_in(&self, text: &str) -> bool {
        let has = |secret: &str| !secret.is_empty() && text.contains(secret);
        let basic = match &self.secret {
            LoginSecret::Password(basic) => basic.to_str().ok().and_then(|basic| basic.strip_prefix("Basic ")),
            LoginSecret::Identity(token) => return has(token.reveal()),
        };
        let Some(basic) = basic else { return false };
        let pair = STANDARD.decode(basic).ok().and_then(|pair| String::from_utf8(pair).ok());
        has(basic) || pair.is_some_and(|pair| pair.split_once(':').is_some_and(|(_, password)| has(password)))
    }

    pub(in crate::upstream) fn identity_token(&self) -> Option<&Secret> {
        match &self.secret {
            LoginSecret::Password(_) => None,
            LoginSecret::Identity(token) => Some(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_found_in_a_text() {
        let login = RegistryLogin::password("me", "s3cret");
        for (text, is_in) in [("me may not", false), ("no: s3cret", true), ("Basic bWU6czNjcmV0", true)] {
            assert_eq!(login.is_in(text), is_in, "{text}");
        }
        assert!(RegistryLogin::identity("me", "t0ken").is_in("t0ken is old"));
        assert!(!RegistryLogin::password("me", "").is_in("anything"));
    }

    #[test]
    fn debug_output_does_not_contain_the_secret() {
        for login in [RegistryLogin::password("me", "s3cret"), RegistryLogin::identity("me", "s3cret")] {
            let text = format!("{login:?}");
            assert!(text.contains("me") && !text.contains("s3cret") && !text.contains("Basic"), "{text}");
        }
    }
}
