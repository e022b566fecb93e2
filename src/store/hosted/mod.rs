//! Pushed content: blobs, manifests, tags and uploads, as objects under `registry:2`'s keys.
//!
//! Hosted content is written once for every driver: nothing here knows files or paths. Pushed content is never evicted.

mod links;
mod locks;
mod upload;
mod manifest_file;
mod revisions;
mod store;
mod trash;
mod blobs;
mod uploads;
mod reclaim;
mod manifests;
mod pulls;
mod referrers;
mod missing;
mod repositories;
mod survey;
mod removal;

pub use blobs::HostedBlob;
pub use links::layers;
pub use locks::{AllLocks, RepositoryLock, create_files as create_lock_files};
pub use manifest_file::StoredManifest;
pub use manifests::Tagged;
pub use store::HostedStore;
pub use upload::Upload;

#[cfg(test)]
mod tests;
