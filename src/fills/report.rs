//! The state of running fills, for operators.

use super::fill::Fill;
use super::progress::Phase;
use crate::oci::Digest;

/// A blob that is arriving.
#[derive(Clone, Debug)]
pub struct FillReport {
    pub digest: Digest,
    /// The size in bytes, once it is known.
    pub size: Option<u64>,
    /// The number of bytes on the disk.
    pub arrived: u64,
    pub phase: Phase,
    /// The number of readers and other waiters.
    pub readers: usize,
    /// The repositories that the blob is fetched for.
    pub repositories: Vec<String>,
}

impl FillReport {
    /// Describes a fill as it is now.
    pub(super) fn of(fill: &Fill) -> Self {
        let progress = fill.progress();
        Self {
            digest: fill.digest,
            size: progress.size,
            arrived: progress.arrived,
            phase: progress.phase,
            readers: fill.waiters().count(),
            repositories: fill.usable_sources().iter().map(|source| source.name.to_string()).collect(),
        }
    }
}
