//! Values that several answers of the API contain.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::oci::Target;

/// The origin of the content of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryKind {
    /// Clients push to the repository.
    Hosted,
    /// The repository mirrors one of an upstream.
    Mirrored,
}

impl RepositoryKind {
    /// Returns the name that the JSON uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hosted => "hosted",
            Self::Mirrored => "mirrored",
        }
    }
}

impl From<&Target> for RepositoryKind {
    fn from(target: &Target) -> Self {
        match target {
            Target::Hosted(_) => Self::Hosted,
            Target::Mirror(_) => Self::Mirrored,
        }
    }
}

/// Writes a time as RFC 3339, rounded down to whole seconds.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
