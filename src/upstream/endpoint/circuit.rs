//! The circuit breaker of an endpoint: closed while the endpoint answers, open while it does not, half-open while one
//! request probes it.

use std::time::Duration;

use crate::sys::{Clock, Moment, jitter};

/// This many failures in a row open the circuit.
const FAILURES_TO_OPEN: u32 = 3;
/// The first time that a circuit stays open. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Requests are sent to the endpoint.
    Closed,
    /// One request is probing whether the endpoint is back.
    HalfOpen,
    /// No request is sent to the endpoint.
    Open,
}

/// A span of time that began at some moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Pause {
    from: Moment,
    length: Duration,
}

impl Pause {
    pub(in crate::upstream) fn begin(clock: &Clock, length: Duration) -> Self {
        Self { from: clock.moment(), length }
    }

    /// Returns the time since it began.
    pub(in crate::upstream) fn age(&self, clock: &Clock) -> Duration {
        clock.since(self.from)
    }

    pub(in crate::upstream) fn left(&self, clock: &Clock) -> Duration {
        self.length.saturating_sub(clock.since(self.from))
    }
}

#[derive(Debug, Default)]
pub(in crate::upstream) struct Circuit {
    position: Position,
    /// The number of times that it was opened since the endpoint last delivered whole answers.
    openings: u32,
}

#[derive(Debug, Default)]
enum Position {
    #[default]
    Closed,
    Open(Pause),
    HalfOpen,
}

impl Circuit {
    pub(in crate::upstream) fn state(&self) -> CircuitState {
        match &self.position {
            Position::Closed => CircuitState::Closed,
            Position::Open(_) => CircuitState::Open,
            Position::HalfOpen => CircuitState::HalfOpen,
        }
    }

    pub(in crate::upstream) fn is_closed(&self) -> bool {
        matches!(self.position, Position::Closed)
    }

    /// Returns true if a request may be sent, as a normal one or as a probe.
    pub(in crate::upstream) fn admits(&self, clock: &Clock) -> bool {
        match &self.position {
            Position::Closed => true,
            Position::Open(pause) => pause.left(clock).is_zero(),
            Position::HalfOpen => false,
        }
    }

    /// Returns how long it stays open, or zero if it is not open.
    pub(in crate::upstream) fn left(&self, clock: &Clock) -> Duration {
        match &self.position {
            Position::Open(pause) => pause.left(clock),
            Position::Closed | Position::HalfOpen => Duration::ZERO,
        }
    }

    /// Begins a request. Returns true if the request is the probe.
    pub(in crate::upstream) fn begin_probe(&mut self, clock: &Clock) -> bool {
        let probes = !self.is_closed() && self.admits(clock);
        if probes {
            self.position = Position::HalfOpen;
        }
        probes
    }

    /// Gives up the probe without an outcome, so that the next request is one.
    pub(in crate::upstream) fn drop_probe(&mut self, clock: &Clock) {
        if matches!(self.position, Position::HalfOpen) {
            self.position = Position::Open(Pause::begin(clock, Duration::ZERO));
        }
    }

    /// Counts a failure, the `in_a_row`th without an answer in between. Returns how long the circuit stays open, if
    /// this failure opened it.
    pub(in crate::upstream) fn fail(&mut self, in_a_row: u32, clock: &Clock) -> Option<Duration> {
        let opens = match &self.position {
            Position::Closed => in_a_row >= FAILURES_TO_OPEN,
            Position::Open(pause) => pause.left(clock).is_zero(),
            Position::HalfOpen => true,
        };
        if !opens {
            return None;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.openings.min(8)).min(LONGEST_PAUSE);
        let length = jitter(doubled).min(LONGEST_PAUSE);
        self.openings += 1;
        self.position = Position::Open(Pause::begin(clock, length));
        Some(length)
    }

    /// Closes the circuit after an answer. With `recovered`, the next failures begin with a short pause again.
    pub(in crate::upstream) fn close(&mut self, recovered: bool) {
        self.position = Position::Closed;
        if recovered {
            self.openings = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test clock advances by whole milliseconds.
    const MILLI: Duration = Duration::from_millis(1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Opens a circuit by three failures.
    fn open(circuit: &mut Circuit, clock: &Clock) -> Duration {
        assert_eq!((circuit.fail(1, clock), circuit.fail(2, clock)), (None, None));
        circuit.fail(3, clock).unwrap()
    }

    #[test]
    fn circuit_opens_after_three_failures_and_closes_after_a_probe() {
        let (clock, mut circuit) = (Clock::system(), Circuit::default());
        let pause = open(&mut circuit, &clock);
        assert!(!circuit.admits(&clock) && !circuit.begin_probe(&clock) && circuit.state() == CircuitState::Open);
        assert!(circuit.left(&clock) > pause / 2);
        assert_eq!(circuit.fail(4, &clock), None, "a request that was under way when it opened does not prolong it");
        clock.advance(pause + MILLI);
        assert!(circuit.admits(&clock) && circuit.begin_probe(&clock));
        assert!(!circuit.admits(&clock) && !circuit.begin_probe(&clock), "only one request probes");
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        circuit.drop_probe(&clock);
        assert!(circuit.begin_probe(&clock), "after an abandoned probe the next request is one");
        circuit.close(true);
        assert!(circuit.admits(&clock) && !circuit.begin_probe(&clock) && circuit.is_closed());
        circuit.drop_probe(&clock);
        assert!(circuit.is_closed(), "a probe with an outcome leaves the circuit as it is");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (clock, mut circuit) = (Clock::system(), Circuit::default());
        let mut pause = open(&mut circuit, &clock);
        for around in [5, 10, 20, 30, 30, 30] {
            assert!(
                (seconds(around) / 2..=seconds(around) * 3 / 2).contains(&pause),
                "{pause:?} is not about {around} s"
            );
            assert!(pause <= LONGEST_PAUSE);
            clock.advance(pause + MILLI);
            assert!(circuit.begin_probe(&clock));
            pause = circuit.fail(4, &clock).unwrap();
        }
        // Without recovery the next pause is long again.
        circuit.close(false);
        assert!(circuit.fail(3, &clock).unwrap() >= LONGEST_PAUSE / 2);
        circuit.close(true);
        assert!(open(&mut circuit, &clock) <= seconds(8));
    }
}
