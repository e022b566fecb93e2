//! Making a password file where there is none.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::Secret;
use crate::sys::{disk, random_id};

/// The user of a password file that was made here, as `registry:2` names it.
pub(super) const USER: &str = "docker";

/// `registry:2`'s: about 70 ms.
const COST: u32 = 10;

/// Makes a password file (0600) with the one user [`USER`], whose password is random, and returns that password.
pub(super) fn provision(path: &Path) -> io::Result<Secret> {
    let password = random_id().replace('-', "");
    let hash = bcrypt::hash(&password, COST).map_err(io::Error::other)?;
    // Written in a directory that nobody else may enter: so nobody opens it before its mode is set, and nobody sees half of it.
    let private = disk::parent(path).join(format!(".tmp-{}", random_id()));
    disk::make_private_dir(&private)?;
    let made = write(&private.join("htpasswd"), path, &format!("{USER}:{hash}\n"));
    let _ = disk::remove_dir(&private);
    made.map(|()| Secret::new(password))
}

fn write(temporary: &Path, path: &Path, content: &str) -> io::Result<()> {
    let mut file = disk::open_writable(temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    disk::rename_durably(temporary, path)
}
