//! What is counted and logged of the traffic with one upstream.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::budget::Budget;
use super::circuit::CircuitState;
use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::outbound::{Hop, authority};
use crate::sys::Clock;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
    Tags,
    Referrers,
    Token,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Token => "token",
        }
    }
}

#[derive(Debug)]
pub(super) struct Meter {
    upstream: HostName,
    metrics: Arc<Metrics>,
    budget: Budget,
}

impl Meter {
    pub(super) fn new(upstream: HostName, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let budget = Budget::new(upstream.clone(), Arc::clone(&metrics), clock);
        Self { upstream, metrics, budget }
    }

    /// What the upstream says of the requests that it counts.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What is counted and logged of one endpoint's health.
    pub(super) fn marks(&self, endpoint: String) -> Marks {
        Marks { upstream: self.upstream.clone(), endpoint, metrics: Arc::clone(&self.metrics) }
    }

    /// A request was really sent.
    pub(super) fn hop(&self, kind: Kind, hop: &Hop<'_>) {
        let upstream = self.upstream.as_str();
        // A token server has limits of its own, and so has a CDN.
        let counted = !hop.redirected && kind != Kind::Token;
        let kind = if hop.redirected { "redirect" } else { kind.as_str() };
        let status = hop.answer.map_or("error".to_owned(), |(status, _)| status.as_u16().to_string());
        self.metrics.upstream_requests.with_label_values(&[upstream, kind, &status]).inc();
        if let Some((_, headers)) = hop.answer {
            self.metrics.upstream_first_byte.with_label_values(&[upstream]).observe(hop.took.as_secs_f64());
            if counted {
                self.budget.note(headers);
            }
        }
        // Where a redirect leads may be signed in its path, and a query always may.
        let path = if hop.redirected { "…" } else { hop.url.path() };
        let took = hop.took.as_millis();
        tracing::debug!(%upstream, kind, method = %hop.method, host = authority(hop.url), path, status, took, "asked upstream");
    }

    /// Bytes of a body have come.
    pub(super) fn received(&self, kind: Kind, bytes: usize) {
        let bytes = bytes as u64;
        self.metrics.upstream_bytes.with_label_values(&[self.upstream.as_str()]).inc_by(bytes);
        if matches!(kind, Kind::Manifest | Kind::Blob) {
            self.metrics.proxy_pulled_bytes.with_label_values(&[kind.as_str()]).inc_by(bytes);
        }
    }
}

/// What is counted and logged of one endpoint's health.
#[derive(Debug)]
pub(super) struct Marks {
    upstream: HostName,
    endpoint: String,
    metrics: Arc<Metrics>,
}

impl Marks {
    pub(super) fn circuit(&self, state: CircuitState) {
        let value = match state {
            CircuitState::Closed => 0,
            CircuitState::HalfOpen => 1,
            CircuitState::Open => 2,
        };
        self.metrics.upstream_circuit.with_label_values(&self.labels()).set(value);
    }

    pub(super) fn throttled_until(&self, until: SystemTime) {
        let seconds = until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let gauge = self.metrics.upstream_throttled_until.with_label_values(&self.labels());
        gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Its circuit was opened.
    pub(super) fn out(&self, pause: Duration) {
        let (upstream, endpoint) = (&self.upstream, &self.endpoint);
        let millis = pause.as_millis();
        tracing::warn!(%upstream, %endpoint, millis, "the endpoint fails again and again; it is left alone for a while");
    }

    /// Its circuit was closed again.
    pub(super) fn back(&self) {
        tracing::info!(upstream = %self.upstream, endpoint = %self.endpoint, "the endpoint answers again");
    }

    pub(super) fn digest_mismatch(&self, distrust: Duration) {
        self.metrics.upstream_digest_mismatches.with_label_values(&self.labels()).inc();
        let (upstream, endpoint) = (&self.upstream, &self.endpoint);
        let seconds = distrust.as_secs();
        tracing::error!(%upstream, %endpoint, seconds, "the endpoint sent other content than its digest names; nothing that a digest names is asked of it for a while");
    }

    fn labels(&self) -> [&str; 2] {
        [self.upstream.as_str(), &self.endpoint]
    }
}
