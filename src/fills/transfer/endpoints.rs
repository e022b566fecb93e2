//! The endpoints of one source, and what one transfer has learnt about them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fills::source::BlobSource;
use crate::sys::{Clock, Moment, jitter};
use crate::upstream::{EndpointId, ResumeHint, UpstreamError};

/// A connection that transferred at least this many bytes before it failed counts as useful.
const USEFUL: u64 = 64 << 10;

/// An endpoint is given up after more consecutive connections than this that were not useful, over at least this time. While
/// another endpoint works, it is still asked once per `SECOND_CHANCE`.
const MAX_TRIES: u32 = 8;
const MAX_FAILING: Duration = Duration::from_secs(50);
const SECOND_CHANCE: Duration = Duration::from_secs(60);

/// The shortest and the longest wait after a connection that was not useful …
const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(15);
/// … and between them it is this part of the time since the first such failure. So little time is lost when the endpoint
/// works again, and the longer it fails, the less often it is asked.
const WAIT_PART: u32 = 20;

/// An endpoint that has sent nothing for this long is given up too, regardless of the number of connections.
const MAX_IDLE: Duration = Duration::from_secs(180);

/// If an endpoint hangs, another request probes it. This is the shortest time between two checks of this transfer
/// whether the endpoint still hangs.
const PROBED_EVERY: Duration = Duration::from_secs(1);

/// The wait after a useful connection.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// An upstream that demands a longer pause than this is given up instead.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The endpoints of one source.
#[derive(Debug)]
pub(super) struct Endpoints {
    clock: Clock,
    /// The number of consecutive useless connections, and the time, after which an endpoint is given up.
    tries: u32,
    failing: Duration,
    /// A std `Mutex`: held for list operations only.
    list: Mutex<Vec<EndpointState>>,
}

/// Records how one endpoint has answered during this transfer.
#[derive(Debug)]
struct EndpointState {
    id: EndpointId,
    resume_hint: Option<ResumeHint>,
    /// The number of consecutive connections that were not useful.
    fruitless: u32,
    /// The time since which connections have not been useful.
    failing_since: Option<Moment>,
    failed: Option<Moment>,
    /// The beginning and the length of the pause before the next connection.
    pause: Option<(Moment, Duration)>,
    /// True if the endpoint cannot send this blob at all.
    hopeless: bool,
    /// True if the endpoint was unhealthy before this transfer: others are preferred.
    unhealthy: bool,
    /// The time since which the endpoint has sent nothing, although it was asked.
    idle_since: Option<Moment>,
    error: Option<UpstreamError>,
}

/// The index of an endpoint in [`Endpoints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndpointIndex(usize);

impl EndpointIndex {
    pub(super) fn new(at: usize) -> Self {
        Self(at)
    }

    pub(super) fn at(self) -> usize {
        self.0
    }
}

impl Endpoints {
    /// Takes all endpoints of a source, the healthiest first. Unhealthy endpoints are asked only if no other can be.
    pub(super) fn of(source: &BlobSource, clock: Clock) -> Self {
        let healthy = source.upstream.endpoints(source.name.repository());
        let rest = source.upstream.every_endpoint().into_iter().filter(|endpoint| !healthy.contains(endpoint));
        let endpoints = Self::from_ids(healthy.iter().copied().chain(rest).collect(), clock);
        endpoints.list().iter_mut().for_each(|endpoint| endpoint.unhealthy = !healthy.contains(&endpoint.id));
        endpoints
    }

    /// Takes these endpoints.
    pub(super) fn from_ids(ids: Vec<EndpointId>, clock: Clock) -> Self {
        let state = |id| EndpointState {
            id,
            resume_hint: None,
            fruitless: 0,
            failing_since: None,
            failed: None,
            pause: None,
            hopeless: false,
            unhealthy: false,
            idle_since: None,
            error: None,
        };
        Self { clock, tries: MAX_TRIES, failing: MAX_FAILING, list: Mutex::new(ids.into_iter().map(state).collect()) }
    }

