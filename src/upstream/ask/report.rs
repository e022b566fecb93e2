//! The state of an upstream as its operators see it.

use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{BudgetReport, Endpoint, HealthReport};

/// The current state of an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    /// The configured address. It holds no user and no password, since those have keys of their own.
    pub address: String,
    pub health: HealthReport,
}

impl Upstream {
    /// Reports the state of each endpoint, in the configured order.
    pub fn endpoint_reports(&self) -> Vec<EndpointReport> {
        let report = |endpoint: &Endpoint| EndpointReport {
            address: endpoint.base().as_str().trim_end_matches('/').to_owned(),
            health: endpoint.health().report(),
        };
        self.endpoints.iter().map(report).collect()
    }

    /// Reports the request budget that the upstream last stated; `None` if it never stated one.
    pub fn budget_report(&self) -> Option<BudgetReport> {
        self.meter.budget().report()
    }
}
