//! Stores bytes and links atomically.
//!
//! Floor 3. May import floors 0–1. Pushed content ([`HostedStore`]) is stored through a driver: keys and a few verbs,
//! which a disk or an object store can provide. Cached content ([`CacheStore`]) always lies on a local disk and may be
//! lost. The two have separate roots, and code that works on one cannot name a file of the other.

mod error;
mod page;
mod key;
mod upload_id;
mod layout;
mod blob;
mod piece;
mod bad_entries;
mod driver;
mod directory;
mod private;
mod cache;
mod hosted;
mod open;
mod index;

pub use bad_entries::BadEntry;
pub use blob::StoredBlob;
pub use cache::{
    Arrivals, Batch, CacheLock, CacheStore, CachedBlob, Decoding, Extents, LINK_BYTES, LinkRecord, Partial, PrefixHash,
    ReferrersRecord, Right, StoredPartial, TagPulls, TagRecord, WrittenSpan, verified,
};
pub use error::StoreError;
pub use hosted::{AllLocks, HostedBlob, HostedStore, RepositoryLock, StoredManifest, Tagged, Upload};
pub use index::Indexed;
pub use open::Store;
pub use page::{Amount, Page};
pub use piece::{Piece, ReadError};
pub use private::{PrivateStore, PushRecord};
pub use upload_id::UploadId;

pub use crate::sys::disk::Share;
