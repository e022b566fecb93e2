//! What operators are told of what goes on.

use super::Registry;
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
