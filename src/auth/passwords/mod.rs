//! Password files in the htpasswd format: reading, checking, changing, and verifying passwords against them.

mod error;

mod apr1;
mod htpasswd;

mod create;
mod edit;
mod provision;

mod file;
mod examine;
mod ring;
mod queue;
mod verifier;

pub use edit::{EditError, Edited, bad_lines, list_users, remove_user, set_password};
pub use error::PasswordFileError;
pub use examine::{Finding, examine};
#[cfg(any(test, fuzzing))]
pub(super) use htpasswd::Users;
pub(super) use verifier::{LoginVerdict, Verifier};
