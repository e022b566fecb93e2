//! The condition of a change: the reference must still name the content that the client expects.

use crate::oci::{Digest, Reference};
use crate::registry::error::RegistryError;

/// What must be true of a reference before it is changed (RFC 9110 §13.1). The default requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The reference must name this content (`If-Match`).
    pub names: Option<Content>,
    /// The reference must not name this content (`If-None-Match`).
    pub names_not: Option<Content>,
}

/// Content that a reference may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Any,
    OneOf(Vec<Digest>),
}

impl Condition {
    /// Returns true if the condition requires nothing.
    pub fn is_none(&self) -> bool {
        self.names.is_none() && self.names_not.is_none()
    }

    /// Fails unless the condition holds for a reference that names `current`.
    pub(super) fn check(&self, reference: &Reference, current: Option<Digest>) -> Result<(), RegistryError> {
        let is = |content: &Content| content.contains(current.as_ref());
        if self.names.as_ref().is_none_or(is) && !self.names_not.as_ref().is_some_and(is) {
            return Ok(());
        }
        Err(RegistryError::Changed { reference: reference.to_string(), current })
    }
}

impl Content {
    fn contains(&self, current: Option<&Digest>) -> bool {
        match self {
            Self::Any => current.is_some(),
            Self::OneOf(digests) => current.is_some_and(|digest| digests.contains(digest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn condition_holds_or_fails_by_the_current_digest() {
        let (one, two) = (Digest::of(Algorithm::Sha256, b"1"), Digest::of(Algorithm::Sha256, b"2"));
        let reference = "latest".parse().unwrap();
        let only = |digest| Some(Content::OneOf(vec![digest]));
        for (names, names_not, current, want) in [
            (None, None, None, true),
            (None, None, Some(one), true),
            (Some(Content::Any), None, None, false),
            (Some(Content::Any), None, Some(one), true),
            (only(one), None, Some(one), true),
            (only(one), None, Some(two), false),
            (only(one), None, None, false),
            (Some(Content::OneOf(Vec::new())), None, Some(one), false),
            (None, Some(Content::Any), None, true),
            (None, Some(Content::Any), Some(one), false),
            (None, only(one), Some(two), true),
            (None, only(one), Some(one), false),
            (only(one), only(one), Some(one), false),
        ] {
            let condition = Condition { names, names_not };
            let outcome = condition.check(&reference, current);
            assert_eq!(outcome.is_ok(), want, "{condition:?} of {current:?}");
        }
    }
}
