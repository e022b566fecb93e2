//! Access for `fuzz/` to the parsers of password files and of `Authorization`.

use super::credentials::Credentials;
use super::passwords::Users;
use crate::config::Secret;

/// A parsed password file.
#[derive(Debug)]
pub struct PasswordFile(Users);

impl PasswordFile {
    /// Parses a password file. The error has the number of the first bad line, from 1, and the problem with it.
    pub fn parse(content: &[u8]) -> Result<Self, (usize, String)> {
        Users::parse(content).map(Self).map_err(|bad| (bad.line, bad.problem))
    }

    /// Returns the number of users.
    pub fn users(&self) -> usize {
        self.0.len()
    }

    /// Returns the hash of a user as it is written in the file.
    pub fn hash(&self, user: &str) -> Option<&str> {
        self.0.find(user).map(|hash| hash.text())
    }

    /// Returns true if the user has this password.
    pub fn opens(&self, user: &str, password: &str) -> bool {
        self.0.find(user).is_some_and(|hash| hash.verify(&Secret::new(password.to_owned())))
    }
}

/// Returns the user and the password of Basic credentials, or `None` for others.
pub fn revealed(credentials: &Credentials) -> Option<(&str, &str)> {
    match credentials {
        Credentials::Basic { user, password } => Some((user, password.reveal())),
        Credentials::None | Credentials::Bearer(_) => None,
    }
}
