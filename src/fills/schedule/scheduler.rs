//! Assigns segments to connections, and judges connections.

use std::time::Duration;

use super::connection::{ActiveConnection, Assignment};
use super::pace::EndpointPace;
use super::plan::{Delivery, Plan};
use super::rate::RateMeter;
use super::watch::{Fault, LinkState, Watch};
use crate::oci::Span;
use crate::store::Extents;

/// The facts that a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    pub arrived: &'a Extents,
    /// The spans that readers want, each from its reader's position on, in any order.
    pub wanted: &'a [Span],
    /// The number of connections that the transfer may use.
    pub connections: usize,
    pub now: Duration,
}

/// The scheduler of one transfer.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) plan: Plan,
    /// The length of a segment, if the latency does not make a longer one necessary.
    pub(super) segment: u64,
    pub(super) endpoints: Vec<KnownEndpoint>,
    next_ticket: u64,
    /// The bytes that all connections have brought.
    received: u64,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct KnownEndpoint {
    pub(super) pace: EndpointPace,
    /// The time of its last connection, if it is of little use.
    pub(super) probed: Option<Duration>,
    /// The bytes that its connections have brought.
    bytes: u64,
    /// The time that its connections have been receiving, all together, up to `counted`.
    busy: Duration,
    counted: Duration,
    receiving: u32,
    /// The beginning of the last of its requests that were answered.
    answered: Option<Duration>,
    /// True if it cannot send the blob now, so that the other endpoints are not compared with it.
    pub(super) out_of_order: bool,
}

impl KnownEndpoint {
    /// Counts the time up to now, before the number of connections that are receiving changes.
    fn count(&mut self, now: Duration) {
        self.busy += now.saturating_sub(self.counted) * self.receiving;
        self.counted = self.counted.max(now);
    }
}

impl Scheduler {
    /// Plans the transfer of a blob from endpoints of this speed. `segment` is the length of a segment, unless a high
    /// latency demands longer ones.
    pub fn new(size: Option<u64>, segment: u64, paces: Vec<EndpointPace>) -> Self {
        let endpoints = paces.into_iter().map(|pace| KnownEndpoint { pace, ..KnownEndpoint::default() }).collect();
        Self { plan: Plan::new(size), segment, endpoints, next_ticket: 0, received: 0, watch: Watch::default() }
    }

    pub fn size(&self) -> Option<u64> {
        self.plan.size
    }

    /// Records the size. Segments that were chosen before it was known end there at the latest.
    pub fn set_size(&mut self, size: u64) {
        self.plan.size = Some(size);
        for connection in &mut self.plan.active {
            let span = &mut connection.assignment.span;
            span.end = span.end.min(size).max(connection.position);
        }
    }

    /// Returns true if each connection receives the bytes that it asked for, and no others.
    pub fn is_by_ranges(&self) -> bool {
        self.plan.delivery == Delivery::Ranges
    }

    pub fn set_delivery(&mut self, delivery: Delivery) {
        self.plan.delivery = delivery;
    }

    /// While the size is unknown, makes the scheduler ask for missing bytes from the beginning on, and ignore wanted
    /// spans.
    pub fn ask_in_order(&mut self) {
        self.plan.in_order = true;
    }

    /// Returns true if everything has arrived.
    pub fn is_done(&self, arrived: &Extents) -> bool {
        self.plan.is_done(arrived)
    }

    /// Returns the speed of an endpoint as it is known now.
    pub fn pace(&self, endpoint: usize) -> EndpointPace {
        self.endpoints[endpoint].pace
    }

    /// Sets which endpoints cannot send the blob now. The other endpoints are not compared with them.
    pub fn set_out_of_order(&mut self, is_out_of_order: impl Fn(usize) -> bool) {
        for (at, endpoint) in self.endpoints.iter_mut().enumerate() {
            endpoint.out_of_order = is_out_of_order(at);
        }
    }

    /// Returns the number of open connections to an endpoint.
    pub fn open(&self, endpoint: usize) -> usize {
        self.plan.active.iter().filter(|connection| connection.endpoint == endpoint).count()
    }

