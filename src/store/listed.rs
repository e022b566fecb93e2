//! Whether a directory is still what it was when it was listed: one look at its time instead of reading it again.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::sys::disk::{self, Changed};

/// When a directory had changed last before it was listed; nothing where it is to be listed again in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listed(Option<Changed>);

/// What has become of a directory that was listed.
pub enum Look {
    Gone,
    /// Nothing came and nothing went.
    Same,
    /// It is to be listed now. This is what to keep once that is done.
    Anew(Listed),
}

impl Listed {
    /// Can this ever be found to be the same?
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// Looks at the directory. One that changed within a tick of its file system's clock may change again without showing it:
    /// it counts as changed until that tick is over.
    pub fn look(self, directory: &Path, now: SystemTime) -> io::Result<Look> {
        Ok(match disk::changed(directory)? {
            None => Look::Gone,
            Some(changed) if self.0 == Some(changed) => Look::Same,
            Some(changed) => Look::Anew(Self(changed.is_settled(now).then_some(changed))),
        })
    }
}
