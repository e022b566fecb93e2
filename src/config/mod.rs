//! Configuration: reads YAML and environment variables into types that allow only valid values.
//!
//! Floor 1. It may import `oci`. It touches no file: it takes text, and asks a closure for the content of secrets.
//!
//! [`Draft::read`] parses YAML into a tree with locations (`document`), puts the `REGISTRY_*` variables over it, and checks
//! the keys (`keys`). Then each section reads its values (a file each), and `mirror` checks for contradictions. All mistakes
//! are collected, so that one never hides the next. Warnings report values that are valid but probably not intended.
//!
//! A section declares each of its keys in one line (`section`). Reading, `check --print`, `check --schema`, the variables and the
//! check for unknown keys are derived from that line. The descriptions come from the comments in `config/reference.yml`.

mod document;
mod keys;
mod secret;
mod cursor;
mod scalar_type;
mod section;
mod go_forms;
mod address;
mod address_range;
mod log;
mod storage;
mod http;
mod auth;
mod access;
mod health;
mod validation;
mod mirror;
mod root;
mod json_schema;
mod draft;

#[cfg(test)]
mod tests;

pub use address_range::AddressRange;
pub use auth::Htpasswd;
pub use cursor::ReadSecret;
pub use document::{Problem, Problems};
pub use draft::{DEFAULT, Draft, Loaded, SourceText, load};
pub use health::{HealthChecks, StorageCheck};
pub use http::{Debug, Http};
pub use json_schema::json_schema;
pub use log::{Log, LogFormat, LogLevel};
pub use mirror::{
    Cache, Credentials, DayHours, Fill, FillConnections, Follow, Helper, Identity, Link, LinkHours, LinkLimit,
    LoginMethod, Mirror, MirrorOrigin, NamespaceUse, Prefetch, Rate, Stale, TimeOfDay, Trust, Unattended, Upstream,
};
pub use root::Config;
pub use secret::Secret;
pub use storage::{Delete, RootOrigin, Storage};
pub use validation::{LayerUrls, Sparse, UrlPattern, Validation};
