//! Finds connections that should be replaced, because they are silent or slow while others are not.

use std::time::Duration;

use super::connection::ActiveConnection;
use super::pace::EndpointPace;
use super::plan::{Delivery, Plan};

/// A connection whose answer has begun is stalled if it brings nothing for this long, while the others bring at least
/// as much as it would have brought, …
const STALLED_AFTER: Duration = Duration::from_secs(3);
/// … or at least this many bytes.
const ENOUGH: u64 = 1 << 20;
/// A connection is slow if its rate is below the rate of its peers divided by this number.
const SLOW: f64 = 4.0;
/// As [`SLOW`], for the comparison with earlier connections. They may have had more of the link. But they count, since
/// slow connections last longer, so that many of the present ones may be slow.
const SLOW_EARLIER: f64 = 8.0;
/// A connection is compared with its peers after this time. The time doubles for each new connection that turns out to
/// be slow too, up to [`COMPARED_AFTER_AT_MOST`].
const COMPARED_AFTER: Duration = Duration::from_secs(2);
const COMPARED_AFTER_AT_MOST: Duration = Duration::from_secs(16);
/// A slow connection that ends within this time anyway is not replaced.
const SOON: f64 = 2.0;
/// A segment that will last longer than this many seconds, or than this many waits for its first byte, lasts far longer
/// than it was planned for. Its connection may be slow although there is no other one to compare it with, so another
/// connection is tried …
const LONG: f64 = 20.0;
const LONG_WAITS: f64 = 80.0;
/// … after this time. The time doubles with each trial: if all connections are slow, trials cost little.
const TRIAL_AFTER: Duration = Duration::from_secs(5);
/// If the next connection would begin again at the first byte, there are no more trials than this.
const TRIALS_FROM_THE_BEGINNING: u32 = 2;
/// A blob of unknown size counts as if this many bytes of it were left.
const UNKNOWN_LEFT: u64 = 1 << 20;

/// The reason to replace a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It has brought nothing for this time.
    Stalled(Duration),
    /// Another connection brings the whole blob.
    Superfluous,
    /// Its rate, and the least rate that was expected of it, in bytes per second.
    Slow { rate: f64, expected: f64 },
}

/// Tells whether this server itself limits the rate at which bytes arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    #[default]
    Unlimited,
    /// All connections share a limit, so a low rate says nothing about a connection. Only its peers do, which have the same
    /// limit at the same time.
    Limited,
}

/// Watches the connections of one transfer.
#[derive(Debug, Default)]
pub struct Watch {
    pub link: LinkState,
    /// The time of the last replacement.
    replaced: Duration,
    /// The number of new connections in a row that turned out to be slow.
    slow_in_a_row: u32,
    /// The time of the last trial of another connection, and the number of trials.
    tried: Duration,
    trials: u32,
}

impl Watch {
    /// Returns the connections that should be replaced. `total` is the number of bytes that all have brought.
    pub fn faults(&mut self, plan: &mut Plan, paces: &[EndpointPace], total: u64, now: Duration) -> Vec<(u64, Fault)> {
        let compared_after = COMPARED_AFTER.saturating_mul(1 << self.slow_in_a_row.min(4)).min(COMPARED_AFTER_AT_MOST);
        let mut faults = Vec::new();
        for at in 0..plan.active.len() {
            let ticket = plan.active[at].assignment.ticket;
            if plan.only.is_some_and(|only| only != ticket) {
                faults.push((ticket, Fault::Superfluous));
                continue;
            }
            if plan.active[at].paused {
                continue;
            }
            if let Some(stalled) = stalled(&plan.active[at], total, now) {
                faults.push((ticket, Fault::Stalled(stalled)));
                continue;
            }
            let old = plan.active[at].meter.is_some_and(|meter| meter.age(now) >= compared_after);
            if !old || plan.delivery != Delivery::Ranges || !plan.active[at].assignment.bounded {
                continue;
            }
            let slow = slow(plan, at, self.earlier(paces, plan.active[at].endpoint), now);
            let first_time = !std::mem::replace(&mut plan.active[at].compared, true);
            let new = plan.active[at].opened >= self.replaced;
            self.slow_in_a_row = match slow {
                Some(_) if new => self.slow_in_a_row + 1,
                None if first_time && new => 0,
                _ => self.slow_in_a_row,
            };
            if slow.is_some() {
                self.replaced = now;
            }
            faults.extend(slow.map(|slow| (ticket, slow)));
        }
        if faults.is_empty() && self.link == LinkState::Unlimited {
            faults.extend(self.trial(plan, paces, now));
        }
        faults
    }

