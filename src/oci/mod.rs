//! The protocol's nouns: what a registry talks about, and nothing of how.
//!
//! Floor 0. Pure: imports no other module, does no input or output, knows no HTTP.
//! Every type here has a private representation and one validating constructor, so
//! that what came in as a string is either a noun or an error, and never a string again.

mod digest;
mod error;
mod image;
mod manifest;
mod media_type;
mod name;
mod object;
mod pattern;
mod platform;
mod range;
mod referrers;
mod target;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error::ErrorCode;
pub use image::{ImageError, ImageName, ImagePattern, ImageRepository, ImageSelection, TagPattern};
pub use manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest, ManifestError};
pub use media_type::MediaType;
pub use name::{NameError, Reference, RepositoryName, Tag};
pub use pattern::{Pattern, PatternError};
pub use platform::{Platform, PlatformError, Platforms};
pub use range::{ByteRange, RangeSet, Selection, Span};
pub use referrers::{Referrers, ReferrersPage, ReferrersQuery};
pub use target::{HostName, Target};
