//! The events of a warm job.

use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Digest, Platform, Reference, Target};
use crate::registry::answer::{CacheStatus, ManifestInfo};
use crate::registry::error::RegistryError;

/// An image to warm.
#[derive(Clone, Debug)]
pub struct WarmImage {
    /// The name of the image in events and log lines.
    pub name: String,
    pub target: Target,
    pub reference: Reference,
}

/// An event of one image.
#[derive(Clone, Debug)]
pub struct WarmEvent {
    pub image: Arc<str>,
    pub step: WarmStep,
}

/// The steps of an image: it begins, its manifests are read, its blobs arrive. `Done` or `Failed` is the last step.
#[derive(Clone, Debug)]
pub enum WarmStep {
    Begun {
        target: Target,
        reference: Reference,
    },
    Manifest {
        info: ManifestInfo,
        platform: Option<Platform>,
        cache: CacheStatus,
        /// Set if the upstream did not answer and the cached manifest is used.
        warning: Option<String>,
    },
    /// All manifests are read. The image has this number of blobs, with this number of bytes.
    Planned {
        blobs: usize,
        bytes: u64,
    },
    Blob {
        digest: Digest,
        size: u64,
        presence: Presence,
    },
    /// The number of bytes of a blob that have arrived. Sent at most a few times a second, and not to a slow receiver.
    Progress {
        digest: Digest,
        size: u64,
        arrived: u64,
    },
    /// The blob is complete, verified and stored.
    Arrived {
        digest: Digest,
        size: u64,
    },
    Done(Warmed),
    Failed(RegistryError),
}

/// The state of a blob when the job comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The blob was stored already.
    Shared,
    /// The blob is being fetched for another request, and this image waits for it.
    Joined,
    /// The blob is fetched for this image.
    Fetching,
}

/// The cost of an image, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Warmed {
    /// The bytes that were fetched for this image.
    pub fetched: u64,
    /// The bytes that were stored already, or that were arriving for another request.
    pub shared: u64,
    pub took: Duration,
}

impl Warmed {
    pub(super) fn add(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.shared += other.shared;
    }
}
