//! The owners of files, and of this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Gives an open file to a user and a group, unless it is theirs already. Only root may give files to other users.
pub fn give(file: &File, user: u32, group: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (user, group) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, (now.uid() != user).then_some(user), (now.gid() != group).then_some(group))
}

/// Returns the numbers of the user and the group that own this path.
pub fn owner(path: &Path) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.uid(), metadata.gid()))
}

/// Returns the numbers of the user and the group that this process runs as.
pub fn process_owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}
