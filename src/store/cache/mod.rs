//! Copies of the content of upstreams: complete blobs, partial ones, and the records that say which repository may
//! serve them.
//!
//! The cache always lies on a local disk, and everything in it may be lost at any time.

mod paths;
mod extents;
mod records;
mod batch;
mod recent;
mod arrivals;
mod decoding;
mod operations;
mod partial;
mod locks;
mod cached_file;
mod store;
mod links;
mod lists;
mod pulls;
mod usage;

pub use arrivals::{Arrivals, PrefixHash};
pub use batch::Batch;
pub use decoding::Decoding;
pub use extents::Extents;
pub use links::LINK_BYTES;
pub use locks::CacheLock;
pub use partial::{Partial, StoredPartial, WrittenSpan, verified};
pub use paths::change_on_disk;
pub use pulls::TagPulls;
pub use records::{LinkRecord, ReferrersRecord, Right, TagRecord};
pub use store::{CacheStore, CachedBlob};
