//! The rules that decide what a caller may do. Today a verified caller may do everything, as in `registry:2` with a
//! password file.

use std::fmt;

use crate::oci::Target;

/// Something that a caller asks the gate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read a repository.
    Pull,
    /// Write to a repository.
    Push,
    /// Delete from a repository.
    Delete,
    /// Use the registry without a repository, as `/v2/`, lists and metrics do.
    Enter,
    /// Do what concerns the whole registry, such as cancelling a fill.
    Admin,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Enter => "enter",
            Self::Admin => "admin",
        })
    }
}

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    Anonymous,
    /// A user whose password was verified.
    User(UserName),
}

impl Caller {
    /// Returns the name of the user, or `None` for an anonymous caller.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(name) => Some(name.as_str()),
        }
    }
}

/// The name of a user whose password was verified. Only the gate makes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserName(String);

impl UserName {
    pub(super) fn new(verified: &str) -> Self {
        Self(verified.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Decides what a caller may do, once the caller is known.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Returns true for what no caller may do. The configuration cannot set it yet; tests do.
    forbidden: Option<fn(Action, Option<&Target>) -> bool>,
}

impl Rules {
    /// Makes rules that allow everything except what `forbidden` returns true for.
    #[cfg(test)]
    pub(super) fn except(forbidden: fn(Action, Option<&Target>) -> bool) -> Self {
        Self { forbidden: Some(forbidden) }
    }

    /// Returns true if the caller may do this. `target` is `None` for actions that concern no repository.
    pub(super) fn allow(&self, _caller: &Caller, action: Action, target: Option<&Target>) -> bool {
        self.forbidden.is_none_or(|forbidden| !forbidden(action, target))
    }
}
