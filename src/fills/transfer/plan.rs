//! Decides which segment of a blob the next connection fetches. The plan does no input or output: its caller passes in
//! which bytes have arrived and which are wanted.

use crate::oci::Span;
use crate::store::Extents;

/// A blob of up to this size is fetched by one connection. More connections would cost more than they save.
const SINGLE_UP_TO: u64 = 4 << 20;

/// No segment is shorter than this, unless less is missing: each request costs a round trip.
const MIN_SEGMENT: u64 = 1 << 20;

/// The length of the first request for a blob of unknown size. The answer tells the size, and then further connections
/// begin.
const FIRST_SEGMENT: u64 = 2 << 20;

/// A connection that is at least this far before a wanted byte is too slow: another connection fetches the byte.
const MAX_LAG: u64 = 256 << 10;

/// Connections fetch at most this far ahead of the bytes that have arrived without a gap.
const WINDOW: u64 = 64 << 20;

/// The plan for one blob, and the segments that are being fetched.
#[derive(Debug)]
pub(super) struct Plan {
    size: Option<u64>,
    delivery: Delivery,
    in_order: bool,
    /// The maximum length of a segment.
    segment: u64,
    taken: Vec<Assignment>,
    next_ticket: u64,
}

/// How the upstream delivers the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In segments, to several connections.
    Ranges,
    /// The whole blob from the beginning on, to one connection.
    Whole,
}

/// A segment that one connection fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) ticket: u64,
    pub(super) span: Span,
    /// True if the request names the end of the span. Otherwise it asks for everything from the start on.
    pub(super) bounded: bool,
}

/// The facts that a choice depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs<'a> {
    pub(super) arrived: &'a Extents,
    /// Spans that waiters want, the most urgent first.
    pub(super) wanted: &'a [Span],
    /// The number of connections that the transfer is going to use.
    pub(super) connections: usize,
    /// The number of bytes that this connection transfers in a few seconds, if it is known.
    pub(super) reach: Option<u64>,
}

impl Plan {
    /// Plans a blob of this size. `segment` is the maximum length of a segment.
    pub(super) fn new(size: Option<u64>, segment: u64) -> Self {
        let (delivery, in_order) = (Delivery::Ranges, false);
        Self { size, delivery, in_order, segment, taken: Vec::new(), next_ticket: 0 }
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.size = Some(size);
    }

    /// Returns true if each connection receives the bytes that it asked for, and no others.
    pub(super) fn is_by_ranges(&self) -> bool {
        self.delivery == Delivery::Ranges
    }

    /// While the size is unknown, makes the plan ask for missing bytes from the beginning on, and ignore wanted spans.
    pub(super) fn ask_in_order(&mut self) {
        self.in_order = true;
    }

    pub(super) fn set_delivery(&mut self, delivery: Delivery) {
        self.delivery = delivery;
    }

    /// Returns true if everything has arrived.
    pub(super) fn is_done(&self, arrived: &Extents) -> bool {
        self.size.is_some_and(|size| arrived.total() >= size)
    }

