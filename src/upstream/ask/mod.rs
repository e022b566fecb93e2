//! Requests to an upstream: credentials, the targets of redirects, the tests of an answer, one exchange with one endpoint,
//! HEAD as a hint, the order of endpoints, and one file for each kind of content.

mod request;
mod authorization;
mod redirect_target;
mod evidence;
mod parameters;
mod exchange;
mod hint;
mod order;
mod tried;
mod stream;
mod blob;
mod manifest;
mod tags;
mod referrers;
mod report;

pub use blob::BlobRange;
pub use manifest::{FetchedManifest, ManifestHead};
pub use referrers::ReferrersAnswer;
pub use report::EndpointReport;
pub use stream::{BlobStream, ResumeHint};
pub use tags::{TagList, TagPage};
