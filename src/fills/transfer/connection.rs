//! One connection of a transfer: it fetches one segment of the blob from one endpoint.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::endpoints::{EndpointIndex, Endpoints};
use super::error::TransferError;
use super::provenance::Sender;
use super::state::Transfer;
use super::writer::{self, WriteHalf};
use crate::fills::places::Place;
use crate::fills::progress::Phase;
use crate::fills::schedule::{Assignment, Delivery, Fault};
use crate::fills::source::{BlobSource, agreed_size};
use crate::store::Batch;
use crate::sys::Moment;
use crate::upstream::{BlobRange, BlobStream, FailedServer, ResumeHint, UpstreamError};

/// Up to about this many bytes are gathered for one write, since long writes cost much less than short ones …
const WRITE_SIZE: usize = 512 << 10;
/// … if they are received within this time.
const GATHERED_WITHIN: Duration = Duration::from_millis(5);

/// One connection, from its request to the last byte that it writes.
#[derive(Clone, Copy)]
pub(super) struct Connection<'t> {
    pub(super) transfer: &'t Transfer<'t>,
    pub(super) source: &'t BlobSource,
    pub(super) endpoints: &'t Endpoints,
    pub(super) endpoint: EndpointIndex,
    pub(super) assignment: Assignment,
    /// True if it began when the registry had redirected another connection, and the target had not answered yet.
    pub(super) early: bool,
    /// The place of the connection at its host.
    pub(super) place: &'t Place,
    /// Cancelled when the transfer needs no more bytes.
    pub(super) cut: &'t CancellationToken,
}

/// The result of a connection.
pub(super) struct ConnectionEnd {
    pub(super) endpoint: EndpointIndex,
    pub(super) assignment: Assignment,
    pub(super) began: Moment,
    /// The number of bytes that had not arrived before.
    pub(super) received: u64,
    pub(super) early: bool,
    pub(super) outcome: Result<(), TransferError>,
}

