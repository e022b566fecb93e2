//! Creates the password file that the configuration names, if it does not exist.

use std::io;
use std::path::Path;

use super::create::create;
use super::htpasswd::BCRYPT_COST;
use crate::config::Secret;
use crate::sys::{disk, random_id};

/// The user of a provisioned password file, as in `registry:2`.
pub(super) const USER: &str = "docker";

/// Creates a password file (mode 0600) whose only user is [`USER`]. Returns the random password of that user. Blocks.
pub(super) fn provision(path: &Path) -> io::Result<Secret> {
    let password = random_id().replace('-', "");
    let hash = bcrypt::hash(&password, BCRYPT_COST).map_err(io::Error::other)?;
    disk::make_private_dir(disk::parent(path))?;
    create(path, format!("{USER}:{hash}\n").as_bytes())?;
    Ok(Secret::new(password))
}
