//! One connection of a stream.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::slow::{JUDGED_EVERY, LeastRate};
use crate::fills::host_limits::HostUse;
use crate::fills::host_report::HostReport;
use crate::fills::places::PassPlace;
use crate::fills::shared::Shared;
use crate::metrics::GaugeGuard;
use crate::upstream::{BlobStream, EndpointId, UpstreamError};

/// About this many bytes are received at once, if they have arrived.
const AT_ONCE: usize = 256 << 10;

/// The connection is reported to its host this often.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// One connection of a stream. It counts as a connection of its host.
pub(super) struct PassConnection {
    pub(super) stream: BlobStream,
    pub(super) endpoint: EndpointId,
    /// The number of bytes to skip, because the answer began before the requested offset.
    pub(super) skip: u64,
    /// The answer began at the requested offset.
    pub(super) began_where_asked: bool,
    /// The connection turned out to be slow when it brought its last bytes.
    pub(super) late: bool,
    pub(super) report: HostReport,
    pub(super) reported: Duration,
    pub(super) host: HostUse,
    pub(super) place: PassPlace,
    pub(super) _counted: GaugeGuard,
}

impl PassConnection {
    /// Receives bytes and reports them to the host. Returns no bytes if all of them are skipped.
    pub(super) async fn receive(&mut self, shared: &Shared, limit: &LeastRate) -> Result<Received, UpstreamError> {
        if std::mem::take(&mut self.late) {
            return Ok(Received::Slow);
        }
        let began = shared.hosts.now();
        let waited = || shared.hosts.now().saturating_sub(began);
        let pieces = {
            let mut chunks = pin!(self.stream.chunks(AT_ONCE, Duration::ZERO));
            loop {
                match tokio::time::timeout(JUDGED_EVERY, chunks.as_mut()).await {
                    Ok(pieces) => break Some(pieces),
                    Err(_) if limit.is_passed(self.report.bytes, self.report.busy + waited()) => break None,
                    Err(_) => {}
                }
            }
        };
        let now = shared.hosts.now();
        self.report.busy += waited();
        let Some(pieces) = pieces else { return Ok(Received::Slow) };
        let pieces = pieces?;
        if pieces.is_empty() {
            return Ok(Received::End);
        }
        // A copy: a received piece may keep a larger buffer alive.
        let mut bytes = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        self.report.bytes += bytes.len() as u64;
        self.place.received(bytes.len() as u64);
        if now.saturating_sub(self.reported) >= REPORT_EVERY {
            self.reported = now;
            self.host.report_pass(self.report, now);
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        drop(bytes.split_to(skipped));
        self.late = limit.is_passed(self.report.bytes, self.report.busy);
        Ok(Received::Bytes(bytes.freeze()))
    }
}

/// The result of waiting for bytes.
pub(super) enum Received {
    Bytes(Bytes),
    End,
    /// The connection is slow.
    Slow,
}

/// Refuses the bytes of an encoded form: they are decoded only in the cache. The name of a coding may be that of a file whose
/// bytes are right as they come. Without the hash of the whole blob, only the size that a descriptor names can show it.
pub(super) fn check_coding(stream: &BlobStream, expected: Option<u64>, host: String) -> Result<(), UpstreamError> {
    match stream.coding() {
        Some(coding) if stream.total().is_none() || stream.total() != expected => {
            let reason =
                format!("it sends the blob with Content-Encoding: {coding}, which is decoded only in the cache");
            Err(UpstreamError::Protocol { host: host.into(), reason })
        }
        _ => Ok(()),
    }
}
