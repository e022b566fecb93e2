//! The clock.
#![expect(clippy::disallowed_methods, reason = "this is the seam: the one place that asks the machine for the time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, for measuring and for deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Instant);

/// The most by which a time of a file may lie ahead of the clock: the clock of a file server, or a small correction of our own.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// Returns the time from `at` to `now`. A time that lies ahead of the clock was written while the clock was wrong, so nothing is
/// known about its age: it counts as very old. Without this, it would count as new until the clock reaches it.
pub fn age_at(at: SystemTime, now: SystemTime) -> Duration {
    match now.duration_since(at) {
        Ok(age) => age,
        Err(ahead) if ahead.duration() <= SKEW => Duration::ZERO,
        Err(_) => Duration::MAX,
    }
}

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

    /// Returns the time since a time of day, as [`age_at`] tells it.
    pub fn age_of(&self, at: SystemTime) -> Duration {
        age_at(at, self.now())
    }

    /// Returns the time since a record was written, which holds its time in seconds since 1970. A record from the future is
    /// very old.
    pub fn age_of_record(&self, at: u64) -> Duration {
        self.unix_seconds().checked_sub(at).map_or(Duration::MAX, Duration::from_secs)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_ahead_of_the_clock_are_old() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        for (at, want) in [
            (now - day, day),
            (now, Duration::ZERO),
            // A file server's clock may differ a little.
            (now + second, Duration::ZERO),
            (now + SKEW + second, Duration::MAX),
            (now + 400 * day, Duration::MAX),
        ] {
            assert_eq!(age_at(at, now), want);
        }
        let clock = Clock::system();
        let seconds = clock.unix_seconds();
        assert!(clock.age_of_record(seconds) <= second * 60);
        assert!(clock.age_of_record(seconds - 100) >= second * 100);
        assert_eq!(clock.age_of_record(seconds + 3600), Duration::MAX);
        assert_eq!(clock.age_of_record(u64::MAX), Duration::MAX);
    }
}