    /// Returns the number of open connections to an endpoint whose answer has begun.
    pub fn receiving(&self, endpoint: usize) -> usize {
        self.endpoints[endpoint].receiving as usize
    }

    /// Returns the beginning of the last request to an endpoint that was answered.
    pub fn last_answered(&self, endpoint: usize) -> Option<Duration> {
        self.endpoints[endpoint].answered
    }

    /// Returns the bytes that an endpoint has sent, and the time that its connections were receiving, all together.
    pub fn sent(&mut self, endpoint: usize, now: Duration) -> (u64, Duration) {
        self.endpoints[endpoint].count(now);
        (self.endpoints[endpoint].bytes, self.endpoints[endpoint].busy)
    }

    /// Returns the endpoint for one more connection, among those that may have one: the fastest for which there is work.
    pub fn best_endpoint(&self, candidates: &[usize], needs: &Needs<'_>) -> Option<usize> {
        // Of endpoints that are equally fast, the first one is taken.
        let with_work = candidates.iter().rev().copied().filter(|endpoint| self.has_work(*endpoint, needs));
        with_work.max_by(|a, b| self.rate(*a, needs).total_cmp(&self.rate(*b, needs)))
    }

    /// Returns true if there is a segment for one more connection to an endpoint.
    pub fn has_work(&self, endpoint: usize, needs: &Needs<'_>) -> bool {
        self.choose(endpoint, needs).is_some()
    }

    /// Takes the next segment to fetch from an endpoint. Returns `None` while there is no work for one more connection
    /// to it.
    pub fn take(&mut self, endpoint: usize, needs: &Needs<'_>) -> Option<Assignment> {
        let choice = self.choose(endpoint, needs)?;
        if let Some(owner) = choice.owner {
            self.plan.active[owner].assignment.span.end = choice.span.start;
        }
        let assignment = Assignment { ticket: self.next_ticket, span: choice.span, bounded: choice.bounded };
        self.next_ticket += 1;
        self.endpoints[endpoint].probed = Some(needs.now);
        self.plan.active.push(ActiveConnection::new(assignment, endpoint, needs.now, self.received));
        Some(assignment)
    }

    /// Returns the end of a connection's segment. Another connection may have taken over the rest of it.
    pub fn end_of(&self, assignment: Assignment) -> u64 {
        self.plan.find(assignment.ticket).map_or(assignment.span.end, |connection| connection.assignment.span.end)
    }

    /// Records that the upstream sends the whole blob to this connection, whichever range it asked for. The others are
    /// superfluous then. Returns false if others have received bytes, since that work would be done twice.
    pub fn takes_all(&mut self, assignment: Assignment) -> bool {
        let mut others = self.plan.active.iter().filter(|other| other.assignment.ticket != assignment.ticket);
        let first = others.all(|other| other.received == 0);
        if first {
            (self.plan.delivery, self.plan.only) = (Delivery::Whole, Some(assignment.ticket));
        }
        first
    }

    /// Returns true if another connection brings the whole blob.
    pub fn is_superfluous(&self, ticket: u64) -> bool {
        self.plan.only.is_some_and(|only| only != ticket)
    }

    /// Records that the answer for a connection has begun.
    pub fn answered(&mut self, ticket: u64, now: Duration) {
        let (total, plan) = (self.received, &mut self.plan);
        let Some(connection) = plan.find_mut(ticket).filter(|connection| connection.meter.is_none()) else { return };
        connection.meter = Some(RateMeter::new(now));
        connection.last = (now, total);
        let (opened, waited) = (connection.opened, now.saturating_sub(connection.opened));
        let endpoint = &mut self.endpoints[connection.endpoint];
        endpoint.count(now);
        endpoint.receiving += 1;
        endpoint.answered = endpoint.answered.max(Some(opened));
        endpoint.pace.answered(waited);
    }

