//! Counts and logs the traffic with one upstream.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::budget::Budget;
use super::circuit::CircuitState;
use super::failing::ThrottleReason;
use crate::metrics::Metrics;
use crate::oci::{HostName, RepositoryName};
use crate::outbound::{Hop, HopOutcome, authority};
use crate::sys::Clock;
use crate::upstream::cause::FailureCause;
use crate::upstream::error::UpstreamError;

/// The kind of content that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum RequestKind {
    Manifest,
    Blob,
    Tags,
    Referrers,
    Token,
}

impl RequestKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Token => "token",
        }
    }

    /// Names the answer, for a sentence.
    pub(in crate::upstream) fn of_an_answer(self) -> &'static str {
        match self {
            Self::Manifest => "a manifest",
            Self::Blob => "a blob",
            Self::Tags => "a page of tags",
            Self::Referrers => "a page of referrers",
            Self::Token => "a token",
        }
    }
}

/// Counts and logs the requests to one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct Meter {
    upstream: HostName,
    metrics: Arc<Metrics>,
    budget: Budget,
}

impl Meter {
    pub(in crate::upstream) fn new(upstream: HostName, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let budget = Budget::new(upstream.clone(), Arc::clone(&metrics), clock);
        Self { upstream, metrics, budget }
    }

    /// Returns the budget of requests that the upstream states.
    pub(in crate::upstream) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Returns the counters and gauges for one endpoint's health.
    pub(in crate::upstream) fn health_metrics(&self, endpoint: String) -> HealthMetrics {
        HealthMetrics { upstream: self.upstream.clone(), endpoint, metrics: Arc::clone(&self.metrics) }
    }

    /// Records a request that was sent.
    pub(in crate::upstream) fn hop(&self, kind: RequestKind, hop: &Hop<'_>) {
        let upstream = self.upstream.as_str();
        // A token server and a CDN have limits of their own.
        let counted = !hop.redirected && kind != RequestKind::Token;
        let kind = if hop.redirected { "redirect" } else { kind.as_str() };
        let status = match hop.outcome {
            HopOutcome::Answered(status, _) => status.as_u16().to_string(),
            HopOutcome::Failed => "error".to_owned(),
            HopOutcome::DeadConnection => "dead".to_owned(),
            HopOutcome::Abandoned => "abandoned".to_owned(),
        };
        self.metrics.upstream_requests.with_label_values(&[upstream, kind, &status]).inc();
        if let HopOutcome::Answered(_, headers) = hop.outcome {
            self.metrics.upstream_first_byte.with_label_values(&[upstream]).observe(hop.took.as_secs_f64());
            if counted {
                self.budget.note(headers);
            }
        }
        // The target of a redirect may carry a signature in its path, and any query may, so neither is logged.
        let path = if hop.redirected { "…" } else { hop.url.path() };
        let took = hop.took.as_millis();
        tracing::debug!(%upstream, kind, method = %hop.method, host = authority(hop.url), path, status, took, "asked upstream");
    }

    /// Records bytes of a body that have arrived.
    pub(in crate::upstream) fn received(&self, kind: RequestKind, bytes: usize) {
        let bytes = bytes as u64;
        self.metrics.upstream_bytes.with_label_values(&[self.upstream.as_str()]).inc_by(bytes);
        if matches!(kind, RequestKind::Manifest | RequestKind::Blob) {
            self.metrics.proxy_pulled_bytes.with_label_values(&[kind.as_str()]).inc_by(bytes);
        }
    }
}

/// Counts and logs the health of one endpoint.
#[derive(Debug)]
pub(in crate::upstream) struct HealthMetrics {
    upstream: HostName,
    endpoint: String,
    metrics: Arc<Metrics>,
}

impl HealthMetrics {
    pub(in crate::upstream) fn circuit(&self, state: CircuitState) {
        let value = match state {
            CircuitState::Closed => 0,
            CircuitState::HalfOpen => 1,
            CircuitState::Open => 2,
        };
        self.metrics.upstream_circuit.with_label_values(&self.labels()).set(value);
    }

    pub(in crate::upstream) fn throttled_until(&self, until: SystemTime) {
        let seconds = until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let gauge = self.metrics.upstream_throttled_until.with_label_values(&self.labels());
        gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Counts a failure.
    pub(in crate::upstream) fn failed(&self, cause: FailureCause) {
        let [upstream, endpoint] = self.labels();
        self.metrics.upstream_failures.with_label_values(&[upstream, endpoint, cause.as_str()]).inc();
    }

    /// Logs that the circuit was opened for `pause`, after this failure.
    pub(in crate::upstream) fn circuit_opened(&self, pause: Duration, error: &UpstreamError) {
        let (upstream, endpoint) = (&self.upstream, &self.endpoint);
        let millis = pause.as_millis();
        tracing::warn!(%upstream, %endpoint, millis, %error, "requests to the endpoint failed several times in a row; it is paused");
    }

    /// Logs that requests for one repository are paused, while others are answered.
    pub(in crate::upstream) fn repository_paused(
        &self,
        repository: &RepositoryName,
        pause: Duration,
        error: &UpstreamError,
    ) {
        let (upstream, endpoint) = (&self.upstream, &self.endpoint);
        let millis = pause.as_millis();
        tracing::warn!(%upstream, %endpoint, %repository, millis, %error, "requests for this repository failed several times in a row and are paused; the endpoint answers for others");
    }

    /// Logs that the endpoint has asked for a pause.
    pub(in crate::upstream) fn throttled(&self, reason: ThrottleReason, pause: Duration) {
        let (upstream, endpoint, seconds) = (&self.upstream, &self.endpoint, pause.as_secs());
        match reason {
            ThrottleReason::TooManyRequests => {
                tracing::warn!(%upstream, %endpoint, seconds, "the endpoint answered 429, too many requests of this account or address; no manifest is requested from it for a while");
            }
            ThrottleReason::TokenServer => {
                tracing::warn!(%upstream, %endpoint, seconds, "the token server of the endpoint answered 429, too many requests; repositories without a token wait");
            }
            ThrottleReason::Unavailable => {
                tracing::warn!(%upstream, %endpoint, seconds, "the endpoint answered 503 and asked for a pause");
            }
        }
    }

    /// Logs that the circuit was closed again.
    pub(in crate::upstream) fn circuit_closed(&self) {
        tracing::info!(upstream = %self.upstream, endpoint = %self.endpoint, "the endpoint answers again");
    }

    pub(in crate::upstream) fn digest_mismatch(&self, repository: &RepositoryName, distrust: Duration) {
        self.metrics.upstream_digest_mismatches.with_label_values(&self.labels()).inc();
        self.failed(FailureCause::Content);
        let (upstream, endpoint) = (&self.upstream, &self.endpoint);
        let seconds = distrust.as_secs();
        tracing::error!(%upstream, %endpoint, %repository, seconds, "the endpoint sent content that does not match its digest; nothing of this repository that a digest names is requested from it for a while");
    }

    fn labels(&self) -> [&str; 2] {
        [self.upstream.as_str(), &self.endpoint]
    }
}
