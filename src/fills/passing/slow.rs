//! The judgement of a connection whose blob is passed through.

use std::time::Duration;

/// A connection is slow if its rate is below the best known rate of a connection to the source, divided by this number.
const SLOW: f64 = 8.0;
/// A connection is judged after it has waited this long for bytes. The time doubles with each one that is replaced.
pub const JUDGED_AFTER: Duration = Duration::from_secs(2);
pub const JUDGED_AFTER_AT_MOST: Duration = Duration::from_secs(600);
/// Whatever is known, another connection is tried after this time …
const TRIED_AFTER: Duration = Duration::from_secs(5);
/// … if the rest of the bytes would take longer than this many seconds.
const LONG: f64 = 20.0;
/// A blob of unknown size counts as if this many bytes of it were left.
pub const UNKNOWN_LEFT: u64 = 1 << 20;
/// If the next connection would begin again at the first byte, no more connections than this are replaced.
pub const REPLACED_FROM_THE_BEGINNING: u32 = 2;
/// A connection that brings nothing is judged this often.
pub const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// A slow connection that ends within this many seconds anyway is not replaced.
const SOON: f64 = 2.0;

/// The limit of a connection: one that passes it is replaced.
pub struct LeastRate {
    /// The best known rate of a connection to the source, in bytes per second; 0 if none is known.
    pub best: f64,
    /// The connection is judged after it has waited this long for bytes.
    pub judged_after: Duration,
    /// The bytes that are left.
    pub left: u64,
}

impl LeastRate {
    /// Returns true if a connection that has brought `bytes`, and has waited `busy` for them, has passed the limit.
    pub fn is_passed(&self, bytes: u64, busy: Duration) -> bool {
        let rate = bytes as f64 / busy.as_secs_f64().max(0.001);
        let lasts = self.left as f64 / rate.max(1.0);
        let is_slower = busy >= self.judged_after && rate < self.best / SLOW && lasts > SOON;
        let is_long = busy >= self.judged_after.max(TRIED_AFTER) && lasts > LONG;
        is_slower || is_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_slow_beside_a_known_rate_or_if_the_rest_takes_long() {
        const MB: u64 = 1_000_000;
        for (best, left, rate, seconds, passed) in [
            (MB, 100 * MB, MB / 10, 3, true),
            (MB, 100 * MB, MB / 10, 1, false),
            (MB, MB / 10, MB / 10, 3, false),
            (0, 100 * MB, MB, 3, false),
            (0, 100 * MB, MB, 6, true),
            (0, 10 * MB, MB, 6, false),
            (MB, 6 * MB, MB / 6, 6, true),
            (0, MB, 0, 6, true),
        ] {
            let limit = LeastRate { best: best as f64, judged_after: JUDGED_AFTER, left };
            let found = limit.is_passed(rate * seconds, Duration::from_secs(seconds));
            assert_eq!(found, passed, "{left} bytes at {rate} for {seconds} s, best {best}");
        }
    }
}
