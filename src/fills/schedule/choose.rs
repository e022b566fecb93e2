//! Chooses the segment for one more connection.

use std::time::Duration;

use super::connection::{ActiveConnection, Assignment};
use super::plan::Reading;
use super::scheduler::{Needs, Scheduler};
use super::tail::{LEAST_BYTES, Runner, divide};
use crate::oci::Span;

/// No segment is shorter than this, unless less is left for each connection.
const SHORT_SEGMENT: u64 = 1 << 20;
/// A segment lasts about this many seconds, if `longest` and the latency allow it.
const SEGMENT_SECONDS: f64 = 2.0;
/// A segment lasts at least this many seconds, even if it is longer than configured: each request costs the upstream and this
/// server some work, and a fast connection would send many of them.
const LEAST_SECONDS: f64 = 0.5;
/// A segment lasts at least this many times as long as the wait for its first byte, so that the wait costs little: 5 %,
/// or half of that if no other connection uses the link meanwhile.
const SEGMENT_WAITS: f64 = 20.0;
/// The first segment of a fill is at most this part of the blob, if nothing is known of its endpoint. So it does not end later than
/// the segments of all connections that may follow.
const LIKELY_CONNECTIONS: u64 = 16;
/// The rate of a connection that is assumed until one has been measured, in bytes per second.
const UNKNOWN_RATE: f64 = 1_048_576.0;
/// An endpoint whose connections are this many times slower than those of the fastest endpoint is of no use …
const USELESS: f64 = 32.0;
/// … but is tried again after this time, since it may have become faster.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// A wanted byte is taken over from its connection if that brings it this many times sooner, …
const SOONER: f64 = 2.0;
/// … and at least this many seconds sooner.
const SOONER_SECONDS: f64 = 0.25;

/// A segment that a connection should fetch.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub span: Span,
    pub bounded: bool,
    /// The index of the connection whose segment ends where this one begins.
    pub owner: Option<usize>,
}

impl Scheduler {
    pub(super) fn choose(&self, endpoint: usize, needs: &Needs<'_>) -> Option<Choice> {
        let reading = Reading { arrived: needs.arrived, wanted: needs.wanted };
        if self.plan.has_no_choice(&reading) {
            let (span, bounded) = self.plan.only_segment(&reading)?;
            return Some(Choice { span, bounded, owner: None });
        }
        let useless = self.is_useless(endpoint, needs.now);
        let probed = self.endpoints[endpoint].probed;
        if useless && probed.is_some_and(|at| needs.now.saturating_sub(at) < PROBE_AFTER) {
            return None;
        }
        if let Some(overdue) = self.overdue(endpoint, needs).filter(|_| !useless) {
            return Some(overdue);
        }
        let size = self.plan.size?;
        let Some(free) = self.plan.next_free(&reading, size) else { return self.tail(endpoint, needs) };
        let length = if useless { LEAST_BYTES } else { self.length(endpoint, needs, size) };
        Some(Choice { span: Span { end: free.end.min(free.start + length), ..free }, bounded: true, owner: None })
    }

    /// Returns the length of the next segment of an endpoint.
    fn length(&self, endpoint: usize, needs: &Needs<'_>, size: u64) -> u64 {
        let latency = self.endpoints[endpoint].pace.latency();
        let known = self.measured_rate(endpoint, needs.now).is_some();
        let rate = self.rate(endpoint, needs);
        // While nothing is known, segments are long: if they turn out to be too long, others take over their ends. But
        // if answers are late, each further request costs a wait.
        let usual = match known {
            true => {
                let usual = ((rate * SEGMENT_SECONDS) as u64).clamp(SHORT_SEGMENT.min(self.segment), self.segment);
                usual.max((rate * LEAST_SECONDS) as u64)
            }
            false if self.plan.active.is_empty() => self.segment.min((size / LIKELY_CONNECTIONS).max(SHORT_SEGMENT)),
            false => self.segment,
        };
        let alone = if needs.connections <= 1 { 2.0 } else { 1.0 };
        let length = usual.max((rate * latency * SEGMENT_WAITS * alone) as u64);
        // A segment shorter than the wait for its first byte would bring less than it costs.
        let shortest = ((rate * latency / 2.0) as u64).max(SHORT_SEGMENT / 4);
        length.min(self.fair_length(needs, size, Runner { wait: latency, rate }).max(shortest))
    }

