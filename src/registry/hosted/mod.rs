//! Hosted repositories: clients push to them, and no upstream is ever asked for them.
//!
//! In reading order: files that nothing uses (`leavings`), the parts that they share (`context`), the condition of a change (`condition`), a repository and its
//! reads (`repository`), an upload (`upload`), a push of a manifest (`push`), deletion (`deletion`), and links to blobs of
//! other repositories (`mount`).

mod leavings;
mod context;
mod condition;
mod repository;
mod upload;
mod push;
mod deletion;
mod mount;

pub use condition::{Condition, Content};
pub(super) use context::HostedContext;
pub(super) use leavings::Leavings;
pub use push::{ManifestPush, PutManifest};
pub use repository::HostedRepository;
pub use upload::{BlobUpload, SingleRequestUpload};
