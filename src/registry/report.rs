//! What operators are told of what goes on.

use std::time::SystemTime;

use super::mirror::remote::Remote;
use super::{Naming, Registry};
use crate::fills::FillReport;
use crate::oci::{Digest, HostName};

pub use crate::upstream::{BudgetReport, CircuitState, EndpointReport};

/// An upstream, as it stands now.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    pub name: HostName,
    /// Other names that clients may use for it, in byte order.
    pub aliases: Vec<HostName>,
    /// It owns names that carry no registry of their own.
    pub is_default: bool,
    /// It is asked with an account of its own. Whose, is not told.
    pub has_account: bool,
    /// Since when it has not answered, if it does not.
    pub silent_since: Option<SystemTime>,
    /// In the configured order.
    pub endpoints: Vec<EndpointReport>,
    /// What it last said of the requests that it counts, if it says that.
    pub budget: Option<BudgetReport>,
    /// Few of these are left: what only makes newer what is held waits.
    pub spares_pulls: bool,
}

impl UpstreamReport {
    fn new(name: &HostName, remote: &Remote, naming: &Naming) -> Self {
        let upstream = &remote.upstream;
        Self {
            name: name.clone(),
            aliases: naming.aliases(name),
            is_default: naming.default_upstream() == Some(name),
            has_account: !upstream.is_anonymous(),
            silent_since: remote.silent_since(),
            endpoints: upstream.endpoint_reports(),
            budget: upstream.budget_report(),
            spares_pulls: upstream.spares_pulls(),
        }
    }
}

impl Registry {
    /// The configured upstreams, in the order of their names.
    pub fn upstreams(&self) -> Vec<UpstreamReport> {
        let remotes = self.remotes.iter();
        let mut reports: Vec<_> =
            remotes.map(|(name, remote)| UpstreamReport::new(name, remote, &self.naming)).collect();
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
