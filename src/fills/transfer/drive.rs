//! Manages the connections of a transfer: decides on their number and on the endpoint of each, and handles their end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::concurrency::Concurrency;
use super::connection::{Connection, ConnectionEnd};
use super::endpoints::{EndpointIndex, Endpoints};
use super::error::TransferError;
use super::plan::Plan;
use super::state::Transfer;
use crate::config::Unattended;
use crate::fills::host_limits::{HostLimit, HostPermit, HostUse};
use crate::fills::progress::Phase;
use crate::fills::source::BlobSource;
use crate::sys::Moment;
use crate::upstream::{EndpointId, UpstreamError};

/// The throughput is measured this often.
const TICK: Duration = Duration::from_millis(500);

/// Before a response head has been sent, an endpoint that answers 5xx is asked this many times. Other errors are not
/// retried, so that clients get them soon.
const TRIES_BEFORE_ANSWER: u32 = 3;

/// A connection that waits for the permit of its host.
type QueuedConnection = (EndpointIndex, Pin<Box<dyn Future<Output = HostPermit> + Send>>);

/// A connection that is running.
type RunningConnection<'t> = Pin<Box<dyn Future<Output = ConnectionEnd> + Send + 't>>;

/// The running connections of a transfer.
type Connections<'t> = FuturesUnordered<RunningConnection<'t>>;

impl Transfer<'_> {
    /// Fetches from one source until everything has arrived.
    pub(in crate::fills) async fn fetch(&self, source: &BlobSource) -> Result<(), TransferError> {
        let endpoints = Endpoints::of(source, self.shared.machine.clock.clone());
        self.fetch_through(source, &endpoints).await
    }

    /// Fetches from these endpoints of a source until everything has arrived.
    pub(super) async fn fetch_through(&self, source: &BlobSource, endpoints: &Endpoints) -> Result<(), TransferError> {
        let size = self.plan().size().or(source.expected_size).or(self.fill.progress().size);
        *self.plan() = Plan::new(size, self.shared.settings.segment);
        // Readers get nothing during a repair, and may leave. The repair is finished all the same.
        let unattended = match self.fill.progress().phase {
            Phase::Repairing => Unattended::Finish,
            _ => self.shared.settings.unattended,
        };
        // `done`: all connections have ended. `stop`: the transfer fails or is stopped. `cut`: the connections are to end.
        let (done, stop) = (CancellationToken::new(), CancellationToken::new());
        let cut = stop.child_token();
        let connections = async {
            let outcome = Drive { transfer: self, source, endpoints, cut: &cut }.run().await;
            done.cancel();
            outcome
        };
        // Each part runs to its end, because a connection that is dropped would leave its last write behind.
        let work = async { tokio::join!(connections, self.hash_arrivals(&done, &stop), self.write_journal(&done)) };
        let stopped = async {
            self.fill.stopped(unattended).await;
            stop.cancel();
            std::future::pending::<Infallible>().await
        };
        let (fetched, hashed, ()) = tokio::select! {
            ended = work => ended,
            never = stopped => match never {},
        };
        // A fill that was stopped has ended, even if its last byte arrived at the same time.
        let stopped = if self.fill.has_ended() { Err(TransferError::Stopped) } else { Ok(()) };
        hashed.and(stopped).and(fetched)
    }
}

/// The connections of a transfer to the endpoints of one source.
#[derive(Clone, Copy)]
struct Drive<'t> {
    transfer: &'t Transfer<'t>,
    source: &'t BlobSource,
    endpoints: &'t Endpoints,
    /// Cancelled when the connections are to end.
    cut: &'t CancellationToken,
}

/// The time of the last measurement, and the number of bytes that had arrived by then.
type Measurement = (Moment, u64);

impl<'t> Drive<'t> {
    /// Keeps the useful number of connections busy, until everything has arrived or the transfer stops. Returns when the
    /// writes of all connections have ended.
    async fn run(self) -> Result<(), TransferError> {
        let mut concurrency = Concurrency::new(self.transfer.shared.settings.connections);
        let mut connections = FuturesUnordered::new();
        let outcome = self.keep_busy(&mut concurrency, &mut connections).await;
        self.cut.cancel();
        while let Some(end) = connections.next().await {
            // The first error has decided already.
            let _ = self.ended(&mut concurrency, end);
        }
        outcome
    }

    async fn keep_busy(
        self,
        concurrency: &mut Concurrency,
        connections: &mut Connections<'t>,
    ) -> Result<(), TransferError> {
        let transfer = self.transfer;
        let mut host_uses = self.host_uses();
        let mut queued: Option<QueuedConnection> = None;
        let mut tick = tokio::time::interval(TICK);
        let mut measured = (transfer.shared.machine.clock.moment(), transfer.partial.arrivals().total());
        while !transfer.is_done() {
            if queued.is_none() && connections.len() < self.limit(concurrency, &host_uses) && transfer.has_work() {
                queued = self.queue();
            }
            if queued.is_none() && connections.is_empty() && self.endpoints.until_next().is_none() {
                return Err(TransferError::Source(self.no_endpoint_left()));
            }
            tokio::select! {
                permit = granted(&mut queued) => connections.extend(self.begin(permit)),
                Some(end) = connections.next() => self.ended(concurrency, end)?,
                // A client may have joined a background fill, which then gets a larger share of the hosts.
                () = transfer.fill.waiters().joined() => host_uses = self.host_uses(),
                () = transfer.answered.notified() => {}
                () = next_pause_over(self.endpoints), if queued.is_none() => {}
                _ = tick.tick() => measured = self.measure(concurrency, connections.len(), measured),
                () = self.cut.cancelled() => return Err(TransferError::Stopped),
            }
        }
        Ok(())
    }

