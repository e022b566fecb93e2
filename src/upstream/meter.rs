//! What is counted and logged of the traffic with one upstream.

use std::sync::Arc;

use http::HeaderName;

use super::header;
use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::outbound::{Hop, authority};

const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

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
}

impl Meter {
    pub(super) fn new(upstream: HostName, metrics: Arc<Metrics>) -> Self {
        Self { upstream, metrics }
    }

    /// A request was really sent.
    pub(super) fn hop(&self, kind: Kind, hop: &Hop<'_>) {
        let upstream = self.upstream.as_str();
        let kind = if hop.redirected { "redirect" } else { kind.as_str() };
        let status = hop.answer.map_or("error".to_owned(), |(status, _)| status.as_u16().to_string());
        self.metrics.upstream_requests.with_label_values(&[upstream, kind, &status]).inc();
        if let Some((_, headers)) = hop.answer {
            self.metrics.upstream_first_byte.with_label_values(&[upstream]).observe(hop.took.as_secs_f64());
            let remaining = headers.get(RATELIMIT_REMAINING).and_then(|value| value.to_str().ok());
            if let Some(remaining) = remaining.and_then(header::ratelimit) {
                self.metrics.ratelimit_remaining.with_label_values(&[upstream]).set(remaining);
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
