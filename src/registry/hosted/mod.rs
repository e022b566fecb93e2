//! Hosted repositories: clients push to them, and no upstream is ever asked for them.
//!
//! In reading order: files that nothing uses (`unused_files`), the parts that they share (`context`), the condition of a change (`condition`), a repository and its
//! reads (`repository`), an upload (`upload`), a push of a manifest (`push`), deletion (`deletion`), and links to blobs of
//! other repositories (`mount`).

mod unused_files;
mod context;
mod condition;
mod repository;
mod upload;
mod push;
mod deletion;
mod mount;

pub use condition::{Condition, Content};
pub(super) use context::HostedContext;
pub use push::{ManifestPush, PutManifest};
pub use repository::HostedRepository;
pub(super) use unused_files::UnusedFiles;
pub use upload::{BlobUpload, SingleRequestUpload};
