//! The measurement of the throughput of a number of connections.

use std::time::Duration;

/// A number of connections is measured for at least this long, and for twice the time to the first byte …
const MEASURED: Duration = Duration::from_millis(500);
/// … after all connections have had this time to reach their rate, and the time to the first byte.
const RAMP: Duration = Duration::from_millis(200);
/// A short measurement is enough if its result is clear. It takes this time …
const SHORT_MEASURED: Duration = Duration::from_millis(90);
/// … after all connections have had this time to reach their rate.
const SHORT_RAMP: Duration = Duration::from_millis(40);

/// The load of a host at one time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub now: Duration,
    /// The bytes that all connections have brought since the beginning.
    pub bytes: u64,
    /// The time that all connections have been receiving, all together, since the beginning.
    pub busy: Duration,
    /// The number of open connections.
    pub open: usize,
    /// The number of open connections whose answer has begun.
    pub receiving: usize,
    /// The time to the first byte, in seconds.
    pub latency: f64,
}

impl Load {
    /// Returns the time to the first byte.
    pub fn latency(&self) -> Duration {
        Duration::from_secs_f64(self.latency.clamp(0.0, 60.0))
    }
}

/// A measurement, which began when all connections were in use. It has two parts: a short one, and a full one, which
/// begins later.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    begun: Duration,
    /// The load at the beginning of each part.
    short: Option<Load>,
    full: Option<Load>,
}

impl Measurement {
    pub fn new(now: Duration) -> Self {
        Self { begun: now, short: None, full: None }
    }

    /// Begins a part if it is time to.
    pub fn observe(&mut self, load: &Load) {
        let age = load.now.saturating_sub(self.begun);
        if age >= SHORT_RAMP {
            self.short.get_or_insert(*load);
        }
        if age >= RAMP + load.latency() {
            self.full.get_or_insert(*load);
        }
    }

    /// Returns the rate of one connection once the short measurement has ended.
    pub fn short_rate(&self, load: &Load) -> Option<f64> {
        rate(self.short?, load, SHORT_MEASURED)
    }

    /// Returns the rate of one connection once the full measurement has ended.
    pub fn full_rate(&self, load: &Load) -> Option<f64> {
        rate(self.full?, load, MEASURED.max(load.latency() * 2))
    }
}

/// Returns the rate of one connection since an earlier time, if that is at least `length` ago. The time in which
/// connections wait for answers does not count: it depends on chance.
fn rate(since: Load, load: &Load, length: Duration) -> Option<f64> {
    let busy = load.busy.saturating_sub(since.busy).as_secs_f64().max(0.001);
    (load.now >= since.now + length).then(|| load.bytes.saturating_sub(since.bytes) as f64 / busy)
}
