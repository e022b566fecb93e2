//! What operators are told of what goes on.

use super::Registry;
use super::fill::{Fill, Source};
use crate::oci::{Digest, HostName};

/// An upstream, as it stands now.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    pub name: HostName,
}

/// A blob that is arriving.
#[derive(Clone, Debug)]
pub struct FillReport {
    pub digest: Digest,
    /// In bytes, where it is known.
    pub size: Option<u64>,
    /// Bytes that are on the disk.
    pub arrived: u64,
    /// How many wait for it.
    pub readers: usize,
    /// The repositories that it is fetched for.
    pub repositories: Vec<String>,
}

impl FillReport {
    pub(super) fn of(fill: &Fill) -> Self {
        let progress = fill.progress();
        let name = |source: Source| format!("{}/{}", source.upstream.name(), source.repository);
        Self {
            digest: fill.digest,
            size: progress.size,
            arrived: progress.arrived,
            readers: fill.audience().count(),
            repositories: fill.unfailed().into_iter().map(name).collect(),
        }
    }
}

impl Registry {
    /// The configured upstreams, in the order of their names.
    pub fn upstreams(&self) -> Vec<UpstreamReport> {
        let mut reports: Vec<_> = self.remotes.keys().map(|name| UpstreamReport { name: name.clone() }).collect();
        reports.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        reports
    }

    /// What is arriving now.
    pub fn arriving(&self) -> Vec<FillReport> {
        self.fills.reports()
    }

    /// Stops a fill by hand; what has arrived can be taken up again. Says whether there was one.
    pub fn cancel_fill(&self, digest: &Digest) -> bool {
        self.fills.cancel(digest)
    }
}