    /// Gives each endpoint only one try, for a caller that has other endpoints to turn to.
    pub(super) fn with_one_try(self) -> Self {
        Self { tries: 1, failing: Duration::ZERO, ..self }
    }

    /// Returns the endpoints that can be asked now, the preferred ones first. Unhealthy endpoints are left out while
    /// others can be asked.
    pub(super) fn usable(&self) -> Vec<EndpointIndex> {
        let list = self.list();
        let usable = |endpoint: &EndpointState| self.remaining_pause(endpoint).is_some_and(|left| left.is_zero());
        let healthy = list.iter().any(|endpoint| usable(endpoint) && !endpoint.unhealthy);
        let chosen =
            list.iter().enumerate().filter(|(_, endpoint)| usable(endpoint) && !(healthy && endpoint.unhealthy));
        chosen.map(|(at, _)| EndpointIndex(at)).collect()
    }

    pub(super) fn id(&self, endpoint: EndpointIndex) -> EndpointId {
        self.list()[endpoint.0].id
    }

    /// Returns all endpoints.
    pub(super) fn ids(&self) -> Vec<EndpointId> {
        self.list().iter().map(|endpoint| endpoint.id).collect()
    }

    /// Returns the redirect and the validators of an earlier answer of the endpoint.
    pub(super) fn resume_hint(&self, endpoint: EndpointIndex) -> Option<ResumeHint> {
        self.list()[endpoint.0].resume_hint.clone()
    }

    /// Sets the resume hint of the last answer. `None` forgets a hint that does not work any more.
    pub(super) fn set_resume_hint(&self, endpoint: EndpointIndex, resume_hint: Option<ResumeHint>) {
        self.list()[endpoint.0].resume_hint = resume_hint;
    }

    /// Records the end of a connection, which has brought `received` bytes since `began`.
    pub(super) fn ended(&self, endpoint: EndpointIndex, began: Moment, received: u64, error: Option<UpstreamError>) {
        let mut list = self.list();
        let endpoint = &mut list[endpoint.0];
        if received > 0 {
            (endpoint.idle_since, endpoint.unhealthy) = (None, false);
        }
        match error {
            // Success clears every wait, unless the request began before the failure that led to the wait.
            None if endpoint.failed.is_none_or(|failed| began > failed) => {
                (endpoint.fruitless, endpoint.failing_since) = (0, None);
                (endpoint.failed, endpoint.pause) = (None, None);
            }
            None => {}
            Some(error) => self.failed(endpoint, began, received, error),
        }
    }

    /// Records the failure of a connection, and decides about the pause before the next one.
    fn failed(&self, endpoint: &mut EndpointState, began: Moment, received: u64, error: UpstreamError) {
        let idle_since = *endpoint.idle_since.get_or_insert(began);
        // Connections that began before the last failure was noticed failed for the same reason.
        let same_failure = endpoint.failed.is_some_and(|failed| began < failed);
        endpoint.failed = Some(self.clock.moment());
        endpoint.hopeless |= !error.is_passing();
        // The endpoint was not asked, because it hangs. Another request finds out whether it still does.
        let silent = match &error {
            UpstreamError::Silent { retry_in, .. } => Some((*retry_in).max(PROBED_EVERY)),
            _ => None,
        };
        if received >= USEFUL {
            (endpoint.fruitless, endpoint.failing_since) = (0, None);
        } else if !same_failure && silent.is_none() {
            endpoint.fruitless += 1;
        }
        if self.clock.since(idle_since) >= MAX_IDLE {
            endpoint.fruitless = endpoint.fruitless.max(self.tries + 1);
            endpoint.failing_since = Some(idle_since);
        }
        let failing = (endpoint.fruitless > 0).then(|| *endpoint.failing_since.get_or_insert(self.clock.moment()));
        let mut pause = match failing.map(|since| self.clock.since(since)) {
            None => SHORT_WAIT,
            Some(_) if self.is_given_up(endpoint) => SECOND_CHANCE,
            Some(failing) => (failing / WAIT_PART).clamp(FIRST_WAIT, MAX_WAIT),
        };
        pause = jitter(pause).max(silent.unwrap_or_default());
        if let UpstreamError::TooManyRequests { retry_after: Some(asked), .. } = &error {
            endpoint.hopeless |= *asked > MAX_RETRY_AFTER;
            pause = pause.max(*asked);
        }
        endpoint.pause = Some((self.clock.moment(), pause));
        endpoint.error = Some(error);
    }

