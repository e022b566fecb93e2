//! The number of connections to one host.
//!
//! More connections are worth it only while each brings more bytes. On a link that other transfers share, a further
//! connection also brings more, but at their cost. The two cases differ: with `n` connections that a server limits one
//! by one, a further one adds an `n`-th to the throughput. With `n` connections beside one other transfer, it adds only
//! the part `1 / (n + 2)` of that. So a larger number is kept if it brings about half of what it would bring
//! at best, and a smaller number is tried too, and judged in the same way.

use std::time::Duration;

use super::measurement::{Load, Measurement};
use super::refusal::{HostRefusal, RefusedRequest, is_new};
use super::step::{Direction, Kept, Step, Trial, Verdict};
use crate::config::FillConnections;

/// `auto` begins with this many connections …
const INITIAL: usize = 4;
/// … or with this many if the host answers late. A change of the number then shows late, and a connection over a long
/// distance is slow, because its window limits the bytes that are on their way.
const INITIAL_IF_LATE: usize = MAX;
/// A host that takes at least this long to answer, in seconds, answers late.
const LATE: f64 = 0.2;
/// `auto` never uses more connections than this.
const MAX: usize = 16;
/// A number that short measurements have led to is checked after this time, and ten times the time to the first byte.
const CHECK_AFTER: Duration = Duration::from_secs(3);
/// A measurement that has not begun or ended after this time, and ten times the time to the first byte, is given up.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// The wait before the next search. It doubles with each search that ends where it began.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The number of connections to one host, and the search for a better one.
#[derive(Debug)]
pub struct Concurrency {
    count: usize,
    most: usize,
    mode: Mode,
    /// The end of the last refusal, and the number of connections before it.
    refused: Option<HostRefusal>,
    rest: Duration,
    /// The beginning of the next search.
    next: Direction,
    first_search: FirstSearch,
}

/// The first search for a host, which has to be fast: transfers are waiting, and nothing is known yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FirstSearch {
    Running,
    /// It is running, and a short measurement has led to a larger number.
    Hasty,
    Over,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Fixed,
    /// The number is measured: first until all connections are in use, then for a while.
    Measuring {
        step: Step,
        since: Duration,
        begun: Option<Measurement>,
    },
    /// The number is kept until this time.
    Resting {
        until: Duration,
    },
    /// The number grows back after a refusal.
    Recovering {
        next: Duration,
    },
}

impl Concurrency {
    /// Begins with the number that the configuration names. `most` limits it.
    pub fn new(connections: FillConnections, most: usize) -> Self {
        let begin = Mode::Measuring { step: Step::Known(Direction::Larger), since: Duration::ZERO, begun: None };
        let (count, mode) = match connections {
            FillConnections::Auto => (INITIAL.min(most), begin),
            FillConnections::Fixed(count) => (count.min(most), Mode::Fixed),
        };
        Self {
            count,
            most: most.min(MAX),
            mode,
            refused: None,
            rest: FIRST_REST,
            next: Direction::Larger,
            first_search: FirstSearch::Running,
        }
    }

    /// Returns the number of connections to use now.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns true if the number is the configured one.
    pub fn is_fixed(&self) -> bool {
        matches!(self.mode, Mode::Fixed)
    }

    /// Takes account of the time that the host takes to answer, in seconds, before anything is measured.
    pub fn expect_latency(&mut self, latency: f64) {
        let nothing_measured =
            matches!(self.mode, Mode::Measuring { step: Step::Known(Direction::Larger), begun: None, .. });
        if latency >= LATE && nothing_measured && self.first_search == FirstSearch::Running {
            self.count = self.count.max(INITIAL_IF_LATE.min(self.most));
        }
    }

    /// Looks at the load, and changes the number if it is time to. Must be called several times a second while
    /// connections are open.
    pub fn observe(&mut self, load: &Load) {
        self.expect_latency(load.latency);
        match self.mode {
            Mode::Fixed => {}
            Mode::Resting { until } if load.now < until => {}
            Mode::Resting { .. } => self.measure(Step::Known(self.next), load.now),
            Mode::Recovering { next } => self.recover(next, load.now),
            Mode::Measuring { step, since, begun } => self.watch(load, step, since, begun),
        }
    }

