//! How many connections a fill uses.

use std::time::Duration;

use crate::config::FillConnections;

/// `auto` begins with so many.
pub(super) const FIRST: usize = 4;

/// `auto` never uses more.
const MOST: usize = 16;

/// The throughput is measured over this long before it is judged.
const MEASURED: Duration = Duration::from_secs(2);

/// After one more did not help, so many measurements pass before it is tried again.
const CONTENT: u32 = 10;

/// The number of connections, and whether another one would help.
#[derive(Debug)]
pub(super) struct Pace {
    count: usize,
    manner: Manner,
    /// What was measured since the last judgement.
    bytes: u64,
    time: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Manner {
    Fixed,
    /// Measuring what the present number brings; then one more is tried, unless that is to wait for so many measurements.
    Settled {
        wait: u32,
    },
    /// One more is being tried; before, so many bytes a second came.
    Trying {
        before: f64,
    },
}

impl Pace {
    pub(super) fn new(connections: FillConnections) -> Self {
        let (count, manner) = match connections {
            FillConnections::Auto => (FIRST, Manner::Settled { wait: 0 }),
            FillConnections::Fixed(count) => (count, Manner::Fixed),
        };
        Self { count, manner, bytes: 0, time: Duration::ZERO }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// So many bytes came in this time, while all connections that may be there were.
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

    /// Not all connections were there: what was measured says nothing.
    pub(super) fn idle(&mut self) {
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    /// The upstream has said that it is too much.
    pub(super) fn refused(&mut self) {
        if !matches!(self.manner, Manner::Fixed) {
            self.count = (self.count - 1).max(1);
            self.manner = Manner::Settled { wait: CONTENT };
        }
    }

    fn judge(&mut self, rate: f64) {
        self.manner = match self.manner {
            Manner::Fixed => Manner::Fixed,
            Manner::Settled { wait: 0 } if self.count < MOST => {
                self.count += 1;
                Manner::Trying { before: rate }
            }
            Manner::Settled { wait } => Manner::Settled { wait: wait.saturating_sub(1) },
            // One of n connections should bring an nth; half of that is taken for a rise.
            Manner::Trying { before } if rate >= before * (1.0 + 0.5 / (self.count - 1) as f64) => {
                if self.count < MOST {
                    self.count += 1;
                    Manner::Trying { before: rate }
                } else {
                    Manner::Settled { wait: CONTENT }
                }
            }
            Manner::Trying { .. } => {
                self.count -= 1;
                Manner::Settled { wait: CONTENT }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `count` connections bring in the end, where each brings `each` and all together at most `all`.
    fn settles(each: u64, all: u64) -> usize {
        let mut pace = Pace::new(FillConnections::Auto);
        for _ in 0..9 {
            pace.measured((2 * each * pace.count() as u64).min(2 * all), MEASURED);
        }
        pace.count()
    }

    #[test]
    fn as_many_as_raise_the_throughput() {
        assert_eq!(settles(100, 300), FIRST, "the link is full");
        assert_eq!(settles(100, 700), 7, "each connection is slow, until the link is full");
        assert!(settles(100, u64::MAX / 2) > 10, "there is no end to it");
    }

    #[test]
    fn a_refusal_takes_one_away_but_never_the_last() {
        let mut pace = Pace::new(FillConnections::Auto);
        for want in [3, 2, 1, 1] {
            pace.refused();
            assert_eq!(pace.count(), want);
        }
        pace.measured(1000, MEASURED);
        assert_eq!(pace.count(), 1, "it is not tried again at once");
    }

    #[test]
    fn a_number_is_a_number() {
        let mut pace = Pace::new(FillConnections::Fixed(2));
        pace.refused();
        pace.measured(1000, MEASURED * 3);
        assert_eq!(pace.count(), 2);
    }
}
