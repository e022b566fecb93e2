//! Every metric, once, typed.
//!
//! Floor 0. Imports no other module; passed, never global. `registry_*` names mean what they mean in distribution v3, so that
//! its dashboards go on working; `entrepot_*` are ours.

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, exponential_buckets,
};

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by `handler`, `method` (lower case) and `code`.
    pub http_requests: IntCounterVec,
    /// Seconds until the body was sent, by `handler` and `method`.
    pub http_duration: HistogramVec,
    /// Bytes of request bodies, by `handler` and `method`.
    pub http_request_size: HistogramVec,
    /// Bytes of response bodies, by `handler` and `method`.
    pub http_response_size: HistogramVec,
    /// Requests being answered now, by `handler`.
    pub http_in_flight: IntGaugeVec,
    /// Pulls of mirrored content, by `type` (`blob`, `manifest`).
    pub proxy_requests: IntCounterVec,
    /// Of these, answered from what is held.
    pub proxy_hits: IntCounterVec,
    /// Of these, asked of an upstream.
    pub proxy_misses: IntCounterVec,
    /// Bytes received from upstreams, by `type`.
    pub proxy_pulled_bytes: IntCounterVec,
    /// Bytes of mirrored content sent to clients, by `type`.
    pub proxy_pushed_bytes: IntCounterVec,
    /// Fills ended, by `outcome` (`complete`, `failed`, `unstorable`).
    pub fills: IntCounterVec,
    /// Fills running now.
    pub fills_in_flight: IntGauge,
    /// Connections of fills that failed and that another went on for.
    pub fill_resumes: IntCounter,
    /// Readers that follow a running fill now.
    pub fill_followers: IntGauge,
    /// Requests sent to upstreams, by `upstream`, `kind` (`manifest`, `blob`, `token`, `tags`, …) and `status` (a code, or `error`).
    pub upstream_requests: IntCounterVec,
    /// Body bytes received, by `upstream`.
    pub upstream_bytes: IntCounterVec,
    /// Seconds from a request to the head of its answer, by `upstream`.
    pub upstream_first_byte: HistogramVec,
    /// Is an endpoint asked (0 closed: yes, 1 half-open: one request finds out, 2 open: no), by `upstream` and `endpoint`.
    pub upstream_circuit: IntGaugeVec,
    /// Until when an endpoint wants not to be asked (429, or 503 with `Retry-After`), in seconds since 1970, by `upstream` and `endpoint`.
    pub upstream_throttled_until: IntGaugeVec,
    /// Content that was not what its digest says, by `upstream` and `endpoint`.
    pub upstream_digest_mismatches: IntCounterVec,
    /// What the upstream said it allows in all (`ratelimit-limit`), by `upstream`.
    pub ratelimit_limit: IntGaugeVec,
    /// What the upstream said it still allows (`ratelimit-remaining`), by `upstream`.
    pub ratelimit_remaining: IntGaugeVec,
    /// Manifests answered from what is held because the upstream did not answer, by `upstream`.
    pub stale_answers: IntCounterVec,
    /// Seconds from a pull's request to its response head, by `cache` (the value of `X-Cache`).
    pub first_byte: HistogramVec,
    /// Bytes of whole blobs in the cache.
    pub cache_bytes: IntGauge,
    /// Bytes of blobs that did not come to be whole, and that no fill works on.
    pub cache_partial_bytes: IntGauge,
    /// Whole blobs in the cache.
    pub cache_blobs: IntGauge,
    /// Blobs evicted.
    pub evictions: IntCounter,
    /// Bytes evicted.
    pub evicted_bytes: IntCounter,
    /// Cached files found with a wrong length and dropped.
    pub damaged_blobs: IntCounter,
    /// Images warmed, on demand or by `mirror.prefetch`, by `outcome` (`done`, `failed`).
    pub warm_images: IntCounterVec,
    /// Bytes of images warmed, by `from` (`upstream`: fetched for it, `cache`: there already or arriving for somebody else).
    pub warm_bytes: IntCounterVec,
    /// Logins by `outcome` (`ok`, `refused`).
    pub logins: IntCounterVec,
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "one entry for each metric, and nothing else")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let sizes = || exponential_buckets(1024.0, 4.0, 12).unwrap_or_default();
        let seconds = || exponential_buckets(0.001, 2.5, 14).unwrap_or_default();
        let route = &["handler", "method"];
        let endpoint = &["upstream", "endpoint"];
        Self {
            http_requests: counters(
                r,
                "registry_http_requests_total",
                "Requests answered",
                &["handler", "method", "code"],
            ),
            http_duration: histograms(
                r,
                "registry_http_request_duration_seconds",
                "Seconds to answer",
                route,
                seconds(),
            ),
            http_request_size: histograms(
                r,
                "registry_http_request_size_bytes",
                "Bytes of request bodies",
                route,
                sizes(),
            ),
            http_response_size: histograms(
                r,
                "registry_http_response_size_bytes",
                "Bytes of response bodies",
                route,
                sizes(),
            ),
            http_in_flight: gauges(r, "registry_http_in_flight_requests", "Requests being answered", &["handler"]),
            proxy_requests: counters(r, "registry_proxy_requests_total", "Pulls of mirrored content", &["type"]),
            proxy_hits: counters(r, "registry_proxy_hits_total", "Pulls answered from what is held", &["type"]),
            proxy_misses: counters(r, "registry_proxy_misses_total", "Pulls asked of an upstream", &["type"]),
            proxy_pulled_bytes: counters(
                r,
                "registry_proxy_pulled_bytes_total",
                "Bytes received from upstreams",
                &["type"],
            ),
            proxy_pushed_bytes: counters(
                r,
                "registry_proxy_pushed_bytes_total",
                "Bytes of mirrored content sent",
                &["type"],
            ),
            fills: counters(r, "entrepot_fills_total", "Fills ended", &["outcome"]),
            fill_resumes: counter(
                r,
                "entrepot_fill_resumes_total",
                "Connections of fills that failed and were gone on for",
            ),
            fills_in_flight: gauge(r, "entrepot_fills_in_flight", "Fills running"),
            fill_followers: gauge(r, "entrepot_fill_followers", "Readers that follow a running fill"),
            upstream_requests: counters(
                r,
                "entrepot_upstream_requests_total",
                "Requests sent to upstreams",
                &["upstream", "kind", "status"],
            ),
            upstream_bytes: counters(r, "entrepot_upstream_bytes_total", "Body bytes from upstreams", &["upstream"]),
            upstream_first_byte: histograms(
                r,
                "entrepot_upstream_first_byte_seconds",
                "Seconds to the head of an upstream's answer",
                &["upstream"],
                seconds(),
            ),
            upstream_circuit: gauges(
                r,
                "entrepot_upstream_circuit",
                "Is an endpoint asked: 0 yes (closed), 1 one request finds out (half-open), 2 no (open)",
                endpoint,
            ),
            upstream_throttled_until: gauges(
                r,
                "entrepot_upstream_throttled_until_seconds",
                "Until when an endpoint wants not to be asked, in seconds since 1970",
                endpoint,
            ),
            upstream_digest_mismatches: counters(
                r,
                "entrepot_upstream_digest_mismatch_total",
                "Content that was not what its digest says",
                endpoint,
            ),
            ratelimit_limit: gauges(
                r,
                "entrepot_ratelimit_limit",
                "Requests the upstream allows in its window",
                &["upstream"],
            ),
            ratelimit_remaining: gauges(
                r,
                "entrepot_ratelimit_remaining",
                "Requests the upstream still allows",
                &["upstream"],
            ),
            stale_answers: counters(
                r,
                "entrepot_stale_answers_total",
                "Tags answered as held because the upstream did not answer",
                &["upstream"],
            ),
            first_byte: histograms(
                r,
                "entrepot_first_byte_seconds",
                "Seconds to the head of a pull's answer",
                &["cache"],
                seconds(),
            ),
            cache_bytes: gauge(r, "entrepot_cache_bytes", "Bytes of whole blobs in the cache"),
            cache_partial_bytes: gauge(r, "entrepot_cache_partial_bytes", "Bytes left of fills that did not end"),
            cache_blobs: gauge(r, "entrepot_cache_blobs", "Whole blobs in the cache"),
            evictions: counter(r, "entrepot_evictions_total", "Blobs evicted"),
            evicted_bytes: counter(r, "entrepot_evicted_bytes_total", "Bytes evicted"),
            damaged_blobs: counter(r, "entrepot_damaged_blobs_total", "Cached files dropped for a wrong length"),
            warm_images: counters(r, "entrepot_warm_images_total", "Images warmed", &["outcome"]),
            warm_bytes: counters(r, "entrepot_warm_bytes_total", "Bytes of images warmed", &["from"]),
            logins: counters(r, "entrepot_logins_total", "Logins", &["outcome"]),
            registry,
        }
    }

    /// All metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory fails only for a metric without a name, which cannot be registered.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn add<M: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<M>) -> M {
    let metric = made.expect("the names and labels above are valid");
    registry.register(Box::new(metric.clone())).expect("each name above stands once");
    metric
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    add(registry, IntCounter::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    add(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    add(registry, IntGauge::new(name, help))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    add(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
    add(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::new();
        metrics.proxy_hits.with_label_values(&["blob"]).inc();
        assert!(metrics.render().contains("registry_proxy_hits_total{type=\"blob\"} 1"));
    }
}