    /// Records that a request which began at `opened` was refused, as an upstream with too many connections refuses it.
    /// `receiving` is the number of connections that receive bytes meanwhile: if there is none, the host is out of order,
    /// and the number of connections is not the reason. All refusals until the next success belong together, and so do
    /// requests that began before an earlier refusal was noticed.
    pub fn refused(&mut self, opened: Duration, receiving: usize, now: Duration) {
        let last = self.refused;
        let recovering = last.filter(|_| matches!(self.mode, Mode::Recovering { .. }));
        if self.is_fixed() || !is_new(last, recovering, opened) {
            return;
        }
        let refusal = HostRefusal::new(last, recovering, RefusedRequest { count: self.count, receiving, now });
        self.count = refusal.left;
        self.mode = Mode::Recovering { next: if refusal.outage { now } else { now + refusal.wait } };
        self.refused = Some(refusal);
    }

    /// Records that a request which began at `opened` was answered.
    pub fn answered(&mut self, opened: Duration) {
        if let Some(refused) = &mut self.refused {
            refused.answered(opened);
        }
    }

    fn recover(&mut self, next: Duration, now: Duration) {
        let Some(refused) = self.refused.as_mut() else { return self.measure(Step::Known(Direction::Larger), now) };
        if !refused.is_over() || now < next {
            return;
        }
        refused.regrown = true;
        if refused.outage && self.first_search != FirstSearch::Over {
            // The search was growing. It goes on with the next number, since the outage has cost enough time.
            self.count = (refused.before * 2).min(self.most);
            return self.measure(Step::Known(Direction::Larger), now);
        }
        self.count = if refused.outage { refused.before } else { (self.count * 2).min(refused.before) };
        self.mode = match self.count >= refused.before {
            true if self.first_search != FirstSearch::Over => return self.measure(Step::Known(Direction::Larger), now),
            true => Mode::Resting { until: now + FIRST_REST },
            false => Mode::Recovering { next: now + refused.wait },
        };
    }

    fn measure(&mut self, step: Step, now: Duration) {
        self.mode = Mode::Measuring { step, since: now, begun: None };
    }

    fn watch(&mut self, load: &Load, step: Step, since: Duration, begun: Option<Measurement>) {
        let ready = load.open == self.count && load.receiving == self.count;
        let mut begun = match begun {
            // Some connections had no work: this says nothing about the link.
            Some(_) if load.open != self.count => None,
            None if ready => Some(Measurement::new(load.now)),
            begun => begun,
        };
        if let Some(measurement) = &mut begun {
            measurement.observe(load);
        }
        let verdict = begun.and_then(|measurement| self.measured(step, &measurement, load));
        self.mode = Mode::Measuring { step, since, begun };
        match verdict {
            Some(Verdict::Try(count, step)) => {
                self.count = count;
                self.measure(step, load.now);
            }
            Some(Verdict::Keep(kept)) => self.keep(kept, load),
            None if load.now.saturating_sub(since) >= GIVEN_UP + load.latency() * 10 => self.give_up(step, load.now),
            None => {}
        }
    }

    /// Returns what follows from the throughput of the present number, once it has been measured.
    fn measured(&mut self, step: Step, measurement: &Measurement, load: &Load) -> Option<Verdict> {
        let trial = |rate: f64| Trial { count: self.count, rate: rate * self.count as f64, most: self.most };
        if let Some(rate) = measurement.full_rate(load) {
            return Some(step.judge(trial(rate)));
        }
        let short = measurement.short_rate(load).filter(|_| self.first_search != FirstSearch::Over)?;
        if self.count == self.most && step == Step::Known(Direction::Larger) {
            // The search has begun with the largest number. A smaller one is tried when the transfers have got something.
            self.first_search = FirstSearch::Hasty;
            return Some(Verdict::Keep(Kept { count: self.count, moved: true, next: Direction::Larger }));
        }
        let verdict = step.judge_early(trial(short))?;
        if matches!(step, Step::Up { .. }) {
            self.first_search = FirstSearch::Hasty;
        }
        Some(verdict)
    }

    fn give_up(&mut self, step: Step, now: Duration) {
        if let Some(count) = step.safe() {
            self.count = count;
        }
        self.measure(Step::Known(Direction::Larger), now);
    }

    fn keep(&mut self, kept: Kept, load: &Load) {
        let now = load.now;
        (self.count, self.next) = (kept.count, kept.next);
        self.rest = if kept.moved { FIRST_REST } else { (self.rest * 2).min(LONGEST_REST) };
        let mut until = now + self.rest;
        if self.first_search == FirstSearch::Hasty {
            (self.next, until) = (Direction::Check, now + CHECK_AFTER + load.latency() * 10);
        }
        self.first_search = FirstSearch::Over;
        self.mode = Mode::Resting { until };
    }
}

#[cfg(test)]
mod tests;
