//! A token bucket. It does not know the time: each call is given the time since the start of the process.

use std::time::Duration;

use crate::config::Rate;

/// The bucket holds the bytes of this part of a second, so a transfer can exceed the rate by that much after a pause.
const BURST: f64 = 0.125;

/// The part of the bucket that one transfer gets at a time.
const SLICE: f64 = 0.25;

/// The bytes that may be received now. They grow at a rate, up to a burst.
#[derive(Debug)]
pub(super) struct Bucket {
    /// `None` means that there is no limit.
    rate: Option<Rate>,
    /// The bytes that may be received. Below zero after the rate was lowered.
    level: f64,
    filled: Duration,
}

impl Bucket {
    /// Returns a full bucket.
    pub(super) fn new(rate: Option<Rate>, now: Duration) -> Self {
        Self { rate, level: capacity(rate), filled: now }
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Changes the rate from now on. A bucket that was unlimited begins empty, so the change itself brings no burst.
    pub(super) fn set_rate(&mut self, rate: Option<Rate>, now: Duration) {
        self.fill(now);
        self.level = if self.rate.is_none() { 0.0 } else { self.level.min(capacity(rate)) };
        self.rate = rate;
    }

    /// Adds the bytes that have become free until `now`.
    pub(super) fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        if let Some(rate) = self.rate {
            self.level = (self.level + passed * rate.bytes() as f64).min(capacity(self.rate));
        }
    }

    /// Returns the most bytes that a transfer gets at a time.
    pub(super) fn slice(&self) -> usize {
        self.rate.map_or(usize::MAX, |_| (capacity(self.rate) * SLICE).max(1.0) as usize)
    }

    /// Returns the time until this many bytes may be received; zero if they may be received now.
    pub(super) fn wait_for(&self, bytes: usize) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        // A slice of an earlier, higher rate may be larger than the bucket.
        let missing = (bytes as f64).min(capacity(self.rate)) - self.level;
        if missing <= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(missing / rate.bytes() as f64) }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        if self.rate.is_some() {
            self.level -= bytes as f64;
        }
    }

    /// Adds bytes again that were taken and then not received.
    pub(super) fn put_back(&mut self, bytes: usize) {
        self.level = (self.level + bytes as f64).min(capacity(self.rate));
    }
}

fn capacity(rate: Option<Rate>) -> f64 {
    rate.map_or(0.0, |rate| (rate.bytes() as f64 * BURST).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bytes: u64) -> Option<Rate> {
        Rate::of_bytes(bytes)
    }

    /// Takes as much as the bucket gives, in steps of a millisecond. Returns the bytes of each step.
    fn drain(bucket: &mut Bucket, from: Duration, millis: u32) -> Vec<usize> {
        let step = |bucket: &mut Bucket, at: u32| {
            bucket.fill(from + at * Duration::from_millis(1));
            let mut taken = 0;
            while bucket.wait_for(bucket.slice()).is_zero() {
                bucket.take(bucket.slice());
                taken += bucket.slice();
            }
            taken
        };
        (0..millis).map(|at| step(bucket, at)).collect()
    }

    #[test]
    fn rate_holds_over_every_window() {
        for bytes in [1000, 8000, 62_500, 625_000, 2_500_000, 125_000_000] {
            let mut bucket = Bucket::new(rate(bytes), Duration::ZERO);
            let taken = drain(&mut bucket, Duration::ZERO, 6000);
            let most = 2.0 * bytes as f64 + BURST * bytes as f64;
            for window in taken.windows(2000) {
                assert!(window.iter().sum::<usize>() as f64 <= most, "{bytes}");
            }
            // After the burst, two seconds bring what the rate allows, and nothing of it is lost.
            let steady: usize = taken[2000..4000].iter().sum();
            let (least, most) = (1.95 * bytes as f64, 2.05 * bytes as f64);
            assert!((least..=most).contains(&(steady as f64)), "{bytes}: {steady}");
        }
    }

    #[test]
    fn change_of_the_rate_brings_no_burst() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(rate(1_000_000), Duration::ZERO);
        bucket.set_rate(rate(1000), second);
        assert!(drain(&mut bucket, second, 1000).iter().sum::<usize>() <= 1125);
        bucket.set_rate(None, 2 * second);
        assert_eq!((bucket.slice(), bucket.wait_for(1 << 30)), (usize::MAX, Duration::ZERO));
        bucket.take(1 << 30);
        bucket.set_rate(rate(1000), 3 * second);
        assert!(drain(&mut bucket, 3 * second, 1000).iter().sum::<usize>() <= 1000);
    }

    #[test]
    fn bytes_larger_than_the_bucket_are_granted_in_the_end() {
        let mut bucket = Bucket::new(rate(1000), Duration::ZERO);
        assert_eq!(bucket.wait_for(5000), Duration::ZERO);
        bucket.take(5000);
        assert_eq!(bucket.wait_for(5000), Duration::from_secs(5));
        bucket.put_back(4000);
        assert_eq!(bucket.wait_for(125), Duration::from_secs(1));
    }
}
