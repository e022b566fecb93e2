//! Turns the target of a request into a typed [`Route`], and writes the addresses of answers.

mod at;
mod refused;
mod path;

mod api;
mod routes;

mod site;
mod shape;
mod params;
mod parse_api;
mod parse;

mod location;

pub use api::Api;
pub use at::At;
pub(super) use location::Base;
pub(super) use refused::MAX_TAGS;
pub use refused::{Refused, RouteError};
pub use routes::{BlobVerb, ManifestVerb, Route, Start, UploadVerb};
pub use site::{MetricsAt, Site};
pub(super) use site::{is_api, is_registry_api};