    /// Returns the rate of earlier connections to an endpoint, if the present ones can be compared with it.
    fn earlier(&self, paces: &[EndpointPace], endpoint: usize) -> Option<f64> {
        match self.link {
            LinkState::Unlimited => paces[endpoint].rate(),
            LinkState::Limited => None,
        }
    }

    /// Returns the connection whose segment ends last, if that is so late that another connection should be tried.
    fn trial(&mut self, plan: &Plan, paces: &[EndpointPace], now: Duration) -> Option<(u64, Fault)> {
        let tried_after = TRIAL_AFTER.saturating_mul(1 << self.trials.min(16));
        let is_from_the_beginning = plan.delivery == Delivery::Whole || plan.size.is_none();
        let is_over = is_from_the_beginning && self.trials >= TRIALS_FROM_THE_BEGINNING;
        if is_over || now.saturating_sub(self.tried) < tried_after {
            return None;
        }
        let lasting = |connection: &ActiveConnection| {
            let is_old = connection.meter.is_some_and(|meter| meter.age(now) >= tried_after);
            let rate = connection.rate(now).filter(|_| is_old && !connection.paused)?;
            let left = plan.size.map_or(UNKNOWN_LEFT, |size| {
                connection.assignment.span.end.min(size).saturating_sub(connection.position)
            });
            let limit = LONG.max(paces[connection.endpoint].latency() * LONG_WAITS);
            let lasts = left as f64 / rate.max(1.0);
            let slow = Fault::Slow { rate, expected: left as f64 / limit };
            (lasts > limit).then_some((lasts, connection.assignment.ticket, slow))
        };
        let (_, ticket, slow) = plan.active.iter().filter_map(lasting).max_by(|a, b| a.0.total_cmp(&b.0))?;
        (self.tried, self.trials) = (now, self.trials + 1);
        Some((ticket, slow))
    }
}

/// Returns the time for which a connection has been silent, if it is stalled.
fn stalled(connection: &ActiveConnection, total: u64, now: Duration) -> Option<Duration> {
    let meter = connection.meter?;
    let (last, total_then) = connection.last;
    let silence = now.saturating_sub(last);
    let until_then = last.saturating_sub(now.saturating_sub(meter.age(now)));
    let usual = connection.received as f64 / until_then.as_secs_f64().max(0.5);
    let missed = ((usual * silence.as_secs_f64()) as u64).clamp(1, ENOUGH);
    (silence >= STALLED_AFTER && total.saturating_sub(total_then) >= missed).then_some(silence)
}

/// Compares the rate of a connection with that of the other connections to its endpoint, and of earlier ones.
fn slow(plan: &Plan, at: usize, earlier: Option<f64>, now: Duration) -> Option<Fault> {
    let connection = &plan.active[at];
    let rate = connection.rate(now)?;
    let is_peer = |other: &&ActiveConnection| {
        let is_other = other.assignment.ticket != connection.assignment.ticket;
        is_other && other.endpoint == connection.endpoint
    };
    let rates = plan.active.iter().filter(is_peer).filter_map(|other| other.rate(now)).collect();
    let earlier = earlier.unwrap_or(0.0) / SLOW_EARLIER;
    let peers = median(rates).unwrap_or(0.0) / SLOW;
    let lasts = connection.left() as f64 / rate.max(1.0);
    let expected = peers.max(earlier);
    (rate < expected && lasts > SOON).then_some(Fault::Slow { rate, expected })
}

/// Returns the upper median.
pub fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fills::schedule::{Needs, Scheduler};
    use crate::store::Extents;

    /// Runs four equally slow connections to an endpoint that was fast before. Returns the number of those that are replaced.
    fn replaced(link: LinkState) -> usize {
        let mut pace = EndpointPace::default();
        pace.transferred(10_000_000.0, 100_000_000);
        let mut scheduler = Scheduler::new(Some(1 << 30), 8 << 20, vec![pace]);
        scheduler.observe_link(link);
        let ms = Duration::from_millis;
        let mut replaced = 0;
        for at in 0..4 {
            let needs = Needs { arrived: &Extents::default(), wanted: &[], connections: 4, now: ms(at) };
            let assignment = scheduler.take(0, &needs).unwrap();
            scheduler.answered(assignment.ticket, ms(at));
            for tick in 1..=60 {
                let position = assignment.span.start + tick * 5_000;
                scheduler.received(assignment.ticket, position, ms(at + tick * 100));
                replaced += scheduler.faults(ms(at + tick * 100)).len();
            }
        }
        replaced
    }

    #[test]
    fn connections_over_a_limited_link_are_not_compared_with_earlier_ones() {
        assert!(replaced(LinkState::Unlimited) > 0);
        assert_eq!(replaced(LinkState::Limited), 0);
    }
}