    /// Returns how long it takes until some endpoint can be asked again, and `None` if all are given up.
    pub(super) fn until_next(&self) -> Option<Duration> {
        let list = self.list();
        list.iter()
            .any(|endpoint| self.is_promising(endpoint))
            .then(|| list.iter().filter_map(|endpoint| self.remaining_pause(endpoint)).min())?
    }

    /// Returns the error to report if no endpoint is left. "Not found" and "denied" are returned only if all endpoints
    /// say so; otherwise the most specific of the temporary errors.
    pub(super) fn error(&self) -> Option<UpstreamError> {
        let list = self.list();
        let errors = || list.iter().filter_map(|endpoint| endpoint.error.as_ref());
        let weight = |error: &&UpstreamError| match error {
            UpstreamError::TooManyRequests { .. } => 3,
            UpstreamError::Status { .. } => 2,
            UpstreamError::Timeout { .. } | UpstreamError::Silent { .. } => 1,
            _ => 0,
        };
        let passing = errors().filter(|error| error.is_passing());
        // `max_by_key` returns the last of equal elements; reversed, that is the first in the list.
        let specific = passing.rev().max_by_key(weight);
        specific.or_else(|| errors().next()).cloned()
    }

    /// Gives up an endpoint that does not support what the others do, as long as there are others.
    pub(super) fn leave_to_others(&self, endpoint: EndpointIndex) {
        let mut list = self.list();
        let others = list.iter().enumerate().any(|(at, other)| at != endpoint.0 && self.is_promising(other));
        list[endpoint.0].hopeless |= others;
    }

    /// Returns true if it makes sense to wait for an endpoint.
    fn is_promising(&self, endpoint: &EndpointState) -> bool {
        !endpoint.hopeless && !self.is_given_up(endpoint)
    }

    fn is_given_up(&self, endpoint: &EndpointState) -> bool {
        let failing = endpoint.failing_since.map_or(Duration::ZERO, |since| self.clock.since(since));
        endpoint.fruitless > self.tries && failing >= self.failing
    }

    /// Returns true if the last connections to an endpoint were not useful.
    pub(super) fn is_failing(&self, endpoint: usize) -> bool {
        self.list()[endpoint].fruitless > 0
    }

    /// Returns true if an endpoint cannot send this blob, or if its last connections were not useful, or if it was unhealthy
    /// and has sent nothing since.
    pub(super) fn is_out_of_order(&self, endpoint: usize) -> bool {
        let endpoint = &self.list()[endpoint];
        endpoint.hopeless || endpoint.unhealthy || endpoint.fruitless > 0
    }

    /// Returns how long it takes until an endpoint can be asked, and `None` if it never can.
    fn remaining_pause(&self, endpoint: &EndpointState) -> Option<Duration> {
        let left = |(since, pause): (Moment, Duration)| pause.saturating_sub(self.clock.since(since));
        (!endpoint.hopeless).then(|| endpoint.pause.map_or(Duration::ZERO, left))
    }

    /// Gives up every endpoint that has failed, unless it answered 5xx fewer than `tries` times. Called before the
    /// first byte, since further attempts would only delay the client's error.
    pub(super) fn give_up_failed(&self, tries: u32) {
        for endpoint in self.list().iter_mut() {
            endpoint.hopeless |= match &endpoint.error {
                None => false,
                Some(UpstreamError::Status { status: 500.., .. }) => endpoint.fruitless >= tries,
                Some(_) => true,
            };
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<EndpointState>> {
        // A panic between two assignments leaves a pause or a count that is slightly wrong, which does no harm.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
