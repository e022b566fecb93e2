//! The judgement of a connection whose blob is passed through.

use std::time::Duration;

/// A connection is slow if its rate is below the best known rate of a connection to the source, divided by this number.
pub const SLOW: f64 = 8.0;
/// A connection is judged after it has waited this long for bytes. The time doubles with each one that is replaced.
pub const PATIENCE: Duration = Duration::from_secs(2);
pub const LONGEST_PATIENCE: Duration = Duration::from_secs(30);
/// While no rate is known, a connection is judged after this time …
pub const UNKNOWN_PATIENCE: Duration = Duration::from_secs(5);
/// … and it is slow if the rest of the blob would take longer than this many seconds.
pub const LONG_SECONDS: f64 = 60.0;
/// A connection that brings nothing is judged this often.
pub const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// A slow connection that ends within this many seconds anyway is not replaced.
const SOON: f64 = 2.0;

/// The least rate of a connection.
pub struct LeastRate {
    /// In bytes per second.
    pub least: f64,
    /// The connection is judged after it has waited this long for bytes.
    pub after: Duration,
    /// The bytes that are left.
    pub left: u64,
}

impl LeastRate {
    /// Returns true if a connection has passed the limit, which has brought `bytes` and waited for them for `busy`.
    pub fn is_passed(&self, bytes: u64, busy: Duration) -> bool {
        let rate = bytes as f64 / busy.as_secs_f64().max(0.001);
        busy >= self.after && rate < self.least && self.left as f64 / rate.max(1.0) > SOON
    }
}
