//! The stream of a blob, or of a range of it, from one source: it resumes over other connections when one fails.

use std::time::Duration;

use bytes::Bytes;

use super::connection::{PassConnection, Received, check_coding};
use super::slow::{JUDGED_AFTER, JUDGED_AFTER_AT_MOST, LeastRate, REPLACED_FROM_THE_BEGINNING, UNKNOWN_LEFT};
use crate::fills::host_report::HostReport;
use crate::fills::kind::FillKind;
use crate::fills::places::Holder;
use crate::fills::shared::Shared;
use crate::fills::source::{BlobSource, agreed_size};
use crate::metrics::GaugeGuard;
use crate::oci::Digest;
use crate::sys::jitter;
use crate::upstream::{BlobRange, EndpointId, Traffic, UpstreamError};

/// The stream gives up after this many attempts to resume that brought no new bytes.
const FRUITLESS_TRIES: u32 = 6;
/// Half the wait before the first attempt; it doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Before the stream's first answer, an endpoint that answers 5xx is asked this many times. Other errors are passed on at once.
const TRIES_BEFORE_ANSWER: u32 = 3;

/// The bytes of a blob from one source, from an offset on. They are not verified here.
pub(super) struct PassStream {
    shared: Shared,
    digest: Digest,
    source: BlobSource,
    position: u64,
    /// The end of the range, exclusive. `None`: the end of the blob.
    to: Option<u64>,
    /// The size of the blob, once an answer has told it.
    total: Option<u64>,
    /// The size that a descriptor names. It only decides which endpoints are preferred.
    expected: Option<u64>,
    /// An endpoint has named another size than the descriptor.
    contradicted: bool,
    connection: Option<PassConnection>,
    fruitless: u32,
    /// The time after which the connection is judged.
    judged_after: Duration,
    /// The number of connections that were replaced.
    replaced: u32,
    /// The endpoint of the last connection that was slow.
    slow: Option<EndpointId>,
    /// The endpoints that have sent bytes.
    senders: Vec<EndpointId>,
}

