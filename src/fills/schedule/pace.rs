//! The speed of an endpoint: the time to its first byte, and the rate of one of its connections.

use std::time::Duration;

/// The weight of a new measurement in a moving average.
const NEW_WEIGHT: f64 = 0.3;

/// A connection that brought this number of bytes has the full weight.
const FULL_WEIGHT: f64 = 1_000_000.0;

/// The speed of an endpoint, as far as it has been measured. Fills share it through the limits of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointPace {
    /// The time from a request to the first byte of its answer, in seconds.
    latency: Option<f64>,
    /// The rate of one connection, in bytes per second.
    rate: Option<f64>,
}

impl EndpointPace {
    /// Records the time from a request to its answer.
    pub fn answered(&mut self, after: Duration) {
        let new = after.as_secs_f64();
        self.latency = Some(self.latency.map_or(new, |known| known * (1.0 - NEW_WEIGHT) + new * NEW_WEIGHT));
    }

    /// Records the rate of a connection that has ended, in bytes per second. If it brought few bytes, its rate counts
    /// for little.
    pub fn transferred(&mut self, rate: f64, bytes: u64) {
        let weight = NEW_WEIGHT * (bytes as f64 / FULL_WEIGHT).min(1.0);
        self.rate = Some(self.rate.map_or(rate, |known| known * (1.0 - weight) + rate * weight));
    }

    /// Forgets the rate, since it has changed.
    pub fn forget_rate(&mut self) {
        self.rate = None;
    }

    /// Returns the time to the first byte, in seconds; 0 if it is unknown.
    pub fn latency(&self) -> f64 {
        self.latency.unwrap_or(0.0)
    }

    /// Returns the rate of one connection in bytes per second, if it is known.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }
}