    /// Records that a connection has received bytes up to `position`.
    pub fn received(&mut self, ticket: u64, position: u64, now: Duration) {
        let Some(connection) = self.plan.find_mut(ticket) else { return };
        let bytes = position.saturating_sub(connection.position);
        self.received += bytes;
        connection.position += bytes;
        connection.received += bytes;
        connection.last = (now, self.received);
        self.endpoints[connection.endpoint].bytes += bytes;
        if let Some(meter) = &mut connection.meter {
            meter.add(bytes, now);
        }
    }

    /// Records that a connection waits for the disk. Until it receives again, its silence does not count against it.
    pub fn waits_for_disk(&mut self, ticket: u64) {
        if let Some(connection) = self.plan.find_mut(ticket) {
            connection.paused = true;
        }
    }

    /// Records that a connection does not wait for the disk any more.
    pub fn resumes(&mut self, ticket: u64, now: Duration) {
        let total = self.received;
        if let Some(connection) = self.plan.find_mut(ticket) {
            connection.paused = false;
            connection.last = (now, total);
        }
    }

    /// Records the end of a connection. The bytes that it did not fetch can be assigned again. Returns the time at which
    /// it was opened.
    pub fn release(&mut self, ticket: u64, now: Duration) -> Option<Duration> {
        let at = self.plan.active.iter().position(|other| other.assignment.ticket == ticket)?;
        let connection = self.plan.active.swap_remove(at);
        self.plan.only = self.plan.only.filter(|only| *only != ticket);
        if connection.meter.is_some() {
            self.endpoints[connection.endpoint].count(now);
            self.endpoints[connection.endpoint].receiving -= 1;
        }
        let is_useless = self.is_useless(connection.endpoint, now);
        let pace = &mut self.endpoints[connection.endpoint].pace;
        match connection.rate(now) {
            Some(rate) => pace.transferred(rate, connection.received),
            // A probe fetches too few bytes for a measurement. If the probe was faster than the known rate, the next segment
            // is long enough to measure the endpoint.
            None if is_useless && connection.was_faster_than(pace.rate(), now) => pace.forget_rate(),
            None => {}
        }
        Some(connection.opened)
    }

    /// Records whether this server itself limits the rate of the link now.
    pub fn observe_link(&mut self, link: LinkState) {
        self.watch.link = link;
    }

    /// Returns the connections that should be replaced: those that are silent or slow while others are not.
    pub fn faults(&mut self, now: Duration) -> Vec<(u64, Fault)> {
        let paces: Vec<EndpointPace> = self.endpoints.iter().map(|endpoint| endpoint.pace).collect();
        self.watch.faults(&mut self.plan, &paces, self.received, now)
    }

    /// Ends the segments of surplus connections to an endpoint where they are now, so that `keep` are left.
    pub fn shed(&mut self, endpoint: usize, keep: usize) {
        let mut surplus = self.open(endpoint).saturating_sub(keep);
        while surplus > 0 {
            let bounded = self.plan.active.iter_mut().filter(|other| other.endpoint == endpoint);
            let bounded = bounded.filter(|other| other.assignment.bounded && other.left() > 0);
            let Some(last) = bounded.max_by_key(|other| (other.meter.is_none(), other.left())) else { return };
            last.assignment.span.end = last.position;
            surplus -= 1;
        }
    }

    /// Returns true if a reader waits for bytes that no connection fetches, or that come too late. A reader that waits for
    /// the lowest missing bytes does not count: the next connection that is free fetches them anyway.
    pub fn is_urgent(&self, needs: &Needs<'_>) -> bool {
        let Some(size) = self.plan.size.filter(|_| self.is_by_ranges()) else { return false };
        let next = |wanted: &Span| {
            let end = wanted.start.saturating_add(1).min(size);
            self.plan.free(needs.arrived, Span { start: wanted.start.min(end), end })
        };
        let fastest = (0..self.endpoints.len()).max_by(|a, b| self.rate(*a, needs).total_cmp(&self.rate(*b, needs)));
        let mut ahead = needs.wanted.iter().filter(|wanted| wanted.start > needs.arrived.prefix());
        ahead.any(|wanted| next(wanted).is_some())
            || fastest.is_some_and(|endpoint| self.overdue(endpoint, needs).is_some())
    }
}
