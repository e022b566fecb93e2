//! Which stretch of a blob the next connection fetches. Pure: what has arrived and what is wanted is given to it.

use crate::oci::Span;
use crate::store::Extents;

/// A blob of up to so many bytes comes by one connection: more would save less than they cost.
const WHOLE_UP_TO: u64 = 4 << 20;

/// No stretch is shorter, but where nothing else is missing: a request costs a round trip.
const SHORTEST: u64 = 1 << 20;

/// So much is asked for at first of a blob whose size is not known: the answer tells it, and the others can begin.
const FIRST: u64 = 2 << 20;

/// A connection that is so far before what somebody waits for does not get there first.
const LAG: u64 = 256 << 10;

/// Connections fetch at most so far ahead of what has arrived without a hole.
const WINDOW: u64 = 64 << 20;

/// What is being fetched of one blob.
#[derive(Debug)]
pub(super) struct Plan {
    size: Option<u64>,
    manner: Manner,
    in_order: bool,
    /// The most that one connection asks for.
    segment: u64,
    taken: Vec<Assignment>,
    next: u64,
}

/// How the upstream gives the blob away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// In stretches, to several connections.
    Stretches,
    /// All of it, from the beginning on, to one connection.
    Whole,
}

/// A stretch that one connection fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) ticket: u64,
    pub(super) span: Span,
    /// The end is asked for; otherwise whatever comes.
    pub(super) bounded: bool,
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs<'a> {
    pub(super) arrived: &'a Extents,
    /// Stretches that somebody waits for, the most urgent first.
    pub(super) wanted: &'a [Span],
    /// How many connections there will be.
    pub(super) connections: usize,
    /// What this connection brings in a few seconds, if that is known.
    pub(super) reach: Option<u64>,
}

impl Plan {
    pub(super) fn new(size: Option<u64>, segment: u64) -> Self {
        Self { size, manner: Manner::Stretches, in_order: false, segment, taken: Vec::new(), next: 0 }
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.size = Some(size);
    }

    /// Does each connection bring what it was asked for, and no more?
    pub(super) fn is_in_stretches(&self) -> bool {
        self.manner == Manner::Stretches
    }

    /// As long as the size is unknown, nothing is asked for before what lies in front of it.
    pub(super) fn ask_in_order(&mut self) {
        self.in_order = true;
    }

