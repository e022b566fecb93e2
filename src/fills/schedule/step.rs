//! One step of the search for the best number of connections: what the measured throughput says, and which number is
//! tried next.

/// A larger number is kept if it brings this part of what it would bring at best.
const WORTHWHILE: f64 = 0.45;
/// A short measurement is clear if the larger number brings this part.
const CLEAR: f64 = 0.75;
/// A link whose throughput grows by less than this, when the number of connections doubles, is full and not shared with
/// other transfers.
const FULL: f64 = 0.05;
/// On such a link, the smallest number is used that brings this part of the throughput.
const ENOUGH: f64 = 0.97;

/// The number that is being measured now, and the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The present number, before others are tried.
    Known(Direction),
    /// A larger number than `from`, which brought `rate`. `origin` is the number at the beginning of the search.
    Up { from: usize, rate: f64, origin: usize },
    /// A smaller number than `from`, which brought `rate`.
    Down { from: usize, rate: f64, origin: usize, link: Sharing },
}

/// The numbers that a search tries first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Direction {
    Larger,
    Smaller,
    /// Smaller ones, as if other transfers shared the link.
    Check,
}

/// Whether other transfers seem to share the link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sharing {
    Shared,
    /// The link is full, and no other transfer takes a part of it.
    Alone,
}

/// A number of connections, and the throughput that it brought.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub count: usize,
    pub rate: f64,
    /// The largest number that is allowed.
    pub most: usize,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Measures this number next.
    Try(usize, Step),
    /// Ends the search.
    Keep(Kept),
}

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub count: usize,
    /// True if the number differs from the one at the beginning of the search.
    pub moved: bool,
    /// The beginning of the next search.
    pub next: Direction,
}

impl Step {
    /// Returns the number to go back to if the present one cannot be measured.
    pub fn safe(self) -> Option<usize> {
        match self {
            Self::Known(_) => None,
            Self::Up { from, .. } | Self::Down { from, .. } => Some(from),
        }
    }

    /// Decides what follows from the throughput of the present number.
    pub fn judge(self, trial: Trial) -> Verdict {
        match self {
            Self::Known(Direction::Larger) => rise(trial, trial.count),
            Self::Known(Direction::Smaller) => sink(trial, trial.count, Sharing::Alone),
            Self::Known(Direction::Check) => sink(trial, trial.count, Sharing::Shared),
            Self::Up { from, rate, origin } => risen(trial, Trial { count: from, rate, ..trial }, origin),
            Self::Down { from, rate, origin, link } => sunk(trial, Trial { count: from, rate, ..trial }, origin, link),
        }
    }

    /// Decides after a short measurement of the present number, if its result is clear already.
    pub fn judge_early(self, trial: Trial) -> Option<Verdict> {
        let is_clear = match self {
            Self::Known(direction) => direction == Direction::Larger,
            Self::Up { from, rate, .. } => part_of_best(trial, Trial { count: from, rate, ..trial }) >= CLEAR,
            Self::Down { .. } => false,
        };
        is_clear.then(|| self.judge(trial))
    }
}

fn keep(count: usize, origin: usize, next: Direction) -> Verdict {
    Verdict::Keep(Kept { count, moved: count != origin, next })
}

/// Tries twice the number.
fn rise(known: Trial, origin: usize) -> Verdict {
    let more = (known.count * 2).min(known.most);
    if more > known.count {
        return Verdict::Try(more, Step::Up { from: known.count, rate: known.rate, origin });
    }
    // Each connection was worth it when it was added, so the number is kept, unless it was there from the beginning.
    if known.count == origin {
        sink(known, origin, Sharing::Shared)
    } else {
        keep(known.count, origin, Direction::Larger)
    }
}

/// Tries a smaller number: three quarters, or half if the link is shared, since others wait for their part of it.
fn sink(known: Trial, origin: usize, link: Sharing) -> Verdict {
    let less = match link {
        Sharing::Shared if known.count < known.most => known.count / 2,
        Sharing::Shared | Sharing::Alone => known.count * 3 / 4,
    };
    match less {
        0 => keep(known.count, origin, Direction::Larger),
        less => Verdict::Try(less, Step::Down { from: known.count, rate: known.rate, origin, link }),
    }
}