    fn no_endpoint_left(self) -> UpstreamError {
        let unasked = || UpstreamError::Protocol {
            host: self.source.upstream.name().to_string(),
            reason: "no endpoint could be asked".to_owned(),
        };
        self.endpoints.error().unwrap_or_else(unasked)
    }

    fn host_uses(self) -> Vec<HostUse> {
        let background = self.transfer.fill.waiters().is_background();
        self.endpoints.ids().into_iter().map(|id| self.host_limit(id).enter(background)).collect()
    }

    fn host_limit(self, id: EndpointId) -> Arc<HostLimit> {
        self.transfer.shared.hosts.host(&self.source.upstream.host(id))
    }

    /// Returns how many connections there may be now. Until a source has answered, it is one. While a waiter wants a
    /// part that no connection fetches, it is one more than otherwise.
    fn limit(self, concurrency: &Concurrency, host_uses: &[HostUse]) -> usize {
        if self.transfer.fill.progress().phase == Phase::Asking {
            return 1;
        }
        let share: usize = host_uses.iter().map(HostUse::share).sum();
        concurrency.count().min(share) + usize::from(self.transfer.is_urgent())
    }

    /// Queues for the permit for one more connection, if an endpoint can be asked now.
    fn queue(self) -> Option<QueuedConnection> {
        let endpoint = self.endpoints.begin()?;
        let host = self.host_limit(self.endpoints.id(endpoint));
        Some((endpoint, Box::pin(host.permit())))
    }

    /// Opens a connection with a permit, unless there is no work left for it.
    fn begin(self, (endpoint, permit): (EndpointIndex, HostPermit)) -> Option<RunningConnection<'t>> {
        let Drive { transfer, source, endpoints, cut } = self;
        let Some(assignment) = transfer.take(endpoints.reach(endpoint)) else {
            endpoints.release(endpoint);
            return None;
        };
        Some(Box::pin(async move {
            let _permit = permit;
            Connection { transfer, source, endpoints, endpoint, assignment, cut }.run().await
        }))
    }

    /// Handles the end of a connection. Returns the error if the transfer cannot continue.
    fn ended(self, concurrency: &mut Concurrency, end: ConnectionEnd) -> Result<(), TransferError> {
        let ConnectionEnd { endpoint, assignment, began, received, outcome } = end;
        let transfer = self.transfer;
        transfer.plan().release(assignment);
        let (from, took) = (assignment.span.start, transfer.shared.machine.clock.since(began).as_millis());
        tracing::debug!(digest = %transfer.fill.digest, from, received, took, "a connection of a fill has ended");
        let error = match outcome {
            Ok(()) => None,
            Err(TransferError::Source(error)) => Some(error),
            Err(other) => {
                self.endpoints.ended(endpoint, began, received, None);
                return Err(other);
            }
        };
        if let Some(error) = &error {
            if matches!(error, UpstreamError::TooManyRequests { .. } | UpstreamError::Status { status: 503, .. }) {
                concurrency.refused();
            }
            self.report_failure(error, received);
        }
        self.endpoints.ended(endpoint, began, received, error);
        if transfer.fill.progress().phase == Phase::Asking {
            self.endpoints.give_up_failed(TRIES_BEFORE_ANSWER);
        }
        Ok(())
    }

    /// Logs and counts the failure of a connection whose work another connection takes over.
    fn report_failure(self, error: &UpstreamError, received: u64) {
        let transfer = self.transfer;
        let asked = !matches!(error, UpstreamError::Silent { .. });
        if !asked || transfer.fill.progress().phase == Phase::Asking {
            return;
        }
        transfer.shared.metrics.fill_resumes.inc();
        let digest = transfer.fill.digest;
        // Some links cut each connection. If a connection was useful before it was cut, only a debug line is logged.
        match received {
            0 => tracing::info!(%digest, %error, "a connection of a fill failed; resuming with another one"),
            _ => {
                tracing::debug!(%digest, %error, received, "a connection of a fill was cut; resuming with another one")
            }
        }
    }

    /// Measures the throughput since the last measurement, and looks for stalled connections.
    fn measure(self, concurrency: &mut Concurrency, connections: usize, (since, before): Measurement) -> Measurement {
        let transfer = self.transfer;
        let total = transfer.partial.arrivals().total();
        transfer.stalls.check(total);
        if connections >= concurrency.count() {
            concurrency.measured(total.saturating_sub(before), transfer.shared.machine.clock.since(since));
        } else {
            concurrency.idle();
        }
        (transfer.shared.machine.clock.moment(), total)
    }
}

/// Waits for the permit of the queued connection. Never completes if none is queued.
async fn granted(queued: &mut Option<QueuedConnection>) -> (EndpointIndex, HostPermit) {
    let Some((endpoint, permit)) = queued else { return std::future::pending().await };
    let granted = (*endpoint, permit.await);
    *queued = None;
    granted
}

/// Completes when an endpoint that is pausing now can be asked again.
async fn next_pause_over(endpoints: &Endpoints) {
    match endpoints.until_next() {
        Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
        _ => std::future::pending().await,
    }
}
