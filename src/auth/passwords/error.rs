//! The reasons why a password file cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// A password file cannot be used, so the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    #[error("{}: cannot read the password file: {source} (auth.htpasswd.path)", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{}: the password file does not exist and cannot be created: {source} (auth.htpasswd.path; `entrepot user add {} USER` creates one)",
        path.display(), path.display()
    )]
    Provision { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
}

/// Puts the name of the file into the commands that a problem suggests.
pub(super) fn with_file_name(problem: &str, path: &Path) -> String {
    problem.replace(" FILE ", &format!(" {} ", path.display()))
}
