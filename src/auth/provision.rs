//! Making a password file where there is none.

use std::io;
use std::path::Path;

use super::edit::{COST, make};
use crate::config::Secret;
use crate::sys::{disk, random_id};

/// The user of a password file that was made here, as `registry:2` names it.
pub(super) const USER: &str = "docker";

/// Makes a password file (0600) with the one user [`USER`], whose password is random, and returns that password.
pub(super) fn provision(path: &Path) -> io::Result<Secret> {
    let password = random_id().replace('-', "");
    let hash = bcrypt::hash(&password, COST).map_err(io::Error::other)?;
    disk::make_private_dir(disk::parent(path))?;
    make(path, format!("{USER}:{hash}\n").as_bytes())?;
    Ok(Secret::new(password))
}
