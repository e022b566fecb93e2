//! Secrets, which are never shown.

use std::fmt;

/// The text that `check --print` shows in place of a secret.
pub(super) const MASK: &str = "****";

/// A secret. It cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes `text` a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret itself, for the code that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
