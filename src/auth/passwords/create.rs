//! Creates a password file.

use std::io::{self, Write as _};
use std::path::Path;

use crate::sys::{disk, random_id};

/// Creates a password file that only its owner may read. The file appears with its whole content or not at all, and an existing
/// file is never replaced. Blocks.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = disk::parent(path).join(format!(".htpasswd-{}", random_id()));
    let write = || {
        let mut new = disk::make_new(&temporary, 0o600)?;
        new.write_all(content)?;
        new.sync_all()?;
        disk::name_durably(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = disk::remove(&temporary);
    }
    written
}
