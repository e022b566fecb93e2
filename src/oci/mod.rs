//! The types of the OCI specifications that a registry handles: digests, names, references, manifests, ranges,
//! platforms.
//!
//! Floor 0. Imports no other module, does no input or output, and knows no HTTP. Each type has private fields and one
//! validating constructor, so a string is parsed once and is a typed value from then on.

mod encoding;
mod digest;
mod error;
mod media_type;
mod object;
mod range;
mod platform;
mod name;
mod target;
mod pattern;
mod image;
mod manifest;
mod referrers;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use encoding::ContentCoding;
pub use error::ErrorCode;
pub use image::{ImageError, ImageName, ImagePattern, ImageRepository, ImageSelection, TagPattern};
pub use manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest, ManifestError};
pub use media_type::MediaType;
pub use name::{NameError, Reference, RepositoryName, Tag};
pub use pattern::{Pattern, PatternError};
pub use platform::{Platform, PlatformError, Platforms};
pub use range::{ByteRange, RangeSet, Selection, Span};
pub use referrers::{Referrers, ReferrersPage, ReferrersQuery};
pub use target::{HostName, MirroredName, Target};
