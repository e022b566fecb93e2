//! Doors for `fuzz/`: the readers of password files and of `Authorization`.

use super::Credentials;
use super::htpasswd::Users;
use crate::config::Secret;

/// A password file that was read.
#[derive(Debug)]
pub struct PasswordFile(Users);

impl PasswordFile {
    /// The number of the first bad line, from 1, and what is said about it.
    pub fn parse(content: &[u8]) -> Result<Self, (usize, String)> {
        Users::parse(content).map(Self).map_err(|bad| (bad.line, bad.problem))
    }

    pub fn users(&self) -> usize {
        self.0.len()
    }

    /// Somebody's hash as it stands in the file.
    pub fn hash(&self, user: &str) -> Option<&str> {
        self.0.find(user).map(|hash| hash.text())
    }

    /// Is there somebody to hold an unknown user's password against?
    pub fn has_decoy(&self) -> bool {
        self.0.decoy().is_some()
    }

    /// Does this password open it?
    pub fn opens(&self, user: &str, password: &str) -> bool {
        self.0.find(user).is_some_and(|hash| hash.verify(&Secret::new(password.to_owned())))
    }
}

/// The user and the password of credentials.
pub fn revealed(credentials: &Credentials) -> (&str, &str) {
    (credentials.user(), credentials.password().reveal())
}
