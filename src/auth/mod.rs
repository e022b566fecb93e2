//! Authentication and authorization: passwords, credentials, and the gate that every request passes.
//!
//! The gate decides about [`Target`]s, never about a name as the client wrote it. Only the gate makes an [`Admitted`]. No
//! password is logged, except the random one of a new password file (see [`Gate::new`]). After a failed login, the answer
//! does not tell whether the name or the password was wrong.
//!
//! [`Target`]: crate::oci::Target

mod passwords;

mod credentials;
mod rules;
mod refusal;
mod gate;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use credentials::{Credentials, Unproven};
pub use gate::{Admitted, Gate};
pub use passwords::{
    EditError, Edited, Finding, PasswordFileError, bad_lines, examine, list_users, remove_user, set_password,
};
pub use refusal::Refusal;
pub use rules::{Action, Caller, UserName};
