//! Who asks, and may they: passwords, and the one gate that every request for a repository passes.
//!
//! Floor 3. May import `oci`, `metrics`, `sys`, `config`, `outbound` and `state`. It decides over [`Target`]s, never over
//! what a client wrote, and it is the only place that makes an [`Admitted`]. It must never log a password (the one that it
//! invents itself excepted, see [`Gate::new`]), and never say whether it was the name or the password that was wrong.
//!
//! [`Target`]: crate::oci::Target

mod credentials;
mod gate;
mod refusal;

mod apr1;
mod edit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod htpasswd;
mod password_file;
mod provision;
mod verifier;

pub use credentials::Credentials;
pub use edit::{EditError, Edited, complaint, list_users, remove_user, set_password};
pub use gate::{Admitted, Caller, Gate, UserName};
pub use refusal::{AuthError, Refusal, Unproven};

use crate::config;

use std::fmt;

/// What is to be said of a password file before it is used, with what to do; it goes on after `auth.htpasswd.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It cannot be used.
    Wrong(String),
    /// It can, and is surely not meant so.
    Doubtful(String),
}

/// Looks at the password file. Changes nothing. Blocks.
pub fn examine(auth: &config::Htpasswd) -> Vec<Finding> {
    password_file::examine(&auth.path)
}

/// What somebody wants to do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        })
    }
}
