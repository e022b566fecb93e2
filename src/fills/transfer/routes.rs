//! The endpoints of one source, as one transfer has found them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fills::source::Source;
use crate::sys::{Clock, Moment, jitter};
use crate::upstream::{EndpointId, ResumeHint, UpstreamError};

/// A connection that brought so many bytes before it failed was worth its while.
const FRUITFUL: u64 = 64 << 10;

/// After so many fruitless tries in a row nothing more is expected of an endpoint. While another one brings something, it is
/// asked again now and then.
const FRUITLESS_TRIES: u32 = 8;
const SECOND_CHANCE: Duration = Duration::from_secs(60);

/// The wait after the first fruitless try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// An endpoint that has brought nothing for this long, however often it was asked, is given up too.
const LONGEST_QUIET: Duration = Duration::from_secs(180);

/// One that hangs is found out about by somebody else; so often it is looked whether it still does.
const ASKED_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The wait after a connection that was worth its while.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// An upstream that asks to be left alone for longer than this is given up instead.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The endpoints that one source's bytes may come from.
#[derive(Debug)]
pub(super) struct Routes {
    clock: Clock,
    /// So many fruitless tries in a row are made.
    tries: u32,
    /// A std `Mutex`: held for list operations only.
    list: Mutex<Vec<Route>>,
}

/// One endpoint of one source.
#[derive(Debug)]
struct Route {
    endpoint: EndpointId,
    trail: Option<ResumeHint>,
    /// Connections that run.
    running: usize,
    /// Bytes a second that one connection brings, as far as is known.
    rate: Option<f64>,
    fruitless: u32,
    failed: Option<Moment>,
    /// Not to be asked before.
    wait: Option<(Moment, Duration)>,
    /// It cannot give this blob at all.
    hopeless: bool,
    /// It did badly before this transfer: others first.
    reserve: bool,
    /// Since when it has brought nothing, while it was asked.
    quiet: Option<Moment>,
    error: Option<UpstreamError>,
}

/// A place in [`Routes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteId(usize);

impl Routes {
    /// All endpoints, the healthiest first. Those that it is better to leave alone now are asked when no other can be.
    pub(super) fn of(source: &Source, clock: Clock) -> Self {
        let fit = source.upstream.endpoints();
        let rest = source.upstream.every_endpoint().into_iter().filter(|endpoint| !fit.contains(endpoint));
        let routes = Self::through(fit.iter().copied().chain(rest).collect(), clock);
        routes.list().iter_mut().for_each(|route| route.reserve = !fit.contains(&route.endpoint));
        routes
    }

    /// These endpoints.
    pub(super) fn through(endpoints: Vec<EndpointId>, clock: Clock) -> Self {
        let route = |endpoint| Route {
            endpoint,
            trail: None,
            running: 0,
            rate: None,
            fruitless: 0,
            failed: None,
            wait: None,
            hopeless: false,
            reserve: false,
            quiet: None,
            error: None,
        };
        Self { clock, tries: FRUITLESS_TRIES, list: Mutex::new(endpoints.into_iter().map(route).collect()) }
    }

    /// Where there are others to turn to, an endpoint is not waited for.
    pub(super) fn impatient(self) -> Self {
        Self { tries: 1, ..self }
    }

    /// The endpoint for one more connection: the one that it finds the most of. Whoever is given one calls [`Self::ended`].
    pub(super) fn begin(&self) -> Option<RouteId> {
        let mut list = self.list();
        let is_usable = |route: &Route| self.left(route).is_some_and(|left| left.is_zero());
        let known = list.iter().filter(|route| is_usable(route)).all(|route| route.rate.is_some());
        let burden = |route: &Route| {
            let rate = route.rate.filter(|_| known).unwrap_or(1.0).max(1.0);
            (route.running + 1) as f64 / rate
        };
        let usable = list.iter().enumerate().filter(|(_, route)| is_usable(route));
        let best = usable.min_by(|(_, a), (_, b)| a.reserve.cmp(&b.reserve).then(burden(a).total_cmp(&burden(b))))?.0;
        list[best].running += 1;
        Some(RouteId(best))
    }

    pub(super) fn endpoint(&self, route: RouteId) -> EndpointId {
        self.list()[route.0].endpoint
    }

    /// All of them.
    pub(super) fn endpoints(&self) -> Vec<EndpointId> {
        self.list().iter().map(|route| route.endpoint).collect()
    }

    /// What an earlier answer taught.
    pub(super) fn trail(&self, route: RouteId) -> Option<ResumeHint> {
        self.list()[route.0].trail.clone()
    }

    /// What the last answer taught; `None`: forget it, it leads nowhere any more.
    pub(super) fn set_trail(&self, route: RouteId, trail: Option<ResumeHint>) {
        self.list()[route.0].trail = trail;
    }

