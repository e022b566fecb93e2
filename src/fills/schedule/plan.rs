//! The segments that connections fetch now, and the bytes that are still free.

use super::connection::{ActiveConnection, Assignment};
use crate::oci::Span;
use crate::store::Extents;

/// A blob of up to this size is fetched by one connection with one plain request, unless a part of it is wanted first.
const SIMPLE_UP_TO: u64 = 4 << 20;

/// The length of the first request for a blob of unknown size. The answer tells the size, and then further connections
/// begin.
const FIRST_SEGMENT: u64 = 2 << 20;

/// How the upstream delivers the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In segments, to several connections.
    Ranges,
    /// The whole blob from the beginning on, to one connection.
    Whole,
}

/// The segments of one blob that are being fetched.
#[derive(Debug)]
pub struct Plan {
    pub size: Option<u64>,
    pub delivery: Delivery,
    pub in_order: bool,
    /// The connection that brings the whole blob, although ranges were requested.
    pub only: Option<u64>,
    pub active: Vec<ActiveConnection>,
}

/// The bytes of the blob that have arrived, and the spans that its readers have yet to read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub arrived: &'a Extents,
    /// The spans that readers want, each from its reader's position on, in any order.
    pub wanted: &'a [Span],
}

impl Plan {
    pub fn new(size: Option<u64>) -> Self {
        Self { size, delivery: Delivery::Ranges, in_order: false, only: None, active: Vec::new() }
    }

    /// Returns true if everything has arrived.
    pub fn is_done(&self, arrived: &Extents) -> bool {
        self.size.is_some_and(|size| arrived.total() >= size)
    }

    pub fn find(&self, ticket: u64) -> Option<&ActiveConnection> {
        self.active.iter().find(|connection| connection.assignment.ticket == ticket)
    }

    pub fn find_mut(&mut self, ticket: u64) -> Option<&mut ActiveConnection> {
        self.active.iter_mut().find(|connection| connection.assignment.ticket == ticket)
    }

    /// Returns a segment for one connection that has no choice, because one plain request brings everything, or because
    /// the size is unknown. The flag says whether the request names the end of the segment.
    pub fn only_segment(&self, reading: &Reading<'_>) -> Option<(Span, bool)> {
        match (self.delivery, self.size) {
            (Delivery::Ranges, None) => Some((self.first(reading)?, true)),
            (_, size) => Some((self.rest(reading, size)?, false)),
        }
    }

    /// Returns true if [`Self::only_segment`] applies.
    pub fn has_no_choice(&self, reading: &Reading<'_>) -> bool {
        let gaps = reading.arrived.total() > reading.arrived.prefix();
        let in_order = reading.wanted.iter().all(|wanted| wanted.start <= reading.arrived.prefix());
        self.delivery == Delivery::Whole || self.size.is_none_or(|size| size <= SIMPLE_UP_TO && in_order && !gaps)
    }

    /// Returns everything after the bytes that have arrived without a gap, for a single connection.
    fn rest(&self, reading: &Reading<'_>, size: Option<u64>) -> Option<Span> {
        let span = Span { start: reading.arrived.prefix(), end: size.unwrap_or(u64::MAX) };
        // An empty blob has to be requested too, so that its source confirms it.
        (self.active.is_empty() && (span.start < span.end || size == Some(0))).then_some(span)
    }

    /// Returns the first segment to request of a blob whose size is unknown.
    fn first(&self, reading: &Reading<'_>) -> Option<Span> {
        let from = |start: u64| Span { start, end: start.saturating_add(FIRST_SEGMENT) };
        let wanted = reading.wanted.iter().filter(|_| !self.in_order);
        let wanted = wanted.into_iter().find_map(|wanted| reading.arrived.first_missing(from(wanted.start)));
        let missing = || reading.arrived.first_missing(from(reading.arrived.prefix()));
        if self.active.is_empty() { wanted.or_else(missing) } else { None }
    }

    /// Returns the free bytes that should be fetched next: those that a reader reaches first, else the lowest.
    ///
    /// A reader is the more urgent, the fewer bytes it can read before it comes to a free byte. So readers at different
    /// places are served in turn, and a slow reader does not take the turn of a fast one.
    pub fn next_free(&self, reading: &Reading<'_>, size: u64) -> Option<Span> {
        let ahead = |wanted: &Span| {
            let free = self.free(reading.arrived, Span { start: wanted.start, end: wanted.end.min(size) })?;
            Some((free.start - wanted.start, free.start))
        };
        let wanted = reading.wanted.iter().filter_map(ahead).min().map(|(_, start)| start);
        let start =
            wanted.or_else(|| self.free(reading.arrived, Span { start: 0, end: size }).map(|free| free.start))?;
        self.free(reading.arrived, Span { start, end: size })
    }

    /// Returns the first part of `within` that has not arrived and that no connection fetches.
    pub fn free(&self, arrived: &Extents, within: Span) -> Option<Span> {
        let mut from = within.start;
        while from < within.end {
            let missing = arrived.first_missing(Span { start: from, end: within.end })?;
            let taken = self.active.iter().map(|connection| connection.assignment.span);
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

    /// Returns the number of missing bytes that no connection fetches.
    pub fn free_bytes(&self, arrived: &Extents, size: u64) -> u64 {
        let fetched = |connection: &ActiveConnection| {
            let Assignment { span, .. } = connection.assignment;
            arrived.missing_in(Span { start: span.start.min(size), end: span.end.min(size) })
        };
        let fetched: u64 = self.active.iter().map(fetched).sum();
        size.saturating_sub(arrived.total()).saturating_sub(fetched)
    }
}
