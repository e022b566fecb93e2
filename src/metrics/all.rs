//! Every metric of a process.

use super::register::{counter, counters, gauge, gauges, histograms, seconds_counters};
use prometheus::{
    CounterVec, Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    exponential_buckets,
};

/// Holds all metrics of one process.
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
    /// Pulls of mirrored content that were answered from stored content, by `type`.
    pub proxy_hits: IntCounterVec,
    /// Pulls of mirrored content that needed a request to an upstream, by `type`.
    pub proxy_misses: IntCounterVec,
    /// Bytes received from upstreams, by `type`.
    pub proxy_pulled_bytes: IntCounterVec,
    /// Bytes of mirrored content sent to clients, by `type`.
    pub proxy_pushed_bytes: IntCounterVec,
    /// Fills that ended, by `outcome` (`complete`, `failed`, `unstorable`).
    pub fills: IntCounterVec,
    /// Fills that are running now.
    pub fills_in_flight: IntGauge,
    /// Failed connections of fills that another connection resumed.
    pub fill_resumes: IntCounter,
    /// Bytes that fills received although they had arrived already, over another connection.
    pub fill_duplicate_bytes: IntCounter,
    /// Connections of fills that were given up because others were faster, by `reason` (`slow`, `stalled`).
    pub fill_replaced_connections: IntCounterVec,
    /// Open connections of fills, without those of small blobs, by `host`.
    pub host_connections: IntGaugeVec,
    /// The number of connections that fills use at most now, by `host`.
    pub host_connections_wanted: IntGaugeVec,
    /// The rate of one connection in bytes per second, by `host`.
    pub host_connection_rate: IntGaugeVec,
    /// Readers that are following a running fill now.
    pub fill_followers: IntGauge,
    /// Open connections that pass blobs through.
    pub passthrough_connections: IntGauge,
    /// Streams of blobs that are passed through, by `reason`.
    pub passthrough_streams: IntCounterVec,
    /// Bytes that were received for blobs that are passed through.
    pub passthrough_bytes: IntCounter,
    /// Requests sent to upstreams, by `upstream`, `kind` (`manifest`, `blob`, `token`, `tags`, …) and `status` (a code,
    /// `error`, `dead` or `abandoned`).
    pub upstream_requests: IntCounterVec,
    /// Bytes of response bodies received from upstreams, by `upstream`.
    pub upstream_bytes: IntCounterVec,
    /// Seconds from a request to the head of its response, by `upstream`.
    pub upstream_first_byte: HistogramVec,
    /// The state of an endpoint's circuit (0 closed: requests are sent, 1 half-open: one request probes, 2 open: none
    /// are sent), by `upstream` and `endpoint`.
    pub upstream_circuit: IntGaugeVec,
    /// The end of the pause that an endpoint asked for (429, or 503 with `Retry-After`), in seconds since 1970, by
    /// `upstream` and `endpoint`.
    pub upstream_throttled_until: IntGaugeVec,
    /// Failed requests to upstreams, by `upstream`, `endpoint` and `cause`.
    pub upstream_failures: IntCounterVec,
    /// Downloads whose content did not match the requested digest, by `upstream` and `endpoint`.
    pub upstream_digest_mismatches: IntCounterVec,
    /// The requests that the upstream allows in its window, as it stated (`ratelimit-limit`), by `upstream`.
    pub ratelimit_limit: IntGaugeVec,
    /// The requests that the upstream still allows, as it stated (`ratelimit-remaining`), by `upstream`.
    pub ratelimit_remaining: IntGaugeVec,
    /// The bytes in a second that `mirror.link` allows now, by `upstream` (`*`: all together); 0 without a limit.
    pub link_limit: IntGaugeVec,
    /// Bytes of bodies received while a limit of `mirror.link` was in force, by `traffic` (`client`, `background`).
    pub link_bytes: IntCounterVec,
    /// Seconds that transfers waited for a limit of `mirror.link`, by `traffic`.
    pub link_wait: CounterVec,
    /// Manifests answered from stored content because the upstream did not answer, by `upstream`.
    pub stale_answers: IntCounterVec,
    /// Seconds from the request of a pull to the head of its response, by `cache` (the value of `X-Cache`).
    pub first_byte: HistogramVec,
    /// Bytes of whole blobs in the cache.
    pub cache_bytes: IntGauge,
    /// 1 for each ability that the file systems of the store lack, by `ability`.
    pub storage_lacks: IntGaugeVec,
    /// Bytes of partial blobs that no fill is working on.
    pub cache_partial_bytes: IntGauge,
    /// Whole blobs in the cache.
    pub cache_blobs: IntGauge,
    /// Links of mirrored repositories to content.
    pub cache_links: IntGauge,
    /// Blobs that were evicted.
    pub evictions: IntCounter,
    /// Bytes that were evicted.
    pub evicted_bytes: IntCounter,
    /// Cached files with a wrong length, which were removed.
    pub damaged_blobs: IntCounter,
    /// Images that were warmed, on demand or by `mirror.prefetch`, by `outcome` (`done`, `failed`).
    pub warm_images: IntCounterVec,
    /// Bytes of warmed images, by `from` (`upstream`: fetched by the warm job; `cache`: stored already, or arriving for
    /// another request).
    pub warm_bytes: IntCounterVec,
    /// Tags that `mirror.follow` looked at, by `outcome` (`unchanged`, `moved`, `postponed`, `failed`).
    pub followed_tags: IntCounterVec,
    /// Logins by `outcome` (`ok`, `refused`, `crowded`).
    pub logins: IntCounterVec,
    /// Connections and requests that were refused because the budget of descriptors was used up, by `limit` (`all`,
    /// `address`).
    pub http_refused: IntCounterVec,
    /// Answers that were given up because the client read nothing, by `what` (`connection`, `stream`).
    pub http_stalled: IntCounterVec,
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
            proxy_hits: counters(r, "registry_proxy_hits_total", "Pulls answered from stored content", &["type"]),
            proxy_misses: counters(
                r,
                "registry_proxy_misses_total",
                "Pulls that needed a request to an upstream",
                &["type"],
            ),
            proxy_pulled_bytes: counters(
                r,
                "registry_proxy_pulled_bytes_total",
                "Bytes received from upstreams",
                &["type"],
            ),
            proxy_pushed_bytes: counters(
                r,
                "registry_proxy_pushed_bytes_total",
                "Bytes of mirrored content sent to clients",
                &["type"],
            ),
            fills: counters(r, "entrepot_fills_total", "Fills that ended", &["outcome"]),
            fill_resumes: counter(
                r,
                "entrepot_fill_resumes_total",
                "Failed connections of fills that another connection resumed",
            ),
            fill_duplicate_bytes: counter(
                r,
                "entrepot_fill_duplicate_bytes_total",
                "Bytes that fills received although they had arrived already",
            ),
            fill_replaced_connections: counters(
                r,
                "entrepot_fill_replaced_connections_total",
                "Connections of fills that were given up because others were faster",
                &["reason"],
            ),
            host_connections: gauges(r, "entrepot_host_connections", "Open connections of fills", &["host"]),
            host_connections_wanted: gauges(
                r,
                "entrepot_host_connections_wanted",
                "The number of connections that fills use at most now",
                &["host"],
            ),
            host_connection_rate: gauges(
                r,
                "entrepot_host_connection_bytes_per_second",
                "The rate of one connection of a fill",
                &["host"],
            ),
            fills_in_flight: gauge(r, "entrepot_fills_in_flight", "Fills that are running"),
            fill_followers: gauge(r, "entrepot_fill_followers", "Readers that are following a running fill"),
            passthrough_connections: gauge(
                r,
                "entrepot_passthrough_connections",
                "Open connections that pass blobs through that cannot be stored",
            ),
            passthrough_streams: counters(
                r,
                "entrepot_passthrough_streams_total",
                "Streams that were opened for blobs that cannot be stored",
                &["reason"],
            ),
            passthrough_bytes: counter(
                r,
                "entrepot_passthrough_bytes_total",
                "Bytes received for blobs that cannot be stored",
            ),
            upstream_requests: counters(
                r,
                "entrepot_upstream_requests_total",
                "Requests sent to upstreams",
                &["upstream", "kind", "status"],
            ),
            upstream_bytes: counters(
                r,
                "entrepot_upstream_bytes_total",
                "Bytes of response bodies received from upstreams",
                &["upstream"],
            ),
            upstream_first_byte: histograms(
                r,
                "entrepot_upstream_first_byte_seconds",
                "Seconds from a request to the head of the upstream's response",
                &["upstream"],
                seconds(),
            ),
            upstream_circuit: gauges(
                r,
                "entrepot_upstream_circuit",
                "State of an endpoint's circuit: 0 closed (requests are sent), 1 half-open (one request probes), 2 open (none are sent)",
                endpoint,
            ),
            upstream_throttled_until: gauges(
                r,
                "entrepot_upstream_throttled_until_seconds",
                "End of the pause that an endpoint asked for, in seconds since 1970",
                endpoint,
            ),
            upstream_failures: counters(
                r,
                "entrepot_upstream_failures_total",
                "Failed requests to upstreams, by what failed",
                &["upstream", "endpoint", "cause"],
            ),
            upstream_digest_mismatches: counters(
                r,
                "entrepot_upstream_digest_mismatch_total",
                "Downloads whose content did not match the requested digest",
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
            link_limit: gauges(
                r,
                "entrepot_link_limit_bytes_per_second",
                "Bytes in a second that the limit of the link allows now",
                &["upstream"],
            ),
            link_bytes: counters(
                r,
                "entrepot_link_bytes_total",
                "Bytes received while the link was limited",
                &["traffic"],
            ),
            link_wait: seconds_counters(
                r,
                "entrepot_link_wait_seconds_total",
                "Seconds that transfers waited for the limit of the link",
                &["traffic"],
            ),
            stale_answers: counters(
                r,
                "entrepot_stale_answers_total",
                "Manifests and lists answered from the cache although the upstream has not confirmed them: it does not answer, or few pulls are left",
                &["upstream"],
            ),
            first_byte: histograms(
                r,
                "entrepot_first_byte_seconds",
                "Seconds from the request of a pull to the head of its response",
                &["cache"],
                seconds(),
            ),
            storage_lacks: gauges(r, "entrepot_storage_lacks", "Abilities that the file system lacks", &["ability"]),
            cache_bytes: gauge(r, "entrepot_cache_bytes", "Bytes of whole blobs in the cache"),
            cache_partial_bytes: gauge(
                r,
                "entrepot_cache_partial_bytes",
                "Bytes of partial blobs that no fill is working on",
            ),
            cache_blobs: gauge(r, "entrepot_cache_blobs", "Whole blobs in the cache"),
            cache_links: gauge(r, "entrepot_cache_links", "Links of mirrored repositories to content"),
            evictions: counter(r, "entrepot_evictions_total", "Blobs that were evicted"),
            evicted_bytes: counter(r, "entrepot_evicted_bytes_total", "Bytes that were evicted"),
            damaged_blobs: counter(
                r,
                "entrepot_damaged_blobs_total",
                "Cached files with a wrong length, which were removed",
            ),
            warm_images: counters(r, "entrepot_warm_images_total", "Images that were warmed", &["outcome"]),
            warm_bytes: counters(r, "entrepot_warm_bytes_total", "Bytes of warmed images", &["from"]),
            followed_tags: counters(
                r,
                "entrepot_follow_tags_total",
                "Tags that were re-checked in quiet hours",
                &["outcome"],
            ),
            logins: counters(r, "entrepot_logins_total", "Logins", &["outcome"]),
            http_refused: counters(r, "entrepot_http_refused_total", "Refused connections and requests", &["limit"]),
            http_stalled: counters(
                r,
                "entrepot_http_stalled_total",
                "Answers given up, because the client read nothing",
                &["what"],
            ),
            registry,
        }
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only for a metric without a name, which cannot be registered.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Counts itself in a gauge while it lives.
#[derive(Debug)]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    /// Increments the gauge.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_values_are_rendered() {
        let metrics = Metrics::new();
        metrics.proxy_hits.with_label_values(&["blob"]).inc();
        assert!(metrics.render().contains("registry_proxy_hits_total{type=\"blob\"} 1"));
    }
}
