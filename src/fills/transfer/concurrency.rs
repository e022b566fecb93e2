//! The number of connections that a fill uses.

use std::time::Duration;

use crate::config::FillConnections;

/// `auto` begins with this many connections.
pub(super) const INITIAL: usize = 4;

/// `auto` never uses more connections than this.
const MAX: usize = 16;

/// The throughput is measured for this long before it is judged.
const MEASURED: Duration = Duration::from_secs(2);

/// After one more connection did not help, this many measurements pass before it is tried again.
const SETTLED: u32 = 10;

/// The number of connections, and the search for a better number.
#[derive(Debug)]
pub(super) struct Concurrency {
    count: usize,
    mode: Mode,
    /// The bytes and the time since the last judgement.
    bytes: u64,
    time: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Fixed,
    /// Measures the throughput of the present number. One more connection is tried after `wait` further measurements.
    Settled {
        wait: u32,
    },
    /// Tries one more connection. `before` is the throughput without it, in bytes per second.
    Trying {
        before: f64,
    },
}

impl Concurrency {
    /// Begins with the number that the configuration names.
    pub(super) fn new(connections: FillConnections) -> Self {
        let (count, mode) = match connections {
            FillConnections::Auto => (INITIAL, Mode::Settled { wait: 0 }),
            FillConnections::Fixed(count) => (count, Mode::Fixed),
        };
        Self { count, mode, bytes: 0, time: Duration::ZERO }
    }

    /// Returns the number of connections to use now.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Records that `bytes` bytes arrived within `time`, while all connections were in use.
    pub(super) fn measured(&mut self, bytes: u64, time: Duration) {
        self.bytes += bytes;
        self.time += time;
        if self.time < MEASURED {
            return;
        }
        let rate = self.bytes as f64 / self.time.as_secs_f64();
        (self.bytes, self.time) = (0, Duration::ZERO);
        self.judge(rate);
    }

    /// Discards the measurement, because not all connections were in use.
    pub(super) fn idle(&mut self) {
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    /// Records that the upstream refused a request because there were too many.
    pub(super) fn refused(&mut self) {
        if !matches!(self.mode, Mode::Fixed) {
            self.count = (self.count - 1).max(1);
            self.mode = Mode::Settled { wait: SETTLED };
        }
    }

    fn judge(&mut self, rate: f64) {
        self.mode = match self.mode {
            Mode::Fixed => Mode::Fixed,
            Mode::Settled { wait: 0 } if self.count < MAX => {
                self.count += 1;
                Mode::Trying { before: rate }
            }
            Mode::Settled { wait } => Mode::Settled { wait: wait.saturating_sub(1) },
            // The n-th connection should add an n-th of the throughput. Half of that counts as a success.
            Mode::Trying { before } if rate >= before * (1.0 + 0.5 / (self.count - 1) as f64) => {
                if self.count < MAX {
                    self.count += 1;
                    Mode::Trying { before: rate }
                } else {
                    Mode::Settled { wait: SETTLED }
                }
            }
            Mode::Trying { .. } => {
                self.count -= 1;
                Mode::Settled { wait: SETTLED }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the final number of connections, if each connection can transfer `each`, and all together at most `all`.
    fn settled_count(each: u64, all: u64) -> usize {
        let mut concurrency = Concurrency::new(FillConnections::Auto);
        for _ in 0..9 {
            concurrency.measured((2 * each * concurrency.count() as u64).min(2 * all), MEASURED);
        }
        concurrency.count()
    }

    #[test]
    fn count_rises_while_the_throughput_does() {
        assert_eq!(settled_count(100, 300), INITIAL, "the link is full");
        assert_eq!(settled_count(100, 700), 7, "each connection is slow, until the link is full");
        assert!(settled_count(100, u64::MAX / 2) > 10, "the link is never full");
    }

    #[test]
    fn refusal_takes_one_connection_but_never_the_last() {
        let mut concurrency = Concurrency::new(FillConnections::Auto);
        for want in [3, 2, 1, 1] {
            concurrency.refused();
            assert_eq!(concurrency.count(), want);
        }
        concurrency.measured(1000, MEASURED);
        assert_eq!(concurrency.count(), 1, "another connection is not tried again at once");
    }

    #[test]
    fn fixed_count_never_changes() {
        let mut concurrency = Concurrency::new(FillConnections::Fixed(2));
        concurrency.refused();
        concurrency.measured(1000, MEASURED * 3);
        assert_eq!(concurrency.count(), 2);
    }
}