impl PassStream {
    /// Prepares the stream of the bytes from `from` to `to`. Nothing is asked yet.
    pub(super) fn new(shared: Shared, digest: Digest, source: BlobSource, from: u64, to: Option<u64>) -> Self {
        let expected = source.expected_size;
        Self {
            shared,
            digest,
            source,
            position: from,
            to,
            total: None,
            expected,
            contradicted: false,
            connection: None,
            fruitless: 0,
            judged_after: JUDGED_AFTER,
            replaced: 0,
            slow: None,
            senders: Vec::new(),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the end of the bytes that were received.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the only endpoint that has sent bytes, if there is only one.
    pub(super) fn only_sender(&self) -> Option<EndpointId> {
        if let [only] = self.senders[..] { Some(only) } else { None }
    }

    /// Begins the stream: asks the endpoints until one answers. Returns the size of the blob if the answer tells it.
    pub(super) async fn begin(&mut self) -> Result<Option<u64>, UpstreamError> {
        loop {
            match self.open().await {
                Err(error @ UpstreamError::Status { status: 500.., .. })
                    if self.fruitless + 1 < TRIES_BEFORE_ANSWER =>
                {
                    self.wait_after(error).await?;
                }
                opened => return opened,
            }
        }
    }

    /// Asks each endpoint once, until one answers. If none has the size that a descriptor names, the descriptor may be wrong,
    /// and the endpoints are asked again.
    async fn open(&mut self) -> Result<Option<u64>, UpstreamError> {
        match self.open_any().await {
            Err(_) if std::mem::take(&mut self.contradicted) => {
                self.expected = None;
                self.open_any().await
            }
            opened => opened,
        }
    }

    async fn open_any(&mut self) -> Result<Option<u64>, UpstreamError> {
        let mut order = self.source.upstream.endpoints(self.source.name.repository());
        let holder = self.holder();
        let waits = |endpoint| !self.shared.hosts.host(&self.source.upstream.host(endpoint)).may_pass(&holder);
        // No connection waits for a place while another endpoint has one. The stream stays with one endpoint if it can:
        // only then a wrong digest tells which endpoint is wrong.
        order.sort_by_key(|endpoint| {
            (Some(*endpoint) == self.slow, waits(*endpoint), Some(endpoint) != self.senders.last())
        });
        // An unhealthy endpoint, or one that has sent wrong bytes, is better than none.
        let every = self.source.upstream.every_endpoint().into_iter();
        order.extend(every.filter(|endpoint| !order.contains(endpoint)).collect::<Vec<_>>());
        let mut failed: Option<UpstreamError> = None;
        for endpoint in order {
            match self.connect(endpoint).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(self.total);
                }
                // Another endpoint may have the blob.
                Err(error) if error.is_of_endpoint() || is_of_blob(&error) => {
                    failed = Some(match failed {
                        Some(known) if weight(&known) >= weight(&error) => known,
                        _ => error,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed.expect("an upstream has at least one endpoint"))
    }

    fn holder(&self) -> Holder {
        Holder { repository: self.source.name.clone(), digest: self.digest }
    }

    /// Asks one endpoint. An answer with another size than an earlier answer, or than a descriptor, is an error.
    async fn connect(&mut self, endpoint: EndpointId) -> Result<PassConnection, UpstreamError> {
        let (upstream, hosts) = (&self.source.upstream, &self.shared.hosts);
        let mut host = hosts.host(&upstream.host(endpoint)).enter(FillKind::of(self.total, false), self.holder());
        let place = host.passing_place().await;
        let report = HostReport { open: 1, ..HostReport::default() };
        host.report_pass(report, hosts.now());
        let counted = GaugeGuard::new(&self.shared.metrics.passthrough_connections);
        let (opened, traffic) = (hosts.now(), Traffic::client());
        let (repository, digest) = (self.source.name.repository(), &self.digest);
        let (from, to) = (self.position, self.to);
        let range = BlobRange { repository, digest, from, to, traffic: &traffic, on_redirect: None };
        let stream = match upstream.get_range(endpoint, &range, None).await {
            Ok(stream) => stream,
            Err(error) => {
                if matches!(error, UpstreamError::TooManyRequests { .. } | UpstreamError::Status { status: 503, .. }) {
                    host.refused(opened, hosts.now());
                }
                return Err(error);
            }
        };
        host.answered(opened);
        let total = agreed_size([self.total, stream.total()])?;
        let confirmed = agreed_size([self.expected, total]);
        self.contradicted |= confirmed.is_err();
        confirmed?;
        check_coding(&stream, self.expected, upstream.host(endpoint))?;
        self.total = total;
        let skip = self.position.saturating_sub(stream.start());
        let (reported, began_where_asked, late) = (hosts.now(), skip == 0, false);
        Ok(PassConnection {
            stream,
            endpoint,
            skip,
            began_where_asked,
            late,
            report,
            reported,
            host,
            place,
            _counted: counted,
        })
    }

    /// Returns the next bytes, or `None` at the end of the blob or of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            if self.to.is_some_and(|to| self.position >= to) {
                return Ok(None);
            }
            let Some(limit) = self.limit() else {
                if let Err(error) = self.open().await {
                    self.wait_after(error).await?;
                }
                continue;
            };
            let Some(connection) = &mut self.connection else { continue };
            let received = connection.receive(&self.shared, &limit).await;
            let endpoint = connection.endpoint;
            match received {
                Ok(Received::Bytes(bytes)) if bytes.is_empty() => {}
                Ok(Received::Bytes(bytes)) => return self.accept(bytes, endpoint).map(Some),
                Ok(Received::Slow) => self.replace(endpoint, &limit),
                Ok(Received::End) if self.total.is_none_or(|total| self.position >= total) => return Ok(None),
                ended => {
                    self.connection = None;
                    self.wait_after(ended.err().unwrap_or_else(|| self.ended_early())).await?;
                }
            }
        }
    }

    fn accept(&mut self, mut bytes: Bytes, endpoint: EndpointId) -> Result<Bytes, UpstreamError> {
        let left = self.to.map_or(u64::MAX, |to| to - self.position);
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.position += bytes.len() as u64;
        self.fruitless = 0;
        if !self.senders.contains(&endpoint) {
            self.senders.push(endpoint);
        }
        self.shared.metrics.passthrough_bytes.inc_by(bytes.len() as u64);
        match self.total.filter(|total| self.position > *total) {
            Some(expected) => Err(UpstreamError::Length { expected, found: self.position }),
            None => Ok(bytes),
        }
    }

    /// Returns the limit for the present connection. `None` without a connection.
    fn limit(&self) -> Option<LeastRate> {
        let connection = self.connection.as_ref()?;
        let known = self.to.or(self.total).map(|end| end.saturating_sub(self.position) + connection.skip);
        let left = known.unwrap_or(UNKNOWN_LEFT);
        let (best, left) = match connection.began_where_asked {
            true => (self.best_rate(), left),
            // The next connection would begin again at the first byte.
            false if self.replaced < REPLACED_FROM_THE_BEGINNING => (0.0, left),
            false => (0.0, 0),
        };
        Some(LeastRate { best, judged_after: self.judged_after, left })
    }

    /// Drops a slow connection. The next one begins where it was.
    fn replace(&mut self, endpoint: EndpointId, limit: &LeastRate) {
        let (digest, best) = (self.digest, limit.best);
        tracing::debug!(%digest, best, at = self.position, "a slow connection of a blob that is passed through is replaced");
        self.shared.metrics.fill_replaced_connections.with_label_values(&["slow"]).inc();
        (self.slow, self.connection) = (Some(endpoint), None);
        self.replaced += 1;
        self.judged_after = (self.judged_after * 2).min(JUDGED_AFTER_AT_MOST);
    }

    /// Returns the best rate of a connection to the source, as fills have measured it; 0 if none is known.
    fn best_rate(&self) -> f64 {
        let endpoints = self.source.upstream.every_endpoint().into_iter();
        let hosts = endpoints.map(|endpoint| self.shared.hosts.host(&self.source.upstream.host(endpoint)));
        hosts.filter_map(|host| host.pace().rate()).fold(0.0, f64::max)
    }

    fn ended_early(&self) -> UpstreamError {
        let (host, total) = (self.source.upstream.name().as_str().into(), self.total.unwrap_or_default());
        UpstreamError::Protocol { host, reason: format!("it ended after {} of {total} bytes", self.position) }
    }

    /// Waits before the next attempt, or returns the error if further attempts make no sense.
    async fn wait_after(&mut self, error: UpstreamError) -> Result<(), UpstreamError> {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_TRIES || !error.is_passing() {
            return Err(error);
        }
        tracing::debug!(digest = %self.digest, %error, at = self.position, "a blob that is passed through is resumed");
        tokio::time::sleep(jitter(FIRST_WAIT * (1 << self.fruitless))).await;
        Ok(())
    }
}

/// Returns true for an answer about the blob that another endpoint may not give.
fn is_of_blob(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::NotFound | UpstreamError::Length { .. })
}

/// Returns how much an error counts in comparison with those of other endpoints. "Not found" counts only if all endpoints say
/// so.
fn weight(error: &UpstreamError) -> u8 {
    match error {
        error if !error.is_passing() => 0,
        UpstreamError::TooManyRequests { .. } => 4,
        UpstreamError::Status { .. } => 3,
        UpstreamError::Timeout { .. } | UpstreamError::Silent { .. } => 2,
        _ => 1,
    }
}