    pub(super) fn set_manner(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// Has everything arrived?
    pub(super) fn is_done(&self, arrived: &Extents) -> bool {
        self.size.is_some_and(|size| arrived.total() >= size)
    }

    /// Is a connection fetching?
    pub(super) fn is_busy(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Is there something to do for one more connection?
    pub(super) fn has_work(&self, needs: &Needs<'_>) -> bool {
        self.overtaken(needs).is_some() || self.choose(needs).is_some()
    }

    /// Does somebody wait for bytes that no connection fetches?
    pub(super) fn is_urgent(&self, needs: &Needs<'_>) -> bool {
        let first = |wanted: &Span| self.free(needs, Span { start: wanted.start, end: wanted.start + 1 });
        let untaken = || needs.wanted.iter().any(|wanted| first(wanted).is_some());
        self.manner == Manner::Stretches && (untaken() || self.overtaken(needs).is_some())
    }

    /// The next stretch to fetch; `None` while there is nothing to do for one more connection.
    pub(super) fn take(&mut self, needs: &Needs<'_>) -> Option<Assignment> {
        let (span, bounded) = match self.overtaken(needs) {
            Some((slow, span)) => {
                self.taken[slow].span.end = span.start;
                (span, true)
            }
            None => self.choose(needs)?,
        };
        let assignment = Assignment { ticket: self.next, span, bounded };
        self.next += 1;
        self.taken.push(assignment);
        Some(assignment)
    }

    /// Where a connection's stretch ends now: another may have been given the rest of it.
    pub(super) fn end_of(&self, assignment: Assignment) -> u64 {
        let taken = self.taken.iter().find(|taken| taken.ticket == assignment.ticket);
        taken.map_or(assignment.span.end, |taken| taken.span.end)
    }

    /// A stretch whose connection will come to what somebody waits for only much later, and what another is to bring of it.
    fn overtaken(&self, needs: &Needs<'_>) -> Option<(usize, Span)> {
        let wanted = needs.wanted.iter().filter(|_| self.manner == Manner::Stretches);
        wanted.into_iter().find_map(|wanted| {
            let missing = needs.arrived.first_missing(Span { start: wanted.start, end: wanted.start + 1 })?;
            let holds =
                |taken: &Assignment| taken.bounded && (taken.span.start..taken.span.end).contains(&missing.start);
            let at = self.taken.iter().position(holds)?;
            let taken = self.taken[at].span;
            let reached = needs.arrived.end_of(taken.start);
            (missing.start - reached >= LAG).then_some((at, Span { start: missing.start, end: taken.end }))
        })
    }

    fn choose(&self, needs: &Needs<'_>) -> Option<(Span, bool)> {
        Some(match (self.manner, self.size) {
            (Manner::Whole, size) => (self.rest(needs, size)?, false),
            (Manner::Stretches, Some(size)) if self.is_simple(needs, size) => (self.rest(needs, Some(size))?, false),
            (Manner::Stretches, Some(size)) => (self.stretch(needs, size)?, true),
            (Manner::Stretches, None) => (self.first(needs)?, true),
        })
    }

    /// Is it so small that one connection should bring all that is missing?
    fn is_simple(&self, needs: &Needs<'_>, size: u64) -> bool {
        let holed = needs.arrived.total() > needs.arrived.prefix();
        size <= WHOLE_UP_TO && needs.wanted.is_empty() && !holed
    }

    /// The upstream sends everything to this connection, whatever it asked for. False where others fetch too.
    pub(super) fn takes_all(&mut self, assignment: Assignment) -> bool {
        let alone = self.taken.iter().all(|taken| taken.ticket == assignment.ticket);
        if alone {
            self.manner = Manner::Whole;
        }
        alone
    }

    /// A connection has ended; what it did not bring is free again.
    pub(super) fn release(&mut self, assignment: Assignment) {
        self.taken.retain(|taken| taken.ticket != assignment.ticket);
    }

    /// Everything from where it is whole up to there, for a connection alone.
    fn rest(&self, needs: &Needs<'_>, size: Option<u64>) -> Option<Span> {
        let span = Span { start: needs.arrived.prefix(), end: size.unwrap_or(u64::MAX) };
        // An empty blob has to be asked for too.
        (!self.is_busy() && (span.start < span.end || size == Some(0))).then_some(span)
    }

    /// The first question about a blob of unknown size: its answer tells it.
    fn first(&self, needs: &Needs<'_>) -> Option<Span> {
        let from = |start: u64| Span { start, end: start.saturating_add(self.segment.min(FIRST)) };
        let wanted = needs.wanted.iter().filter(|_| !self.in_order);
        let wanted = wanted.into_iter().find_map(|wanted| needs.arrived.first_missing(from(wanted.start)));
        let missing = || needs.arrived.first_missing(from(needs.arrived.prefix()));
        if self.is_busy() { None } else { wanted.or_else(missing) }
    }

    fn stretch(&self, needs: &Needs<'_>, size: u64) -> Option<Span> {
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

    /// The first stretch of `within` that has not arrived and that nobody fetches.
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

    /// How much one connection is given. Less towards the end, so that all finish at the same time.
    fn length(&self, needs: &Needs<'_>, size: u64) -> u64 {
        let shortest = SHORTEST.min(self.segment);
        let coming: u64 = self.taken.iter().map(|taken| needs.arrived.missing_in(taken.span)).sum();
        let left = size.saturating_sub(needs.arrived.total()).saturating_sub(coming);
        let fair = match needs.connections {
            0 | 1 => self.segment,
            // Less at the beginning too: readers follow what has arrived without a hole.
            several => left.div_ceil(several as u64).min((needs.arrived.total() / 2).max(2 * SHORTEST)),
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
    fn the_lowest_missing_comes_first_and_no_byte_twice() {
        let mut plan = Plan::new(Some(100 * MIB), 8 * MIB);
        let held = arrived(&[(0, 40 * MIB), (42 * MIB, 60 * MIB)]);
        let spans: Vec<_> = (0..3).map(|_| plan.take(&needs(&held, &[])).unwrap().span).collect();
        let want = [(40, 42), (60, 68), (68, 76)].map(|(start, end)| Span { start: start * MIB, end: end * MIB });
        assert_eq!(spans, want);
    }

    #[test]
    fn what_is_wanted_comes_before_it_and_the_window_does_not_bound_it() {
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
    fn what_is_wanted_is_not_left_to_a_connection_that_is_far_before_it() {
        let mut plan = Plan::new(Some(100 * MIB), 8 * MIB);
        let held = arrived(&[(0, 50 * MIB)]);
        let slow = plan.take(&needs(&held, &[])).unwrap();
        assert_eq!(slow.span, Span { start: 50 * MIB, end: 58 * MIB });
        let held = arrived(&[(0, 51 * MIB)]);
        let near = [Span { start: 51 * MIB + LAG - 1, end: 52 * MIB }];
        assert!(!plan.is_urgent(&needs(&held, &near)), "it is there soon");
        let far = [Span { start: 57 * MIB, end: 57 * MIB + 10 }];
        assert!(plan.is_urgent(&needs(&held, &far)));
        assert_eq!(plan.take(&needs(&held, &far)).unwrap().span, Span { start: 57 * MIB, end: 58 * MIB });
        assert_eq!(plan.end_of(slow), 57 * MIB);
        assert!(!plan.is_urgent(&needs(&held, &far)), "somebody is on it");
    }

    #[test]
    fn small_ones_and_those_that_come_whole_take_one_connection() {
        for (mut plan, held, want) in [
            (Plan::new(Some(MIB), 8 * MIB), arrived(&[]), (0, MIB)),
            (Plan::new(Some(MIB), 8 * MIB), arrived(&[(0, 10)]), (10, MIB)),
            (
                Plan { manner: Manner::Whole, ..Plan::new(Some(100 * MIB), 8 * MIB) },
                arrived(&[(0, 10)]),
                (10, 100 * MIB),
            ),
            (Plan { manner: Manner::Whole, ..Plan::new(None, 8 * MIB) }, arrived(&[]), (0, u64::MAX)),
            (Plan::new(Some(0), 8 * MIB), arrived(&[]), (0, 0)),
        ] {
            let taken = plan.take(&needs(&held, &[])).unwrap();
            assert_eq!(((taken.span.start, taken.span.end), taken.bounded), (want, false));
            assert_eq!(plan.take(&needs(&held, &[])), None);
        }
    }

    #[test]
    fn an_unknown_size_is_asked_for_with_the_first_stretch() {
        let mut plan = Plan::new(None, 8 * MIB);
        let taken = plan.take(&needs(&Extents::default(), &[Span { start: 5, end: 6 }])).unwrap();
        assert_eq!((taken.span, taken.bounded), (Span { start: 5, end: FIRST + 5 }, true));
        assert_eq!(plan.take(&needs(&Extents::default(), &[])), None);
        // What is wanted is there already: the answer tells the size all the same.
        let mut plan = Plan::new(None, 8 * MIB);
        let held = arrived(&[(5 * MIB, 9 * MIB)]);
        let taken = plan.take(&needs(&held, &[Span { start: 6 * MIB, end: 7 * MIB }])).unwrap();
        assert_eq!(taken.span, Span { start: 0, end: FIRST });
    }

    proptest! {
        /// However connections come and go, everything arrives once, and no two fetch the same.
        #[test]
        fn everything_arrives_once(size in 1u64..300, steps in proptest::collection::vec((0usize..4, 0u64..100), 2..200)) {
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
                    prop_assert!(!running.is_empty(), "nobody fetches what is missing");
                    let ended = running.remove(action % running.len());
                    let brought = ended.span.start + (ended.span.len() * percent / 100).max(ended.span.len().min(MIB / 2));
                    held.insert(Span { start: ended.span.start, end: brought });
                    plan.release(ended);
                }
            }
            prop_assert_eq!(held.prefix(), size);
        }
    }
}
