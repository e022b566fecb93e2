//! The number of connections to one host.
//!
//! More connections are worth it only while each brings more bytes. On a link that other transfers share, a further
//! connection also brings more, but at their cost. The two cases differ: with `n` connections that a server limits one
//! by one, a further one adds an `n`-th to the throughput. With `n` connections beside one other transfer, it adds only
//! the part `1 / (n + 2)` of that. So a larger number is kept if it brings about half of what it would bring
//! at best, and a smaller number is tried too, and judged in the same way.

use std::time::Duration;

use super::step::{Direction, Kept, Step, Trial, Verdict};
use crate::config::FillConnections;

/// `auto` begins with this many connections.
const INITIAL: usize = 4;
/// `auto` never uses more connections than this.
const MAX: usize = 16;
/// A number of connections is measured for at least this long, and for twice the time to the first byte …
const MEASURED: Duration = Duration::from_millis(500);
/// … after all connections have had this time to reach their rate, and the time to the first byte.
const RAMP: Duration = Duration::from_millis(200);
/// A measurement that has not begun or ended after this time, and ten times the time to the first byte, is given up.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// The wait before the next search. It doubles with each search that ends where it began.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The wait before one of the connections that were given up after a refusal is tried again. It doubles if that leads to
/// another refusal.
const RECOVERY: Duration = Duration::from_millis(500);
const LONGEST_RECOVERY: Duration = Duration::from_secs(30);

/// The number of connections to one host, and the search for a better one.
#[derive(Debug)]
pub struct Concurrency {
    count: usize,
    most: usize,
    mode: Mode,
    /// The end of the last refusal, and the number of connections before it.
    refused: Option<Refusal>,
    rest: Duration,
    /// The beginning of the next search.
    next: Direction,
}

