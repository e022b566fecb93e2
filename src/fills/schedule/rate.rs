//! The rate of a connection.

use std::time::Duration;

/// Bytes count less the longer ago they arrived: after this time, by a factor of e.
const MEMORY: f64 = 1.0;

/// Measures a rate as a moving average with exponentially decreasing weights.
#[derive(Clone, Copy, Debug)]
pub struct RateMeter {
    began: Duration,
    last: Duration,
    /// The bytes, each with its weight at the time `last`.
    weighted: f64,
}

impl RateMeter {
    /// Begins to measure.
    pub fn new(now: Duration) -> Self {
        Self { began: now, last: now, weighted: 0.0 }
    }

    /// Records that bytes have arrived.
    pub fn add(&mut self, bytes: u64, now: Duration) {
        self.weighted = self.weighted * fading(now.saturating_sub(self.last)) + bytes as f64;
        self.last = self.last.max(now);
    }

    /// Returns the time since the measurement began.
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    /// Returns the rate in bytes per second. It falls while nothing arrives.
    pub fn rate(&self, now: Duration) -> f64 {
        let weights = MEMORY * (1.0 - fading(self.age(now)));
        self.weighted * fading(now.saturating_sub(self.last)) / weights.max(0.001)
    }
}

fn fading(time: Duration) -> f64 {
    (-time.as_secs_f64() / MEMORY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rates: &[(u64, f64)]) -> f64 {
        let (mut meter, mut now) = (RateMeter::new(Duration::ZERO), Duration::ZERO);
        for (rate, seconds) in rates {
            for _ in 0..(seconds * 100.0) as u32 {
                now += Duration::from_millis(10);
                meter.add(rate / 100, now);
            }
        }
        meter.rate(now)
    }

    #[test]
    fn rate_is_right_from_the_beginning_and_follows_changes() {
        for (rates, want) in [
            (&[(1_000_000, 0.2)][..], 1e6),
            (&[(1_000_000, 10.0)], 1e6),
            (&[(1_000_000, 10.0), (100_000, 4.0)], 1.16e5),
            (&[(1_000_000, 10.0), (0, 3.0)], 5e4),
        ] {
            let found = measured(rates);
            assert!((found / want - 1.0).abs() < 0.05, "{rates:?}: {found} instead of {want}");
        }
    }
}
