//! The server's configuration on this machine: finding it, reading it, and checking it against the store on the disk.

mod storage_root;
mod hidden;
mod examine;
mod file;
mod load;

pub(super) use examine::examine;
pub(super) use file::read;
pub(super) use load::Settings;
pub(super) use storage_root::{ROOT_KEY, degraded, unwritable};