impl Connection<'_> {
    /// Fetches the assigned segment, or as much of it as arrives before the connection fails or stalls. Only the network
    /// half is cut: the connection ends when the bytes that it has received are on the disk. A fault ends the network
    /// half too.
    pub(super) async fn run(self, fault: oneshot::Receiver<Fault>) -> ConnectionEnd {
        let began = self.transfer.shared.machine.clock.moment();
        let (queue, batches) = writer::queue();
        let writer = WriteHalf { transfer: self.transfer, assignment: self.assignment, sender: self.sender() };
        let mut received = 0;
        let (fetched, written) = tokio::join!(self.fetch(queue, fault), writer.run(batches, &mut received));
        let outcome = written.and(fetched);
        let Self { endpoint, assignment, early, .. } = self;
        ConnectionEnd { endpoint, assignment, early, began, received, outcome }
    }

    fn sender(self) -> Sender {
        (self.source.name.clone(), self.endpoints.id(self.endpoint))
    }

    /// Receives the segment until it is complete, or until the connection is cut.
    async fn fetch(self, queue: mpsc::Sender<Batch>, fault: oneshot::Receiver<Fault>) -> Result<(), TransferError> {
        tokio::select! {
            outcome = self.receive(queue) => outcome,
            Ok(fault) = fault => self.replaced(fault),
            () = self.cut.cancelled() => Err(TransferError::Stopped),
        }
    }

    /// Ends the connection because another one should fetch the rest of its segment.
    fn replaced(self, fault: Fault) -> Result<(), TransferError> {
        let metrics = &self.transfer.shared.metrics;
        let host = self.source.upstream.host(self.endpoints.id(self.endpoint));
        match fault {
            Fault::Stalled(waited) => {
                metrics.fill_replaced_connections.with_label_values(&["stalled"]).inc();
                Err(TransferError::Source(UpstreamError::Timeout { host: host.into(), waited }))
            }
            Fault::Superfluous => Ok(()),
            Fault::Slow { rate, expected } => {
                metrics.fill_replaced_connections.with_label_values(&["slow"]).inc();
                tracing::debug!(digest = %self.transfer.fill.digest, host, rate, expected, "a slow connection of a fill is replaced");
                Ok(())
            }
        }
    }

    async fn receive(self, queue: mpsc::Sender<Batch>) -> Result<(), TransferError> {
        let (hosts, ticket) = (&self.transfer.shared.hosts, self.assignment.ticket);
        let mut stream = match self.open().await {
            Err(UpstreamError::Unsatisfiable { host, total }) => return self.unsatisfiable(host, total),
            stream => stream.map_err(TransferError::Source)?,
        };
        self.transfer.scheduler().answered(ticket, hosts.now());
        if self.transfer.scheduler().is_superfluous(ticket) {
            return Ok(());
        }
        let size = self.accept(&stream).await?;
        let mut position = stream.start();
        loop {
            let pieces = stream.chunks(WRITE_SIZE, GATHERED_WITHIN).await.map_err(TransferError::Source)?;
            if pieces.is_empty() {
                return self.stream_ended(&stream, size, position);
            }
            let batch = Batch::new(position, pieces);
            let end = batch.span().end;
            self.place.received(batch.span().len());
            if let Some(expected) = size.filter(|size| end > *size) {
                let error = UpstreamError::Length { expected, found: end };
                return Err(match stream.total() {
                    None => self.transfer.contradicted(&self.sender(), None, error),
                    Some(_) => TransferError::Source(error),
                });
            }
            // From here on the bytes belong to the writer, so no other connection takes them over.
            self.transfer.scheduler().received(ticket, end, hosts.now());
            self.transfer.scheduler().waits_for_disk(ticket);
            if queue.send(batch).await.is_err() {
                // A write has failed, and the write half returns its error.
                return Ok(());
            }
            self.transfer.scheduler().resumes(ticket, hosts.now());
            position = end;
            if self.is_finished(&stream, size, position) {
                return Ok(());
            }
        }
    }

    /// Returns true if the rest of the stream is not needed.
    fn is_finished(self, stream: &BlobStream, size: Option<u64>, position: u64) -> bool {
        if stream.is_ranged() {
            // Bytes after the assigned segment belong to another connection.
            let asked = self.transfer.scheduler().end_of(self.assignment);
            return self.assignment.bounded && stream.end().is_none_or(|end| end > asked) && position >= asked;
        }
        // A stream of the whole blob may contain nothing new any more.
        self.transfer.is_done() && size.is_some_and(|size| position < size)
    }

    /// Asks for the segment. The resume hint of an earlier answer is used, and forgotten if it does not work any more:
    /// signed addresses expire.
    async fn open(self) -> Result<BlobStream, UpstreamError> {
        let told = |hint, after| self.redirected(hint, after);
        let range = BlobRange {
            repository: self.source.name.repository(),
            digest: &self.transfer.fill.digest,
            from: self.assignment.span.start,
            to: self.assignment.bounded.then_some(self.assignment.span.end),
            traffic: self.transfer.fill.waiters().traffic(),
            on_redirect: Some(&told),
        };
        let (upstream, id) = (&self.source.upstream, self.endpoints.id(self.endpoint));
        if let Some(resume_hint) = self.endpoints.resume_hint(self.endpoint) {
            let asked = upstream.get_range(id, &range, Some(&resume_hint)).await;
            let asked_for_part = range.from > 0 || range.to.is_some();
            match asked {
                Ok(stream) if stream.is_ranged() || !asked_for_part => return Ok(stream),
                asked if self.early => return asked,
                Err(error @ UpstreamError::TooManyRequests { .. }) => return Err(error),
                // An answer with the whole blob counts too: its validator may have changed.
                _ => self.endpoints.set_resume_hint(self.endpoint, None),
            }
        }
        let stream = upstream.get_range(id, &range, None).await?;
        // An endpoint that ignores ranges would only be asked twice if it had a resume hint.
        self.endpoints
            .set_resume_hint(self.endpoint, Some(stream.resume_hint().clone()).filter(|_| stream.is_ranged()));
        Ok(stream)
    }

    /// Handles a redirect. The registry has confirmed the blob, so further connections need not wait until the target
    /// answers.
    fn redirected(self, hint: ResumeHint, after: Duration) {
        if self.transfer.fill.progress().phase == Phase::Asking {
            let host = self.source.upstream.host(self.endpoints.id(self.endpoint));
            self.transfer.shared.hosts.host(&host).expect_latency(after);
            self.endpoints.set_resume_hint(self.endpoint, Some(hint));
            self.transfer.answered.notify_one();
        }
    }

    /// Handles the head of an answer: it confirms the source's right, and tells the size of the blob. Returns the size.
    async fn accept(self, stream: &BlobStream) -> Result<Option<u64>, TransferError> {
        let transfer = self.transfer;
        let arriving = self.check_coding(stream)?;
        // The size that another source named does not count for this one. Readers that were told it are cut.
        let sizes = [transfer.scheduler().size(), stream.total()];
        let size = agreed_size(sizes).map_err(|error| transfer.contradicted(&self.sender(), stream.total(), error))?;
        let is_repair = transfer.fill.progress().phase == Phase::Repairing;
        if !is_repair && size.is_some_and(|size| size < transfer.partial.arrivals().snapshot().end()) {
            return Err(TransferError::Unresumable);
        }
        if !stream.is_ranged() && !transfer.scheduler().takes_all(self.assignment) {
            self.endpoints.leave_to_others(self.endpoint);
            return Err(TransferError::Source(self.protocol_error("it ignores ranges".to_owned())));
        }
        match size {
            Some(size) => transfer.scheduler().set_size(size),
            None => transfer.scheduler().set_delivery(Delivery::Whole),
        }
        transfer.reserve(stream.total()).await?;
        let told = size.filter(|_| arriving == Phase::Arriving);
        transfer.fill.answered(&self.source.name, told, arriving);
        transfer.answered.notify_one();
        Ok(size)
    }

    /// Returns the phase in which the bytes of an answer arrive. A server may name the encoding of a file that is stored so;
    /// then the bytes are right as they come. Before the hash, only the size of a descriptor can tell.
    fn check_coding(self, stream: &BlobStream) -> Result<Phase, TransferError> {
        let (transfer, expected) = (self.transfer, self.source.expected_size);
        let Some(coding) = stream.coding() else { return Ok(Phase::Arriving) };
        *transfer.coding() = Some(coding);
        if stream.total().is_some() && stream.total() == expected {
            return Ok(Phase::Arriving);
        }
        let error = self.protocol_error(format!("it sends the blob with Content-Encoding: {coding}"));
        match transfer.fill.progress().phase {
            // Readers have got bytes that are not encoded.
            Phase::Arriving => {
                self.endpoints.leave_to_others(self.endpoint);
                Err(TransferError::Source(error))
            }
            // The size of a descriptor is not that of the encoded form.
            _ if stream.total().is_none() && transfer.scheduler().size() == expected && expected.is_some() => {
                Err(transfer.contradicted(&self.sender(), None, error))
            }
            _ => Ok(transfer.encoded()),
        }
    }

    /// Handles a 416: the blob ends at or before the requested offset.
    fn unsatisfiable(self, host: FailedServer, total: Option<u64>) -> Result<(), TransferError> {
        let transfer = self.transfer;
        let arrivals = transfer.partial.arrivals();
        let known = transfer.scheduler().size();
        if known.is_some_and(|known| total.is_some_and(|total| total != known)) {
            let (expected, found) = (known.unwrap_or_default(), total.unwrap_or_default());
            let error = UpstreamError::Length { expected, found };
            return Err(transfer.contradicted(&self.sender(), total, error));
        }
        if known.is_none() && total.is_none() && self.assignment.span.start != arrivals.prefix() {
            // The wanted range lies beyond the end, and the size is unknown. Requests from the beginning on will find
            // it.
            transfer.scheduler().ask_in_order();
            return Ok(());
        }
        if known.is_some_and(|known| self.assignment.span.start >= known) {
            // The request was sent before another answer told the size.
            return Ok(());
        }
        let asking = transfer.fill.progress().phase == Phase::Asking;
        match total.or_else(|| known.is_none().then(|| arrivals.prefix())) {
            Some(total) if total < arrivals.snapshot().end() && asking => Err(TransferError::Unresumable),
            Some(total) if known.is_none() && total >= arrivals.snapshot().end() => {
                transfer.scheduler().set_size(total);
                transfer.fill.answered(&self.source.name, Some(total), Phase::Arriving);
                Ok(())
            }
            _ if known.is_some() => Err(TransferError::Source(self.protocol_error("it refuses a range".to_owned()))),
            _ => Err(TransferError::Source(UpstreamError::Unsatisfiable { host, total })),
        }
    }

    /// Handles the regular end of the stream. If nothing else has told the size of the blob, a stream without a
    /// requested end tells it.
    fn stream_ended(self, stream: &BlobStream, size: Option<u64>, position: u64) -> Result<(), TransferError> {
        match size {
            // The answer has no length of its own, and ends early. That is the same as a cut, unless it ends there again.
            Some(expected) if !stream.is_ranged() && position < expected => {
                let error = match self.transfer.has_claimed(&self.sender(), position) {
                    true => UpstreamError::Length { expected, found: position },
                    false => self.protocol_error(format!("it ended after {position} of {expected} bytes")),
                };
                Err(self.transfer.contradicted(&self.sender(), Some(position), error))
            }
            None if !(stream.is_ranged() && self.assignment.bounded) => {
                self.transfer.scheduler().set_size(position);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn protocol_error(self, reason: String) -> UpstreamError {
        UpstreamError::Protocol { host: self.source.upstream.name().as_str().into(), reason }
    }
}