    /// Returns true if a connection is fetching.
    fn is_busy(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Returns true if there is a segment for one more connection.
    pub(super) fn has_work(&self, needs: &Needs<'_>) -> bool {
        self.overtaken(needs).is_some() || self.choose(needs).is_some()
    }

    /// Returns true if a waiter wants bytes that no connection fetches.
    pub(super) fn is_urgent(&self, needs: &Needs<'_>) -> bool {
        let first = |wanted: &Span| self.free(needs, Span { start: wanted.start, end: wanted.start + 1 });
        let untaken = || needs.wanted.iter().any(|wanted| first(wanted).is_some());
        self.delivery == Delivery::Ranges && (untaken() || self.overtaken(needs).is_some())
    }

    /// Takes the next segment to fetch. Returns `None` while there is no work for one more connection.
    pub(super) fn take(&mut self, needs: &Needs<'_>) -> Option<Assignment> {
        let (span, bounded) = match self.overtaken(needs) {
            Some((slow, span)) => {
                self.taken[slow].span.end = span.start;
                (span, true)
            }
            None => self.choose(needs)?,
        };
        let assignment = Assignment { ticket: self.next_ticket, span, bounded };
        self.next_ticket += 1;
        self.taken.push(assignment);
        Some(assignment)
    }

    /// Returns the end of a connection's segment. Another connection may have taken over the rest of it.
    pub(super) fn end_of(&self, assignment: Assignment) -> u64 {
        let taken = self.taken.iter().find(|taken| taken.ticket == assignment.ticket);
        taken.map_or(assignment.span.end, |taken| taken.span.end)
    }

    /// Finds a segment whose connection is still far from a wanted byte. Returns its index in `taken`, and the part of
    /// it that another connection should take over.
    fn overtaken(&self, needs: &Needs<'_>) -> Option<(usize, Span)> {
        let wanted = needs.wanted.iter().filter(|_| self.delivery == Delivery::Ranges);
        wanted.into_iter().find_map(|wanted| {
            let missing = needs.arrived.first_missing(Span { start: wanted.start, end: wanted.start + 1 })?;
            let holds =
                |taken: &Assignment| taken.bounded && (taken.span.start..taken.span.end).contains(&missing.start);
            let at = self.taken.iter().position(holds)?;
            let taken = self.taken[at].span;
            let reached = needs.arrived.end_of(taken.start);
            (missing.start - reached >= MAX_LAG).then_some((at, Span { start: missing.start, end: taken.end }))
        })
    }

    fn choose(&self, needs: &Needs<'_>) -> Option<(Span, bool)> {
        Some(match (self.delivery, self.size) {
            (Delivery::Whole, size) => (self.rest(needs, size)?, false),
            (Delivery::Ranges, Some(size)) if self.is_simple(needs, size) => (self.rest(needs, Some(size))?, false),
            (Delivery::Ranges, Some(size)) => (self.next_segment(needs, size)?, true),
            (Delivery::Ranges, None) => (self.first(needs)?, true),
        })
    }

    /// Returns true if one connection should fetch everything that is missing, because the blob is small.
    fn is_simple(&self, needs: &Needs<'_>, size: u64) -> bool {
        let gaps = needs.arrived.total() > needs.arrived.prefix();
        size <= SINGLE_UP_TO && needs.wanted.is_empty() && !gaps
    }

    /// Records that the upstream sends the whole blob to this connection, whichever range it asked for. Returns false
    /// if other connections are fetching too, since their work would be done twice.
    pub(super) fn takes_all(&mut self, assignment: Assignment) -> bool {
        let alone = self.taken.iter().all(|taken| taken.ticket == assignment.ticket);
        if alone {
            self.delivery = Delivery::Whole;
        }
        alone
    }

    /// Records the end of a connection. The bytes that it did not fetch can be assigned again.
    pub(super) fn release(&mut self, assignment: Assignment) {
        self.taken.retain(|taken| taken.ticket != assignment.ticket);
    }

    /// Returns everything after the bytes that have arrived without a gap, for a single connection.
    fn rest(&self, needs: &Needs<'_>, size: Option<u64>) -> Option<Span> {
        let span = Span { start: needs.arrived.prefix(), end: size.unwrap_or(u64::MAX) };
        // An empty blob has to be requested too, so that its source confirms it.
        (!self.is_busy() && (span.start < span.end || size == Some(0))).then_some(span)
    }

    /// Returns the first segment to request of a blob whose size is unknown.
    fn first(&self, needs: &Needs<'_>) -> Option<Span> {
        let from = |start: u64| Span { start, end: start.saturating_add(self.segment.min(FIRST_SEGMENT)) };
        let wanted = needs.wanted.iter().filter(|_| !self.in_order);
        let wanted = wanted.into_iter().find_map(|wanted| needs.arrived.first_missing(from(wanted.start)));
        let missing = || needs.arrived.first_missing(from(needs.arrived.prefix()));
        if self.is_busy() { None } else { wanted.or_else(missing) }
    }

    /// Returns the next segment of a blob whose size is known.
    fn next_segment(&self, needs: &Needs<'_>, size: u64) -> Option<Span> {
        let urgent = needs.wanted.iter().map(|wanted| Span {
            start: wanted.start,
            end: wanted.end.min(wanted.start.saturating_add(2 * self.segment)).min(size),
        });
        let prefix = needs.arrived.prefix();
        let ahead = Span { start: prefix, end: size.min(prefix.saturating_add(WINDOW)) };
        let start = urgent.chain([ahead]).find_map(|within| self.free(needs, within))?.start;
        let free = self.free(needs, Span { start, end: size })?;
        Some(Span { start, end: free.end.min(start + self.length(needs, size)) })
    }

    /// Returns the first part of `within` that has not arrived and that no connection fetches.
    fn free(&self, needs: &Needs<'_>, within: Span) -> Option<Span> {
        let mut from = within.start;
        while from < within.end {
            let missing = needs.arrived.first_missing(Span { start: from, end: within.end })?;
            let taken = self.taken.iter().map(|taken| taken.span);
            match taken.clone().find(|taken| (taken.start..taken.end).contains(&missing.start)) {
                Some(taken) => from = taken.end,
                None => {
                    let next = taken.map(|taken| taken.start).filter(|start| *start > missing.start).min();
                    return Some(Span { end: next.map_or(missing.end, |next| next.min(missing.end)), ..missing });
                }
            }
        }
        None
    }

    /// Returns the length of the next segment. Segments become shorter towards the end, so that all connections finish
    /// at the same time.
    fn length(&self, needs: &Needs<'_>, size: u64) -> u64 {
        let shortest = MIN_SEGMENT.min(self.segment);
        let coming: u64 = self.taken.iter().map(|taken| needs.arrived.missing_in(taken.span)).sum();
        let left = size.saturating_sub(needs.arrived.total()).saturating_sub(coming);
        let fair = match needs.connections {
            0 | 1 => self.segment,
            // Segments are short at the beginning too, because readers follow the bytes that have arrived without a
            // gap.
            several => left.div_ceil(several as u64).min((needs.arrived.total() / 2).max(2 * MIN_SEGMENT)),
        };
        fair.min(needs.reach.unwrap_or(u64::MAX)).clamp(shortest, self.segment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn needs<'a>(arrived: &'a Extents, wanted: &'a [Span]) -> Needs<'a> {
        Needs { arrived, wanted, connections: 4, reach: None }
    }

    fn arrived(spans: &[(u64, u64)]) -> Extents {
        let mut extents = Extents::default();
        spans.iter().for_each(|(start, end)| extents.insert(Span { start: *start, end: *end }));
        extents
    }

    #[test]
    fn lowest_missing_bytes_are_taken_first_and_once() {
        let mut plan = Plan::new(Some(100 * MIB), 8 * MIB);
        let held = arrived(&[(0, 40 * MIB), (42 * MIB, 60 * MIB)]);
        let spans: Vec<_> = (0..3).map(|_| plan.take(&needs(&held, &[])).unwrap().span).collect();
        let want = [(40, 42), (60, 68), (68, 76)].map(|(start, end)| Span { start: start * MIB, end: end * MIB });
        assert_eq!(spans, want);
    }

    #[test]
    fn wanted_bytes_come_first_even_beyond_the_window() {
        let mut plan = Plan::new(Some(1000 * MIB), 8 * MIB);
        let held = Extents::default();
        let wanted = [Span { start: 900 * MIB, end: 900 * MIB + 10 }];
        let first = plan.take(&needs(&held, &wanted)).unwrap();
        assert_eq!(first.span, Span { start: 900 * MIB, end: 902 * MIB });
        assert_eq!(plan.take(&needs(&held, &wanted)).unwrap().span.start, 0);
        while let Some(assignment) = plan.take(&needs(&held, &[])) {
            assert!(assignment.span.start < WINDOW);
        }
        plan.release(first);
        assert_eq!(plan.take(&needs(&held, &wanted)).unwrap().span, first.span);
    }

    #[test]
    fn wanted_bytes_are_taken_over_from_a_connection_that_is_far_before_them() {
        let mut plan = Plan::new(Some(100 * MIB), 8 * MIB);
        let held = arrived(&[(0, 50 * MIB)]);
        let slow = plan.take(&needs(&held, &[])).unwrap();
        assert_eq!(slow.span, Span { start: 50 * MIB, end: 58 * MIB });
        let held = arrived(&[(0, 51 * MIB)]);
        let near = [Span { start: 51 * MIB + MAX_LAG - 1, end: 52 * MIB }];
        assert!(!plan.is_urgent(&needs(&held, &near)), "the connection reaches the byte soon");
        let far = [Span { start: 57 * MIB, end: 57 * MIB + 10 }];
        assert!(plan.is_urgent(&needs(&held, &far)));
        assert_eq!(plan.take(&needs(&held, &far)).unwrap().span, Span { start: 57 * MIB, end: 58 * MIB });
        assert_eq!(plan.end_of(slow), 57 * MIB);
        assert!(!plan.is_urgent(&needs(&held, &far)), "a connection fetches the byte");
    }

    #[test]
    fn small_blobs_and_whole_deliveries_take_one_connection() {
        for (mut plan, held, want) in [
            (Plan::new(Some(MIB), 8 * MIB), arrived(&[]), (0, MIB)),
            (Plan::new(Some(MIB), 8 * MIB), arrived(&[(0, 10)]), (10, MIB)),
            (
                Plan { delivery: Delivery::Whole, ..Plan::new(Some(100 * MIB), 8 * MIB) },
                arrived(&[(0, 10)]),
                (10, 100 * MIB),
            ),
            (Plan { delivery: Delivery::Whole, ..Plan::new(None, 8 * MIB) }, arrived(&[]), (0, u64::MAX)),
            (Plan::new(Some(0), 8 * MIB), arrived(&[]), (0, 0)),
        ] {
            let taken = plan.take(&needs(&held, &[])).unwrap();
            assert_eq!(((taken.span.start, taken.span.end), taken.bounded), (want, false));
            assert_eq!(plan.take(&needs(&held, &[])), None);
        }
    }

    #[test]
    fn first_segment_of_an_unknown_size_tells_it() {
        let mut plan = Plan::new(None, 8 * MIB);
        let taken = plan.take(&needs(&Extents::default(), &[Span { start: 5, end: 6 }])).unwrap();
        assert_eq!((taken.span, taken.bounded), (Span { start: 5, end: FIRST_SEGMENT + 5 }, true));
        assert_eq!(plan.take(&needs(&Extents::default(), &[])), None);
        // The wanted bytes have arrived already. The first segment is requested all the same, to learn the size.
        let mut plan = Plan::new(None, 8 * MIB);
        let held = arrived(&[(5 * MIB, 9 * MIB)]);
        let taken = plan.take(&needs(&held, &[Span { start: 6 * MIB, end: 7 * MIB }])).unwrap();
        assert_eq!(taken.span, Span { start: 0, end: FIRST_SEGMENT });
    }

    proptest! {
        /// Every byte is fetched once, in whatever order connections begin and end.
        #[test]
        fn every_byte_is_fetched_once(size in 1u64..300, steps in proptest::collection::vec((0usize..4, 0u64..100), 2..200)) {
            let size = size * MIB;
            let mut plan = Plan::new(Some(size), 8 * MIB);
            let (mut held, mut running) = (Extents::default(), Vec::<Assignment>::new());
            let mut steps = steps.into_iter().cycle();
            while !plan.is_done(&held) {
                let (action, percent) = steps.next().unwrap();
                let wanted = [Span { start: size * percent / 100, end: size }];
                let wanted = if action == 0 { &wanted[..] } else { &[] };
                let taken = if running.len() < 4 { plan.take(&needs(&held, wanted)) } else { None };
                running.iter_mut().for_each(|other| other.span.end = plan.end_of(*other));
                if let Some(taken) = taken {
                    prop_assert!(running.iter().all(|other| other.span.end <= taken.span.start || taken.span.end <= other.span.start));
                    prop_assert!(!held.touches(taken.span) && !taken.span.is_empty() && taken.span.end <= size);
                    running.push(taken);
                } else {
                    prop_assert!(!running.is_empty(), "no connection fetches the missing bytes");
                    let ended = running.remove(action % running.len());
                    let fetched = ended.span.start + (ended.span.len() * percent / 100).max(ended.span.len().min(MIB / 2));
                    held.insert(Span { start: ended.span.start, end: fetched });
                    plan.release(ended);
                }
            }
            prop_assert_eq!(held.prefix(), size);
        }
    }
}
