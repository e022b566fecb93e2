//! Manages the connections of a transfer: decides on their number and on the endpoint of each, and handles their end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, ConnectionEnd};
use super::endpoints::{EndpointIndex, Endpoints};
use super::error::TransferError;
use super::hosts::Hosts;
use super::queue::{Awaited, Queue, QueuedConnection, granted};
use super::state::Transfer;
use crate::config::Unattended;
use crate::fills::places::Place;
use crate::fills::progress::Phase;
use crate::fills::schedule::{Fault, LinkState, Scheduler};
use crate::fills::source::BlobSource;
use crate::upstream::UpstreamError;

/// The connections are judged this often.
const TICK: Duration = Duration::from_millis(50);

/// Before a response head has been sent, an endpoint that answers 5xx is asked this many times. Other errors are not
/// retried, so that clients get them soon.
const TRIES_BEFORE_ANSWER: u32 = 3;

/// The sizes of a blob that are tried for one source, if its endpoints name different ones.
const MOST_SIZES: usize = 4;

/// A connection that is running.
type RunningConnection<'t> = Pin<Box<dyn Future<Output = ConnectionEnd> + Send + 't>>;

impl Transfer<'_> {
    /// Fetches from one source until everything has arrived.
    pub(in crate::fills) async fn fetch(&self, source: &BlobSource) -> Result<(), TransferError> {
        let mut tried = vec![source.expected_size];
        let endpoints = Endpoints::of(source, self.shared.machine.clock.clone());
        let mut fetched = self.fetch_through(source, source.expected_size, &endpoints).await;
        // Endpoints that name another size than a descriptor, or than the first endpoint, may be right.
        while matches!(fetched, Err(TransferError::Source(_)))
            && tried.len() < MOST_SIZES
            && let Some((size, endpoints)) = self.take_claim(&source.name, &tried)
        {
            let known = tried.iter().flatten().next();
            tracing::info!(digest = %self.fill.digest, known, size, "an endpoint contradicts the size of a blob that was known before; trying the size that it names");
            tried.push(size);
            let endpoints = Endpoints::from_ids(endpoints, self.shared.machine.clock.clone());
            fetched = self.fetch_through(source, size, &endpoints).await;
        }
        fetched
    }

    /// Fetches from these endpoints of a source until everything has arrived. `size` is the size that is expected. A size that
    /// another source named does not count.
    pub(super) async fn fetch_through(
        &self,
        source: &BlobSource,
        size: Option<u64>,
        endpoints: &Endpoints,
    ) -> Result<(), TransferError> {
        let hosts = Hosts::of(self, source, endpoints, size);
        *self.scheduler() = Scheduler::new(size, self.shared.settings.segment, hosts.paces());
        // Readers get nothing during a repair, and may leave. The repair is finished all the same.
        let unattended = match self.fill.progress().phase {
            Phase::Repairing => Unattended::Finish,
            _ => self.shared.settings.unattended,
        };
        // `done`: all connections have ended. `stop`: the transfer fails or is stopped. `cut`: the connections are to end.
        let (done, stop) = (CancellationToken::new(), CancellationToken::new());
        let cut = stop.child_token();
        let connections = async {
            let outcome = Drive { transfer: self, source, endpoints, cut: &cut }.run(hosts).await;
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

/// The running connections of a transfer.
struct Running<'t> {
    connections: FuturesUnordered<RunningConnection<'t>>,
    /// Ends the network half of the connection with this ticket.
    faults: HashMap<u64, oneshot::Sender<Fault>>,
    hosts: Hosts,
    queued: Option<QueuedConnection>,
    /// True once an early connection has failed. Then no more of them are opened.
    early_failed: bool,
}

impl Running<'_> {
    /// Ends the network halves of all connections.
    fn end_all(&mut self, fault: Fault) {
        for (_, sender) in self.faults.drain() {
            // A connection that has just ended needs no fault.
            let _ = sender.send(fault);
        }
    }
}

impl<'t> Drive<'t> {
    /// Keeps the useful number of connections busy, until everything has arrived or the transfer stops. Returns when the
    /// writes of all connections have ended.
    async fn run(self, hosts: Hosts) -> Result<(), TransferError> {
        let (connections, faults) = (FuturesUnordered::new(), HashMap::new());
        let mut running = Running { connections, faults, hosts, queued: None, early_failed: false };
        let outcome = self.keep_busy(&mut running).await;
        self.cut.cancel();
        while let Some(end) = running.connections.next().await {
            // The first error has decided already.
            let _ = self.ended(&mut running, end);
        }
        outcome
    }

