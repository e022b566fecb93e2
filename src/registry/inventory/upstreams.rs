//! The state of the upstreams, for operators.

use std::time::SystemTime;

use crate::oci::HostName;
use crate::registry::mirror::Remote;
use crate::registry::naming::Naming;
use crate::upstream::{BudgetReport, EndpointReport, FailureCause};

/// The present state of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    pub name: HostName,
    /// The other names that clients may use for it, in byte order.
    pub aliases: Vec<HostName>,
    /// True if this upstream owns the names that carry no registry of their own.
    pub is_default: bool,
    /// True if the upstream is asked with an account. The report does not name the account.
    pub has_account: bool,
    /// The time since when the upstream has not answered as it should, and the cause.
    pub silent_since: Option<(SystemTime, FailureCause)>,
    /// The endpoints, in the configured order.
    pub endpoints: Vec<EndpointReport>,
    /// The upstream's last statement about the requests that it counts, if it makes one.
    pub budget: Option<BudgetReport>,
    /// True while few counted requests are left, so that requests which only renew cached content are postponed.
    pub spares_pulls: bool,
}

impl UpstreamReport {
    /// Describes an upstream as it is now.
    pub(in crate::registry) fn new(name: &HostName, remote: &Remote, naming: &Naming) -> Self {
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
