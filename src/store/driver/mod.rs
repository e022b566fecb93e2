//! The storage of hosted content, as a few verbs over keys.
//!
//! A driver knows objects and folders, not repositories. Hosted content is written once, above this interface, and
//! works the same over each driver.

mod verbs;
mod disk;
mod backend;

pub use backend::Backend;
pub use disk::DiskDriver;
#[cfg(test)]
pub use verbs::{Changes, Child, ObjectStat};
pub use verbs::{Driver, Durability, FileLocks, LocalFile, LockGuard, OpenedWriter, Writer};