fn risen(tried: Trial, before: Trial, origin: usize) -> Verdict {
    if is_worth(tried, before) {
        return rise(tried, origin);
    }
    let gain = tried.rate / before.rate.max(1.0) - 1.0;
    let middle = before.count + before.count / 2;
    let could_be = gain >= WORTHWHILE * (middle as f64 / before.count as f64 - 1.0);
    if middle > before.count && middle < tried.count && could_be {
        return Verdict::Try(middle, Step::Up { from: before.count, rate: before.rate, origin });
    }
    match gain {
        // Twice the number brought more, and half as much again did not: others take their part of the link.
        _ if middle == tried.count => sink(before, origin, Sharing::Shared),
        // No other transfer waits for a part of the link, so a smaller number can be tried later.
        ..FULL => keep(before.count, origin, Direction::Smaller),
        _ => sink(before, origin, Sharing::Shared),
    }
}

fn sunk(tried: Trial, before: Trial, origin: usize, link: Sharing) -> Verdict {
    let enough = match link {
        Sharing::Alone => tried.rate >= before.rate * ENOUGH,
        Sharing::Shared => !is_worth(before, tried),
    };
    if enough {
        // The rate of the full link stays the measure, so that small losses do not add up.
        let rate = if link == Sharing::Alone { before.rate.max(tried.rate) } else { tried.rate };
        return sink(Trial { rate, ..tried }, origin, link);
    }
    let middle = before.count * 3 / 4;
    if middle > tried.count {
        return Verdict::Try(middle, Step::Down { from: before.count, rate: before.rate, origin, link });
    }
    keep(before.count, origin, Direction::Larger)
}

/// Returns true if the larger of two numbers brings enough more than the smaller one.
fn is_worth(larger: Trial, smaller: Trial) -> bool {
    part_of_best(larger, smaller) >= WORTHWHILE
}

/// Returns the additional throughput of the larger of two numbers, as a part of the additional throughput that it would
/// have at best.
fn part_of_best(larger: Trial, smaller: Trial) -> f64 {
    let gain = larger.rate / smaller.rate.max(1.0) - 1.0;
    gain / (larger.count as f64 / smaller.count as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches three times on a link of this throughput for each number, from `count` on. Returns the numbers that
    /// were measured, and the one that was kept.
    fn search(count: usize, rate: impl Fn(f64) -> f64) -> (Vec<usize>, usize) {
        let (mut count, mut step, mut tried) = (count, Step::Known(Direction::Larger), Vec::new());
        let mut searches = 0;
        loop {
            tried.push(count);
            match step.judge(Trial { count, rate: rate(count as f64) * 1e6, most: 16 }) {
                Verdict::Try(next, then) => (count, step) = (next, then),
                Verdict::Keep(kept) if searches == 2 => return (tried, kept.count),
                Verdict::Keep(kept) => (count, step, searches) = (kept.count, Step::Known(kept.next), searches + 1),
            }
        }
    }

    #[test]
    fn search_ends_at_the_number_that_the_link_is_worth() {
        type Rate = fn(f64) -> f64;
        let table: &[(&str, usize, Rate, usize)] = &[
            ("each connection is slow", 4, |n| n, 16),
            ("each connection is slow, from the most on", 16, |n| n, 16),
            ("one connection fills the link", 4, |_| 5.0, 1),
            ("one connection fills the link, which was full with one", 1, |_| 5.0, 1),
            ("five connections fill the link", 4, |n| n.min(5.0), 6),
            ("two connections fill the link", 8, |n| n.min(2.0), 2),
            ("six connections fill the link", 16, |n| n.min(6.0), 6),
            ("one other transfer shares the link", 4, |n| n / (n + 1.0), 1),
            ("one other transfer shares the link, from the most on", 16, |n| n / (n + 1.0), 1),
            ("one other transfer shares the link, from one on", 1, |n| n / (n + 1.0), 1),
            ("three other transfers share the link", 4, |n| n / (n + 3.0), 3),
            ("each is slow, beside another transfer", 4, |n| (n * 0.1).min(n / (n + 1.0)), 8),
        ];
        for (name, from, rate, want) in table {
            let (tried, found) = search(*from, rate);
            assert_eq!(found, *want, "{name}: {tried:?}");
        }
    }
}
