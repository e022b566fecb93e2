//! The registry API below `/v2/` (OCI distribution-spec 1.1), one module for each noun.

pub(super) mod base;
pub(super) mod blobs;
pub(super) mod catalog;
pub(super) mod manifests;
pub(super) mod referrers;
pub(super) mod tags;
pub(super) mod uploads;
