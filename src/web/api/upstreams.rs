//! `GET /api/v1/upstreams`: the state of the configured upstreams.

use serde::{Deserialize, Serialize};

use super::values::rfc3339;
use crate::oci::{HostName, Pattern};
use crate::registry::{BudgetReport, CircuitState, EndpointReport, UpstreamReport};
use crate::web::call::{Answer, Call};
use crate::web::response::object;

/// The answer: the upstreams, sorted by name, and the local names.
#[derive(Debug, Serialize, Deserialize)]
pub struct UpstreamList {
    pub upstreams: Vec<UpstreamStatus>,
    /// The patterns of `mirror.local`. Without upstreams every name is local.
    pub local: Vec<String>,
}

/// An upstream. A value that is unknown or does not apply is `null`; times are RFC 3339.
///
/// ```json
/// {
///   "name": "docker.io",
///   "aliases": [],
///   "default": true,
///   "account": true,
///   "silent_since": null,
///   "silent_cause": null,
///   "endpoints": [{
///     "address": "https://registry-1.docker.io",
///     "circuit": "closed",
///     "latency_ms": 112,
///     "failures": 0,
///     "retry_at": null,
///     "throttled_until": null,
///     "distrusted_until": null
///   }],
///   "budget": {"limit": 100, "remaining": 76, "window_seconds": 21600, "seen": "2026-01-31T12:00:00Z", "pulls_spared": false}
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct UpstreamStatus {
    pub name: String,
    /// Other names that clients may use for the upstream.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// True if the upstream owns names that carry no registry of their own.
    pub default: bool,
    /// True if requests to the upstream carry an account. The account is not named.
    #[serde(default)]
    pub account: bool,
    /// The time since which the upstream has not answered, so that cached tags are served unchecked.
    pub silent_since: Option<String>,
    /// The cause of that: a value of the label `cause` of `entrepot_upstream_failures_total`.
    #[serde(default)]
    pub silent_cause: Option<String>,
    /// The endpoints in their configured order.
    #[serde(default)]
    pub endpoints: Vec<EndpointStatus>,
    /// The request budget that the upstream last announced.
    pub budget: Option<BudgetStatus>,
}

/// An endpoint of an upstream.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndpointStatus {
    pub address: String,
    pub circuit: CircuitStatus,
    /// A moving average of the time to the head of an answer.
    pub latency_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// The time at which an open circuit lets the next request through.
    pub retry_at: Option<String>,
    /// The time until which the endpoint throttles requests.
    pub throttled_until: Option<String>,
    /// The time until which no content is requested by digest, because the endpoint sent content that differed from its digest.
    pub distrusted_until: Option<String>,
}

/// The state of an endpoint's circuit breaker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitStatus {
    /// The endpoint is asked.
    Closed,
    /// One request is testing whether the endpoint has recovered.
    HalfOpen,
    /// The endpoint is not asked before `retry_at`.
    Open,
}

/// The request budget that an upstream announced.
#[derive(Debug, Serialize, Deserialize)]
pub struct BudgetStatus {
    pub limit: Option<u64>,
    pub remaining: u64,
    pub window_seconds: Option<u64>,
    /// The time of the announcement.
    pub seen: String,
    /// True if so few requests are left that only missing content is requested.
    pub pulls_spared: bool,
}

/// Lists the upstreams.
pub(super) fn list(call: &Call) -> Answer {
    let registry = &call.app().registry;
    let upstreams = registry.upstreams().iter().map(UpstreamStatus::from).collect();
    let local = registry.naming().local().iter().map(Pattern::as_str).map(str::to_owned).collect();
    Ok(object(&UpstreamList { upstreams, local }, None))
}

impl From<&UpstreamReport> for UpstreamStatus {
    fn from(report: &UpstreamReport) -> Self {
        Self {
            name: report.name.as_str().to_owned(),
            aliases: report.aliases.iter().map(HostName::as_str).map(str::to_owned).collect(),
            default: report.is_default,
            account: report.has_account,
            silent_since: report.silent_since.map(|(since, _)| rfc3339(since)),
            silent_cause: report.silent_since.map(|(_, cause)| cause.as_str().to_owned()),
            endpoints: report.endpoints.iter().map(EndpointStatus::from).collect(),
            budget: report.budget.as_ref().map(|budget| BudgetStatus::new(budget, report.spares_pulls)),
        }
    }
}

impl From<&EndpointReport> for EndpointStatus {
    fn from(report: &EndpointReport) -> Self {
        let health = &report.health;
        Self {
            address: report.address.clone(),
            circuit: health.circuit.into(),
            latency_ms: health.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            failures: health.failures,
            retry_at: health.retry_at.map(rfc3339),
            throttled_until: health.throttled_until.map(rfc3339),
            distrusted_until: health.distrusted_until.map(rfc3339),
        }
    }
}

impl From<CircuitState> for CircuitStatus {
    fn from(state: CircuitState) -> Self {
        match state {
            CircuitState::Closed => Self::Closed,
            CircuitState::HalfOpen => Self::HalfOpen,
            CircuitState::Open => Self::Open,
        }
    }
}

impl BudgetStatus {
    fn new(report: &BudgetReport, pulls_spared: bool) -> Self {
        Self {
            limit: report.limit,
            remaining: report.remaining,
            window_seconds: report.window.map(|window| window.as_secs()),
            seen: rfc3339(report.seen),
            pulls_spared,
        }
    }
}