    /// Returns the length with which a new connection ends at the same time as all others, if each gets a part of what
    /// is free.
    fn fair_length(&self, needs: &Needs<'_>, size: u64, new: Runner) -> u64 {
        let owners = self.plan.active.iter().map(|other| (self.owner(other, needs), other.left()));
        let further = needs.connections.saturating_sub(self.plan.active.len()).max(1) as f64;
        let free = self.plan.free_bytes(needs.arrived, size) as f64;
        let begin = (further * new.rate, free + further * new.rate * new.wait);
        let (rate, work) = owners.fold(begin, |(rate, work), (owner, left)| {
            (rate + owner.rate, work + left as f64 + owner.rate * owner.wait)
        });
        (new.rate * (work / rate - new.wait).max(0.0)) as u64
    }

    /// Finds a wanted byte that a connection to this endpoint would bring much sooner than the connection that fetches
    /// it.
    pub(super) fn overdue(&self, endpoint: usize, needs: &Needs<'_>) -> Option<Choice> {
        let size = self.plan.size.filter(|_| self.is_by_ranges())?;
        let free = self.runner(endpoint, needs);
        needs.wanted.iter().find_map(|wanted| {
            let within = Span { start: wanted.start, end: wanted.end.min(size).max(wanted.start) };
            let byte = needs.arrived.first_missing(within)?.start;
            let holds = |other: &ActiveConnection| {
                let Assignment { span, bounded, .. } = other.assignment;
                bounded && other.is_known(needs.now) && (span.start..span.end).contains(&byte)
            };
            let at = self.plan.active.iter().position(holds)?;
            let other = &self.plan.active[at];
            let before = byte.saturating_sub(other.position);
            let (late, soon) = (self.owner(other, needs).time(before + LEAST_BYTES), free.time(LEAST_BYTES));
            let worth = before >= LEAST_BYTES && late >= soon * SOONER && late >= soon + SOONER_SECONDS;
            let span = Span { start: byte, end: other.assignment.span.end };
            worth.then_some(Choice { span, bounded: true, owner: Some(at) })
        })
    }

    /// Takes over the end of the segment that would end last.
    fn tail(&self, endpoint: usize, needs: &Needs<'_>) -> Option<Choice> {
        let known =
            |other: &ActiveConnection| other.assignment.bounded && other.left() > 0 && other.is_known(needs.now);
        let bounded = self.plan.active.iter().enumerate().filter(|(_, other)| known(other));
        let end = |other: &ActiveConnection| self.owner(other, needs).time(other.left());
        let (at, last) = bounded.max_by(|(_, a), (_, b)| end(a).total_cmp(&end(b)))?;
        let taken = divide(last.left(), self.owner(last, needs), self.runner(endpoint, needs))?;
        let end = last.assignment.span.end;
        Some(Choice { span: Span { start: end - taken, end }, bounded: true, owner: Some(at) })
    }

    /// Returns the wait and the rate of the connection that fetches a segment.
    fn owner(&self, connection: &ActiveConnection, needs: &Needs<'_>) -> Runner {
        let wait = connection.wait(&self.endpoints[connection.endpoint].pace, needs.now);
        Runner { wait, rate: self.expected(connection, needs) }
    }

    /// Returns the wait and the rate that a new connection to an endpoint would probably have.
    fn runner(&self, endpoint: usize, needs: &Needs<'_>) -> Runner {
        Runner { wait: self.endpoints[endpoint].pace.latency(), rate: self.rate(endpoint, needs) }
    }

    fn expected(&self, connection: &ActiveConnection, needs: &Needs<'_>) -> f64 {
        connection.rate(needs.now).unwrap_or_else(|| self.rate(connection.endpoint, needs))
    }

    pub(super) fn is_useless(&self, endpoint: usize, now: Duration) -> bool {
        let others = (0..self.endpoints.len()).filter(|other| !self.endpoints[*other].out_of_order);
        let fastest = others.filter_map(|other| self.measured_rate(other, now)).fold(0.0, f64::max);
        self.measured_rate(endpoint, now).is_some_and(|rate| rate * USELESS < fastest)
    }