/// The load of a host at one time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub now: Duration,
    /// The bytes that all connections have brought since the beginning.
    pub bytes: u64,
    /// The time that all connections have been receiving, all together, since the beginning.
    pub busy: Duration,
    /// The number of open connections.
    pub open: usize,
    /// The number of open connections whose answer has begun.
    pub receiving: usize,
    /// The time to the first byte, in seconds.
    pub latency: f64,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Fixed,
    /// The number is measured: first until all connections are in use, then for a while.
    Measuring {
        step: Step,
        since: Duration,
        begun: Option<Window>,
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

/// A measurement.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Duration,
    /// The bytes and the time of receiving by then. `None` before that time.
    load: Option<(u64, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// The time at which it was noticed.
    at: Duration,
    /// The number of connections before it.
    before: usize,
    /// The wait before the next larger number.
    wait: Duration,
    /// True once the number has grown since.
    regrown: bool,
    /// True once a request that began after it was answered.
    over: bool,
}

impl Concurrency {
    /// Begins with the number that the configuration names. `most` limits it.
    pub fn new(connections: FillConnections, most: usize) -> Self {
        let begin = Mode::Measuring { step: Step::Known(Direction::Larger), since: Duration::ZERO, begun: None };
        let (count, mode) = match connections {
            FillConnections::Auto => (INITIAL.min(most), begin),
            FillConnections::Fixed(count) => (count.min(most), Mode::Fixed),
        };
        Self { count, most: most.min(MAX), mode, refused: None, rest: FIRST_REST, next: Direction::Larger }
    }

    /// Returns the number of connections to use now.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns true if the number is the configured one.
    pub fn is_fixed(&self) -> bool {
        matches!(self.mode, Mode::Fixed)
    }

    /// Looks at the load, and changes the number if it is time to. Must be called several times a second while
    /// connections are open.
    pub fn observe(&mut self, load: &Load) {
        match self.mode {
            Mode::Fixed => {}
            Mode::Resting { until } if load.now < until => {}
            Mode::Resting { .. } => self.measure(Step::Known(self.next), load.now),
            Mode::Recovering { next } => self.recover(next, load.now),
            Mode::Measuring { step, since, begun } => self.watch(load, step, since, begun),
        }
    }

    /// Records that a request which began at `opened` was refused, as an upstream does that has too many. Requests
    /// that began before an earlier refusal was noticed belong to that one.
    pub fn refused(&mut self, opened: Duration, now: Duration) {
        let last = self.refused;
        if self.is_fixed() || last.is_some_and(|last| opened <= last.at) {
            return;
        }
        let ongoing = last.filter(|_| matches!(self.mode, Mode::Recovering { .. }));
        let again =
            last.filter(|last| last.regrown && now.saturating_sub(last.at) < LONGEST_RECOVERY.saturating_mul(2));
        let wait = again.map_or(ongoing.map_or(RECOVERY, |last| last.wait), |last| last.wait.saturating_mul(2));
        let wait = wait.min(LONGEST_RECOVERY);
        let before = ongoing.map_or(self.count, |last| last.before.max(self.count));
        self.refused = Some(Refusal { at: now, before, wait, regrown: false, over: false });
        self.count = (self.count * 3 / 4).max(1);
        self.mode = Mode::Recovering { next: now + wait };
    }

    /// Records that a request which began at `opened` was answered.
    pub fn answered(&mut self, opened: Duration) {
        if let Some(refused) = &mut self.refused {
            refused.over |= opened > refused.at;
        }
    }

    fn recover(&mut self, next: Duration, now: Duration) {
        let Some(refused) = self.refused.as_mut() else { return self.measure(Step::Known(Direction::Larger), now) };
        if !refused.over || now < next {
            return;
        }
        refused.regrown = true;
        self.count = (self.count * 2).min(refused.before);
        self.mode = match self.count >= refused.before {
            true => Mode::Resting { until: now + FIRST_REST },
            false => Mode::Recovering { next: now + refused.wait },
        };
    }

    fn measure(&mut self, step: Step, now: Duration) {
        self.mode = Mode::Measuring { step, since: now, begun: None };
    }

    fn watch(&mut self, load: &Load, step: Step, since: Duration, begun: Option<Window>) {
        let latency = Duration::from_secs_f64(load.latency.clamp(0.0, 60.0));
        let ready = load.open == self.count && load.receiving == self.count;
        let begun = match begun {
            // Some connections had no work: this says nothing about the link.
            Some(_) if load.open != self.count => None,
            Some(window) if window.load.is_none() && load.now >= window.from => {
                Some(Window { from: load.now, load: Some((load.bytes, load.busy)) })
            }
            Some(window) => Some(window),
            None => ready.then_some(Window { from: load.now + RAMP + latency, load: None }),
        };
        self.mode = Mode::Measuring { step, since, begun };
        let length = MEASURED.max(latency * 2);
        match begun {
            Some(Window { from, load: Some((bytes, busy)) }) if load.now >= from + length => {
                // The time in which connections wait for answers does not count: it depends on chance.
                let busy = load.busy.saturating_sub(busy).as_secs_f64().max(0.001);
                self.judge(step, (load.bytes - bytes) as f64 / busy * self.count as f64, load.now);
            }
            _ if load.now.saturating_sub(since) >= GIVEN_UP + latency * 10 => self.give_up(step, load.now),
            _ => {}
        }
    }

    /// Acts on the throughput of the present number.
    fn judge(&mut self, step: Step, rate: f64, now: Duration) {
        match step.judge(Trial { count: self.count, rate, most: self.most }) {
            Verdict::Try(count, step) => {
                self.count = count;
                self.measure(step, now);
            }
            Verdict::Keep(kept) => self.keep(kept, now),
        }
    }

    fn give_up(&mut self, step: Step, now: Duration) {
        if let Some(count) = step.safe() {
            self.count = count;
        }
        self.measure(Step::Known(Direction::Larger), now);
    }

    fn keep(&mut self, kept: Kept, now: Duration) {
        (self.count, self.next) = (kept.count, kept.next);
        self.rest = if kept.moved { FIRST_REST } else { (self.rest * 2).min(LONGEST_REST) };
        self.mode = Mode::Resting { until: now + self.rest };
    }
}