    /// What one connection brings in a few seconds.
    pub(super) fn reach(&self, route: RouteId) -> Option<u64> {
        self.list()[route.0].rate.map(|rate| (rate * 4.0) as u64)
    }

    /// A connection has ended: since `began` it brought so many bytes.
    pub(super) fn ended(&self, route: RouteId, began: Moment, brought: u64, error: Option<UpstreamError>) {
        let took = self.clock.since(began).as_secs_f64();
        let mut list = self.list();
        let route = &mut list[route.0];
        route.running -= 1;
        if brought >= FRUITFUL {
            let rate = brought as f64 / took.max(0.001);
            route.rate = Some(route.rate.map_or(rate, |before| before * 0.5 + rate * 0.5));
        }
        if brought > 0 {
            (route.quiet, route.reserve) = (None, false);
        }
        let Some(error) = error else {
            (route.fruitless, route.failed) = (0, None);
            return;
        };
        let quiet = *route.quiet.get_or_insert(began);
        // What began before the last failure was noticed failed with it.
        let together = route.failed.is_some_and(|failed| began < failed);
        route.failed = Some(self.clock.moment());
        route.hopeless |= !error.is_passing();
        // It was not asked at all: it hangs, and somebody else finds out whether it still does.
        let silent = match &error {
            UpstreamError::Silent { retry_in, .. } => Some((*retry_in).max(ASKED_AT_MOST_EVERY)),
            _ => None,
        };
        if brought >= FRUITFUL {
            route.fruitless = 0;
        } else if !together && silent.is_none() {
            route.fruitless += 1;
        }
        if self.clock.since(quiet) >= LONGEST_QUIET {
            route.fruitless = route.fruitless.max(self.tries + 1);
        }
        let mut wait = match route.fruitless {
            0 => SHORT_WAIT,
            tries if tries > self.tries => SECOND_CHANCE,
            tries => FIRST_WAIT.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_WAIT),
        };
        wait = jitter(wait).max(silent.unwrap_or_default());
        if let UpstreamError::TooManyRequests { retry_after: Some(asked), .. } = &error {
            route.hopeless |= *asked > LONGEST_RETRY_AFTER;
            wait = wait.max(*asked);
        }
        route.wait = Some((self.clock.moment(), wait));
        route.error = Some(error);
    }

    /// How long until some endpoint may be asked again; `None`: all are given up.
    pub(super) fn until_next(&self) -> Option<Duration> {
        let list = self.list();
        list.iter()
            .any(|route| self.is_promising(route))
            .then(|| list.iter().filter_map(|route| self.left(route)).min())?
    }

    /// Why none is left. That the blob does not exist, or is not ours to have, is only said when all say so: else the most
    /// telling of the errors that may pass.
    pub(super) fn error(&self) -> Option<UpstreamError> {
        let list = self.list();
        let errors = || list.iter().filter_map(|route| route.error.as_ref());
        let weight = |error: &&UpstreamError| match error {
            UpstreamError::TooManyRequests { .. } => 3,
            UpstreamError::Status { .. } => 2,
            UpstreamError::Timeout { .. } | UpstreamError::Silent { .. } => 1,
            _ => 0,
        };
        let passing = errors().filter(|error| error.is_passing());
        // Of equals the first in the order of the list.
        let telling = passing.rev().max_by_key(weight);
        telling.or_else(|| errors().next()).cloned()
    }

    /// One that does not do what the others do is left out, as long as there are others.
    pub(super) fn leave_to_others(&self, route: RouteId) {
        let mut list = self.list();
        let others = list.iter().enumerate().any(|(at, other)| at != route.0 && self.is_promising(other));
        list[route.0].hopeless |= others;
    }

    /// Is there reason to wait for it?
    fn is_promising(&self, route: &Route) -> bool {
        !route.hopeless && route.fruitless <= self.tries
    }

    /// How long until a route may be asked; `None`: never.
    fn left(&self, route: &Route) -> Option<Duration> {
        let left = |(since, wait): (Moment, Duration)| wait.saturating_sub(self.clock.since(since));
        (!route.hopeless).then(|| route.wait.map_or(Duration::ZERO, left))
    }

    /// Every endpoint is given up that has failed, unless it answered 5xx fewer times than this: before the first byte there
    /// is no use in waiting for the others.
    pub(super) fn give_up_failed(&self, tries: u32) {
        for route in self.list().iter_mut() {
            route.hopeless |= match &route.error {
                None => false,
                Some(UpstreamError::Status { status: 500.., .. }) => route.fruitless >= tries,
                Some(_) => true,
            };
        }
    }

    /// A place that was begun is not used after all.
    pub(super) fn release(&self, route: RouteId) {
        self.list()[route.0].running -= 1;
    }

    fn list(&self) -> MutexGuard<'_, Vec<Route>> {
        // Each route is changed by whole assignments; a panic between two leaves a wait or a count that is a little wrong.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
