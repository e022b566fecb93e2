//! Checking a password file before the server uses it.

use std::io;

use super::error::with_file_name;
use super::htpasswd::{BadLine, MAX_BYTES, Users};
use super::provision;
use crate::config;
use crate::sys::disk;

/// A problem with a password file and its remedy. The text continues a sentence that begins with `auth.htpasswd.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The file cannot be used.
    Error(String),
    /// The file can be used, but is probably not what the operator meant.
    Warning(String),
}

/// Checks the password file of a configuration. A file that does not exist is only a warning, because `serve` creates it. Changes
/// nothing. Blocks.
pub fn examine(auth: &config::Htpasswd) -> Vec<Finding> {
    let path = auth.path.as_path();
    let shown = path.display();
    let content = match disk::optional(disk::read_named(path, MAX_BYTES)) {
        Ok(Some(content)) => content,
        Ok(None) => {
            let user = provision::USER;
            return vec![Finding::Warning(format!(
                "names {shown}, which does not exist: `serve` creates it with the user {user} and a password that it logs; \
                 create it with your own user by `entrepot user add {shown} USER`"
            ))];
        }
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return vec![Finding::Error(format!(
                "names {shown}, which is a directory; write the path of a file, such as {file} (`entrepot user add {file} \
                 USER` creates one), or remove `auth` to serve without a login",
                file = path.join("htpasswd").display()
            ))];
        }
        Err(error) => return vec![Finding::Error(format!("names {shown}: {}", disk::explain(path, &error)))],
    };
    // Beside users that can log in, a line that cannot be used is left out.
    let finding = if Users::parse_usable(&content).is_ok() { Finding::Warning } else { Finding::Error };
    let line = |bad: BadLine| finding(format!("names {shown}:{}: {}", bad.line, with_file_name(&bad.problem, path)));
    let mut findings: Vec<Finding> = Users::bad_lines(&content).into_iter().map(line).collect();
    if Users::parse(&content).is_ok_and(|users| users.len() == 0) {
        findings.push(Finding::Warning(format!(
            "names {shown}, which has no users, so every login fails; `entrepot user add {shown} USER` adds one"
        )));
    }
    findings
}
