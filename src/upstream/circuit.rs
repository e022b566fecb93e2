//! The circuit of an endpoint: closed while it answers, open while it does not, half-open while one request finds out.

use std::time::Duration;

use crate::sys::{Clock, Moment, jitter};

/// So many failures in a row open it.
const TOLERATED: u32 = 3;
/// How long it is open at first; each further failure doubles that.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Is an endpoint asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    Closed,
    /// One request is finding out whether it is back.
    HalfOpen,
    Open,
}

/// A time that passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    from: Moment,
    length: Duration,
}

impl Pause {
    pub(super) fn begin(clock: &Clock, length: Duration) -> Self {
        Self { from: clock.moment(), length }
    }

    pub(super) fn left(&self, clock: &Clock) -> Duration {
        self.length.saturating_sub(clock.since(self.from))
    }
}

#[derive(Debug, Default)]
pub(super) struct Circuit {
    position: Position,
    /// How often it was opened since the endpoint was well.
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
    pub(super) fn state(&self) -> CircuitState {
        match &self.position {
            Position::Closed => CircuitState::Closed,
            Position::Open(_) => CircuitState::Open,
            Position::HalfOpen => CircuitState::HalfOpen,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.position, Position::Closed)
    }

    /// May a request be sent, be it to find out?
    pub(super) fn admits(&self, clock: &Clock) -> bool {
        match &self.position {
            Position::Closed => true,
            Position::Open(pause) => pause.left(clock).is_zero(),
            Position::HalfOpen => false,
        }
    }

    /// How long it stays open; nothing for one that is not.
    pub(super) fn left(&self, clock: &Clock) -> Duration {
        match &self.position {
            Position::Open(pause) => pause.left(clock),
            Position::Closed | Position::HalfOpen => Duration::ZERO,
        }
    }

    /// A request begins: is it the one that finds out?
    pub(super) fn begin_probe(&mut self, clock: &Clock) -> bool {
        let probes = !self.is_closed() && self.admits(clock);
        if probes {
            self.position = Position::HalfOpen;
        }
        probes
    }

    /// The probe was given up without an outcome: the next request is one.
    pub(super) fn drop_probe(&mut self, clock: &Clock) {
        if matches!(self.position, Position::HalfOpen) {
            self.position = Position::Open(Pause::begin(clock, Duration::ZERO));
        }
    }

    /// Another failure, the `in_a_row`th. Says for how long it is open, if this opened it.
    pub(super) fn fail(&mut self, in_a_row: u32, clock: &Clock) -> Option<Duration> {
        let opens = match &self.position {
            Position::Closed => in_a_row >= TOLERATED,
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

    /// The endpoint answered. One that is `well` begins with short pauses again when it fails.
    pub(super) fn close(&mut self, well: bool) {
        self.position = Position::Closed;
        if well {
            self.openings = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock turns by whole ones.
    const MILLI: Duration = Duration::from_millis(1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Opens a circuit.
    fn open(circuit: &mut Circuit, clock: &Clock) -> Duration {
        assert_eq!((circuit.fail(1, clock), circuit.fail(2, clock)), (None, None));
        circuit.fail(3, clock).unwrap()
    }

    #[test]
    fn three_failures_open_it_and_one_probe_closes_it() {
        let (clock, mut circuit) = (Clock::system(), Circuit::default());
        let pause = open(&mut circuit, &clock);
        assert!(!circuit.admits(&clock) && !circuit.begin_probe(&clock) && circuit.state() == CircuitState::Open);
        assert!(circuit.left(&clock) > pause / 2);
        assert_eq!(circuit.fail(4, &clock), None, "who was under way when it opened does not prolong it");
        clock.advance(pause + MILLI);
        assert!(circuit.admits(&clock) && circuit.begin_probe(&clock));
        assert!(!circuit.admits(&clock) && !circuit.begin_probe(&clock), "one finds out");
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        circuit.drop_probe(&clock);
        assert!(circuit.begin_probe(&clock), "a probe that was given up leaves room for the next");
        circuit.close(true);
        assert!(circuit.admits(&clock) && !circuit.begin_probe(&clock) && circuit.is_closed());
        circuit.drop_probe(&clock);
        assert!(circuit.is_closed(), "the probe brought its outcome before it was dropped");
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
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
        // It answers, but it is not well: the next time it is left alone for long again.
        circuit.close(false);
        assert!(circuit.fail(3, &clock).unwrap() >= LONGEST_PAUSE / 2);
        circuit.close(true);
        assert!(open(&mut circuit, &clock) <= seconds(8));
    }
}