    /// Returns the rate of a new connection to an endpoint, as far as it can be expected. If only slow connections are
    /// left, it is the rate of earlier ones. An endpoint of which nothing is known is as fast as the others.
    pub(super) fn rate(&self, endpoint: usize, needs: &Needs<'_>) -> f64 {
        let others = || {
            let rates = (0..self.endpoints.len()).filter_map(|other| self.measured_rate(other, needs.now));
            let fastest = rates.fold(0.0, f64::max);
            if fastest > 0.0 { fastest } else { UNKNOWN_RATE }
        };
        let earlier = self.endpoints[endpoint].pace.rate().unwrap_or(0.0);
        self.measured_rate(endpoint, needs.now).map_or_else(others, |rate| rate.max(earlier))
    }

    /// Returns the median rate of an endpoint's connections; if there is none, that of earlier connections.
    pub fn measured_rate(&self, endpoint: usize, now: Duration) -> Option<f64> {
        let active = self.plan.active.iter().filter(|connection| connection.endpoint == endpoint);
        super::watch::median(active.filter_map(|connection| connection.rate(now)).collect())
            .or(self.endpoints[endpoint].pace.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fills::schedule::pace::EndpointPace;
    use crate::store::Extents;

    const MB: u64 = 1_000_000;

    /// A transfer from an endpoint of 10 MB/s and one of 100 kB/s.
    fn unequal() -> Scheduler {
        let paces = [10 * MB, MB / 10].map(|rate| {
            let mut pace = EndpointPace::default();
            pace.transferred(rate as f64, MB);
            pace
        });
        Scheduler::new(Some(100 * MB), 8 << 20, paces.into())
    }

    fn needs(arrived: &Extents, seconds: u64) -> Needs<'_> {
        Needs { arrived, wanted: &[], connections: 2, now: Duration::from_secs(seconds) }
    }

    #[test]
    fn useless_endpoint_is_used_while_the_fast_one_is_out_of_order() {
        let (mut scheduler, arrived) = (unequal(), Extents::default());
        assert_eq!(scheduler.choose(1, &needs(&arrived, 0)).unwrap().span.end, LEAST_BYTES);
        scheduler.set_out_of_order(|endpoint| endpoint == 0);
        assert!(scheduler.choose(1, &needs(&arrived, 0)).unwrap().span.end >= SHORT_SEGMENT / 4);
    }

    #[test]
    fn endpoint_that_was_useless_is_used_again_after_a_fast_probe() {
        for (millis, is_used) in [(10, true), (240, true), (700, false)] {
            let (mut scheduler, arrived) = (unequal(), Extents::default());
            let probe = scheduler.take(1, &needs(&arrived, 0)).unwrap();
            scheduler.answered(probe.ticket, Duration::ZERO);
            let now = Duration::from_millis(millis);
            scheduler.received(probe.ticket, LEAST_BYTES, now);
            scheduler.release(probe.ticket, now);
            let next = scheduler.choose(1, &needs(&arrived, 1));
            assert_eq!(next.is_some_and(|next| next.span.end > LEAST_BYTES), is_used, "{millis} ms");
        }
    }

    #[test]
    fn segment_that_was_chosen_before_the_size_was_known_is_divided_within_the_blob() {
        let mut scheduler = Scheduler::new(None, 1 << 20, vec![EndpointPace::default()]);
        let (nothing, mut arrived, size) = (Extents::default(), Extents::default(), 2 * MB);
        let wanted = [Span { start: 1_400_000, end: u64::MAX }];
        let needs =
            |arrived, seconds| Needs { arrived, wanted: &wanted, connections: 4, now: Duration::from_secs(seconds) };
        let first = scheduler.take(0, &needs(&nothing, 0)).unwrap();
        assert!(first.bounded && first.span.end > size);
        scheduler.answered(first.ticket, Duration::ZERO);
        scheduler.set_size(size);
        arrived.insert(Span { start: 1_400_000, end: 1_500_000 });
        scheduler.received(first.ticket, 1_500_000, Duration::from_secs(1));
        while let Some(next) = scheduler.take(0, &needs(&arrived, 1)) {
            assert!(next.span.start < next.span.end && next.span.end <= size, "{next:?}");
        }
        assert!(scheduler.end_of(first) < size, "its tail was taken");
    }
}
