//! Files and directories. The calls block, so run them through [`super::blocking`].
#![expect(clippy::disallowed_methods, reason = "this is the seam: the one place that touches the file system")]

#[cfg(test)]
pub mod synced;
mod unsupported;
mod located;
mod nearest;
mod files;
mod directories;
mod temporary;
mod owner;
mod probe;
mod locks;
mod lacks;
mod usable;
mod named;

pub use directories::{
    Changed, DirEntry, changed, each, list, make_dir, make_private_dir, move_dir, remove_dir, remove_empty,
};
pub use files::{
    Metadata, Stamp, age, expand_home, link_or_copy, make_new, metadata, name_durably, open, open_writable, optional,
    parent, read, read_up_to, remove, rename_durably, resolve, touch, write_all_at, write_atomic, write_into_durable,
    write_replace,
};
pub use lacks::{Lacks, rehearse_push};
pub use located::{is_full, is_shortage, located, place_of};
pub use locks::{LockedFile, Share, names, try_lock, try_share};
pub use named::{NAMED_BYTES, explain, read_named};
pub use nearest::{nearest, shares_disk};
pub use owner::{give, owner, process_owner};
pub use probe::{Space, probe_makeable, probe_writable, space};
pub use temporary::remove_temporary;
pub use usable::{exists, is_usable_directory, is_usable_file, is_usable_record};