    async fn keep_busy(self, running: &mut Running<'t>) -> Result<(), TransferError> {
        let transfer = self.transfer;
        let mut tick = tokio::time::interval(TICK);
        while !transfer.is_done() {
            // A connection that waits for the place of its host gives way to one that need not wait.
            let awaited = if running.queued.is_none() { Awaited::Allowed } else { Awaited::Excluded };
            if let Some(next) = self.queue(running).next(awaited) {
                running.queued = Some(next);
            }
            let idle = running.queued.is_none() && running.connections.is_empty();
            if idle && self.endpoints.until_next().is_none() {
                return Err(TransferError::Source(self.no_endpoint_left()));
            }
            tokio::select! {
                granted = granted(&mut running.queued) => self.begin(running, granted),
                Some(end) = running.connections.next() => self.ended(running, end)?,
                // A client may have joined a background fill, which then gets a larger share of the hosts.
                () = transfer.fill.waiters().joined() => running.hosts.rejoin(transfer),
                () = transfer.answered.notified() => self.judge(running),
                () = next_pause_over(self.endpoints), if running.queued.is_none() => {}
                _ = tick.tick() => self.judge(running),
                () = self.cut.cancelled() => return Err(TransferError::Stopped),
            }
        }
        Ok(())
    }

    fn queue<'q>(self, running: &'q Running<'t>) -> Queue<'q>
    where
        't: 'q,
    {
        Queue {
            transfer: self.transfer,
            endpoints: self.endpoints,
            hosts: &running.hosts,
            open: running.connections.len(),
            early_failed: running.early_failed,
        }
    }

    fn no_endpoint_left(self) -> UpstreamError {
        let unasked = || UpstreamError::Protocol {
            host: self.source.upstream.name().as_str().into(),
            reason: "no endpoint could be asked".to_owned(),
        };
        self.endpoints.error().unwrap_or_else(unasked)
    }

    /// Opens a connection at a place, unless there is no work left for it.
    fn begin(self, running: &mut Running<'t>, (endpoint, place): (EndpointIndex, Place)) {
        let Drive { transfer, source, endpoints, cut } = self;
        let most = running.hosts.most(&endpoints.usable());
        let assignment = transfer.schedule(most, |scheduler, needs| scheduler.take(endpoint.at(), needs));
        let Some(assignment) = assignment else { return };
        let early = transfer.fill.progress().phase == Phase::Asking && !running.connections.is_empty();
        let (sender, fault) = oneshot::channel();
        running.faults.insert(assignment.ticket, sender);
        running.connections.push(Box::pin(async move {
            let place = &place;
            Connection { transfer, source, endpoints, endpoint, assignment, early, place, cut }.run(fault).await
        }));
        running.hosts.report(transfer);
    }

    /// Handles the end of a connection. Returns the error if the transfer cannot continue.
    fn ended(self, running: &mut Running<'t>, end: ConnectionEnd) -> Result<(), TransferError> {
        let ConnectionEnd { endpoint, assignment, early, began, received, outcome } = end;
        let transfer = self.transfer;
        running.faults.remove(&assignment.ticket);
        let opened = transfer.scheduler().release(assignment.ticket, transfer.shared.hosts.now());
        let (from, took) = (assignment.span.start, transfer.shared.machine.clock.since(began).as_millis());
        tracing::debug!(digest = %transfer.fill.digest, from, received, took, "a connection of a fill has ended");
        running.hosts.report(transfer);
        let error = match outcome {
            Ok(()) => None,
            Err(TransferError::Source(error)) => Some(error),
            Err(other) => {
                self.endpoints.ended(endpoint, began, received, None);
                return Err(other);
            }
        };
        let asking = transfer.fill.progress().phase == Phase::Asking;
        if error.is_some() && early && received == 0 {
            // The connection that was redirected decides what the failure means.
            running.early_failed = true;
            return Ok(());
        }
        if error.is_some() && asking {
            self.endpoints.set_resume_hint(endpoint, None);
            running.end_all(Fault::Superfluous);
        }
        if let Some(error) = &error {
            if let Some(opened) = opened.filter(|_| is_refusal(error, received)) {
                running.hosts.refused(endpoint.at(), opened, transfer.shared.hosts.now());
            }
            self.report_failure(error, received);
        }
        self.endpoints.ended(endpoint, began, received, error);
        if asking {
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

    /// Replaces connections that are silent or slow while others are not, and looks at the load of the hosts.
    fn judge(self, running: &mut Running<'t>) {
        let transfer = self.transfer;
        let link = if self.source.upstream.is_limited_now() { LinkState::Limited } else { LinkState::Unlimited };
        transfer.scheduler().observe_link(link);
        let faults = transfer.scheduler().faults(transfer.shared.hosts.now());
        for (ticket, fault) in faults {
            // A connection that has just ended needs no fault.
            let _ = running.faults.remove(&ticket).map(|sender| sender.send(fault));
        }
        running.hosts.report(transfer);
    }
}

/// Returns true if an upstream that has too many connections answers like this.
fn is_refusal(error: &UpstreamError, received: u64) -> bool {
    match error {
        UpstreamError::TooManyRequests { .. } | UpstreamError::Status { status: 503, .. } => true,
        UpstreamError::Connect { retry_in: None, .. } | UpstreamError::Protocol { .. } => received == 0,
        _ => false,
    }
}

/// Completes when an endpoint that is pausing now can be asked again.
async fn next_pause_over(endpoints: &Endpoints) {
    match endpoints.until_next() {
        Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
        _ => std::future::pending().await,
    }
}
