//! What operators are told of an upstream.

use super::{BudgetReport, HealthReport, Upstream};

/// An endpoint, as it stands now.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    /// As it is configured. It holds no user and no password: those have keys of their own.
    pub address: String,
    pub health: HealthReport,
}

impl Upstream {
    /// Its endpoints, in the configured order.
    pub fn endpoint_reports(&self) -> Vec<EndpointReport> {
        let report = |endpoint: &super::Endpoint| EndpointReport {
            address: endpoint.base().as_str().trim_end_matches('/').to_owned(),
            health: endpoint.health().report(),
        };
        self.endpoints.iter().map(report).collect()
    }

    /// What it last said of the requests that it counts, if it says that.
    pub fn budget_report(&self) -> Option<BudgetReport> {
        self.meter.budget().report()
    }
}
