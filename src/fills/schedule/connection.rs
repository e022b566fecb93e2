//! A connection of a transfer, as the scheduler sees it.

use std::time::Duration;

use super::pace::EndpointPace;
use super::rate::RateMeter;
use super::tail::LEAST_BYTES;
use crate::oci::Span;

/// A rate is used once it has been measured for this long, or over this many bytes.
const MEASURED: Duration = Duration::from_millis(250);
const MEASURED_BYTES: u64 = 6 << 20;

/// After this time without an answer, a connection may be judged without a rate.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// A segment that one connection fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Identifies the connection within its transfer.
    pub ticket: u64,
    pub span: Span,
    /// True if the request names the end of the span. Otherwise it asks for everything from the start on.
    pub bounded: bool,
}

/// An open connection, and the segment that it fetches.
#[derive(Clone, Debug)]
pub struct ActiveConnection {
    pub assignment: Assignment,
    /// The index of its endpoint in the transfer.
    pub endpoint: usize,
    pub opened: Duration,
    /// Measures the rate from the answer on. `None` until the answer has begun.
    pub meter: Option<RateMeter>,
    /// The connection has brought everything of its span before this offset.
    pub position: u64,
    pub received: u64,
    /// The time of the last byte, and the bytes that all connections of the transfer had brought by then.
    pub last: (Duration, u64),
    /// True while it waits for the disk.
    pub paused: bool,
    /// True once its rate has been compared with that of its peers.
    pub compared: bool,
}

impl ActiveConnection {
    /// Describes a connection that is opened now, while all connections have brought `total` bytes.
    pub fn new(assignment: Assignment, endpoint: usize, now: Duration, total: u64) -> Self {
        let position = assignment.span.start;
        let (meter, received, last) = (None, 0, (now, total));
        let (paused, compared) = (false, false);
        Self { assignment, endpoint, opened: now, meter, position, received, last, paused, compared }
    }

    /// Returns the number of bytes that it has yet to bring.
    pub fn left(&self) -> u64 {
        self.assignment.span.end.saturating_sub(self.position)
    }

    /// Returns the measured rate in bytes per second, once there is one.
    pub fn rate(&self, now: Duration) -> Option<f64> {
        let is_measured = |meter: &RateMeter| meter.age(now) >= MEASURED || self.received >= MEASURED_BYTES;
        self.meter.filter(is_measured).map(|meter| meter.rate(now))
    }

    /// Returns true if the bytes of a segment came at more than twice this rate, even before its rate is known.
    pub fn was_faster_than(&self, rate: Option<f64>, now: Duration) -> bool {
        let seconds = self.meter.map_or(0.0, |meter| meter.age(now).as_secs_f64()).max(0.001);
        self.received >= LEAST_BYTES && rate.is_none_or(|rate| self.received as f64 / seconds > rate * 2.0)
    }

    /// Returns true if its rate is known, or if it is clear that its answer takes long.
    pub fn is_known(&self, now: Duration) -> bool {
        self.rate(now).is_some() || now.saturating_sub(self.opened) >= LONG_WAIT
    }

    /// Returns the time in seconds until its next byte is expected.
    pub fn wait(&self, pace: &EndpointPace, now: Duration) -> f64 {
        if self.meter.is_some() {
            return 0.0;
        }
        let waited = now.saturating_sub(self.opened).as_secs_f64();
        // If the answer is late, the best guess is that it takes as long again as it is late now.
        (pace.latency() - waited).abs()
    }
}
