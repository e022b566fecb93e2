//! On what a change to a reference depends: that it still names what whoever asks believes.

use crate::oci::{Digest, Reference};
use crate::registry::RegistryError;

/// What must be true of a reference for it to be changed (RFC 9110 §13.1). Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It names one of these.
    pub names: Option<Content>,
    /// It names none of these.
    pub names_not: Option<Content>,
}

/// Content that a reference may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Any,
    OneOf(Vec<Digest>),
}

impl Condition {
    pub fn is_none(&self) -> bool {
        self.names.is_none() && self.names_not.is_none()
    }

    /// Fails unless it holds for a reference that names `current`.
    pub(super) fn check(&self, reference: &Reference, current: Option<Digest>) -> Result<(), RegistryError> {
        let is = |content: &Content| content.has(current.as_ref());
        if self.names.as_ref().is_none_or(is) && !self.names_not.as_ref().is_some_and(is) {
            return Ok(());
        }
        Err(RegistryError::Changed { reference: reference.to_string(), current })
    }
}

impl Content {
    fn has(&self, current: Option<&Digest>) -> bool {
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
    fn what_holds() {
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
            let held = condition.check(&reference, current);
            assert_eq!(held.is_ok(), want, "{condition:?} of {current:?}");
        }
    }
}
