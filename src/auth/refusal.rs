//! Why somebody may not, and why the gate could not be built.

use std::io;
use std::path::PathBuf;

use super::Action;

/// Why a request is not let through. `Display` is for the person who made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has proven who asks: to be answered with a challenge (401), so that the client can.
    #[error("{reason}")]
    Unauthorized { reason: Unproven },
    /// It is known who asks, and they may not (403): asking again with the same credentials is of no use.
    #[error("{caller} may not {action} {target}")]
    Denied { caller: String, action: Action, target: String },
}

impl From<Unproven> for Refusal {
    fn from(reason: Unproven) -> Self {
        Self::Unauthorized { reason }
    }
}

/// Why it is not known who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("authentication required: log in to this registry first (docker login)")]
    Missing,
    // What was sent instead is not repeated: it may be a secret.
    #[error("only Basic credentials (user and password) are accepted here")]
    Scheme,
    #[error("the Basic credentials cannot be read: {0}")]
    Malformed(&'static str),
    #[error("unknown user {user:?} or wrong password")]
    Mismatch { user: String },
}

/// Why there is no gate: a password file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("{}: cannot read the password file: {source} (auth.htpasswd.path)", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{}: there is no password file, and none can be made: {source} (auth.htpasswd.path; `entrepot user add` makes one)",
        path.display()
    )]
    Provision { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
}
