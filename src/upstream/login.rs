//! A user, and the proof of being that user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::config::Secret;

/// Whom an upstream is asked as. Nothing of it prints the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    username: String,
    proof: Proof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    /// `Authorization: Basic …`, marked as sensitive, so that nothing prints it.
    Password(HeaderValue),
    /// For the token server alone, which gives tokens for it (OAuth 2's `refresh_token`).
    Identity(Secret),
}

impl Login {
    pub(super) fn password(username: &str, password: &str) -> Self {
        let basic = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        let mut basic = HeaderValue::from_str(&basic).expect("base64 is made of header characters");
        basic.set_sensitive(true);
        Self { username: username.to_owned(), proof: Proof::Password(basic) }
    }

    /// With what docker calls an identity token.
    pub(super) fn identity(username: &str, token: &str) -> Self {
        Self { username: username.to_owned(), proof: Proof::Identity(Secret::new(token.to_owned())) }
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    pub(super) fn basic(&self) -> Option<&HeaderValue> {
        match &self.proof {
            Proof::Password(basic) => Some(basic),
            Proof::Identity(_) => None,
        }
    }

    pub(super) fn identity_token(&self) -> Option<&Secret> {
        match &self.proof {
            Proof::Password(_) => None,
            Proof::Identity(token) => Some(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_the_proof() {
        for login in [Login::password("me", "s3cret"), Login::identity("me", "s3cret")] {
            let text = format!("{login:?}");
            assert!(text.contains("me") && !text.contains("s3cret") && !text.contains("Basic"), "{text}");
        }
    }
}
