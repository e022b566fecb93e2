//! The clock.
#![expect(clippy::disallowed_methods, reason = "this is the seam: the one place that asks the machine for the time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, for measuring and for deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Instant);

/// Tells the time. All clones tell the same time. A test can advance it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// The milliseconds by which a test advanced the clock.
    ahead: Arc<AtomicU64>,
}

impl Clock {
    /// Returns the machine's own clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns the time of day.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    /// Returns the time of day in whole seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Returns a point on the monotonic clock. Changes of the system time do not affect it.
    pub fn moment(&self) -> Moment {
        Moment(Instant::now() + self.ahead())
    }

    /// Returns the time since `moment`.
    pub fn since(&self, moment: Moment) -> Duration {
        self.moment().0.saturating_duration_since(moment.0)
    }

    /// Advances this clock and all its clones, by whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead.load(Ordering::Relaxed))
    }
}
