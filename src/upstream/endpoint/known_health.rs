//! What is known about the health of one endpoint, and which of it concerns a repository.

use std::time::Duration;

use super::circuit::{Circuit, Pause};
use super::distrust::DistrustedRepositories;
use super::failing::{FailingRepositories, Hang, ThrottleReason};
use crate::oci::RepositoryName;
use crate::sys::{Clock, Moment};
use crate::upstream::error::UpstreamError;

/// Cut bodies stop counting if no other body is cut for this long.
const CUTS_REMEMBERED: Duration = Duration::from_secs(60);
/// A latency is forgotten after this long without a new measurement.
const LATENCY_REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// The outcomes of the requests to one endpoint.
#[derive(Debug, Default)]
pub(super) struct KnownHealth {
    pub(super) circuit: Circuit,
    /// The last failure concerns every repository: no connection could be made.
    pub(super) unreachable: bool,
    pub(super) failing: FailingRepositories,
    /// The pause for repositories that have not failed themselves, after several others have. Only a repository that
    /// did not fail before begins it anew, so that repeated requests for the same ones do not prolong it.
    pub(super) others_wait: Option<Pause>,
    pub(super) latency: Option<Latency>,
    /// The number of requests in a row that brought no response, or a 5xx.
    pub(super) unanswered: u32,
    /// The number of bodies that were cut since one was complete. They are counted apart from requests, since an
    /// endpoint can send heads and still fail to send bodies.
    pub(super) cuts: u32,
    pub(super) last_cut: Option<Moment>,
    /// Set while the last failure was a time-out.
    pub(super) hang: Option<Hang>,
    pub(super) throttled: Option<(Pause, ThrottleReason)>,
    pub(super) distrusted: DistrustedRepositories,
    /// The time when it was last offered to a caller for its probe.
    pub(super) offered: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) average: Duration,
    pub(super) measured: Moment,
}

impl KnownHealth {
    /// Returns true if the endpoint's circuit concerns requests for this repository. Until several repositories have
    /// failed, it does not concern the others.
    pub(super) fn concerns(&self, repository: &RepositoryName, clock: &Clock) -> bool {
        if self.unreachable || self.failing.is_suspect(repository) {
            return true;
        }
        let waits = self.others_wait.is_some_and(|pause| !pause.left(clock).is_zero());
        waits && self.failing.has_several_suspects()
    }

    /// Returns the circuits that concern requests for this repository and are not closed.
    pub(super) fn circuits(&self, repository: &RepositoryName, clock: &Clock) -> impl Iterator<Item = &Circuit> {
        let endpoint = self.concerns(repository, clock).then_some(&self.circuit);
        let own = self.failing.alone(repository).map(|failing| &failing.circuit);
        endpoint.into_iter().chain(own).filter(|circuit| !circuit.is_closed())
    }

    /// Returns the throttles that concern requests for this repository.
    pub(super) fn throttles(&self, repository: &RepositoryName) -> impl Iterator<Item = (Pause, ThrottleReason)> {
        let own = self.failing.get(repository).and_then(|failing| failing.throttled);
        // A caller that compares them takes the last of equal ones: the endpoint's.
        own.into_iter().chain(self.throttled)
    }

    pub(super) fn failures(&self, clock: &Clock) -> u32 {
        self.unanswered.saturating_add(self.cuts(clock))
    }

    pub(super) fn cuts(&self, clock: &Clock) -> u32 {
        if self.last_cut.is_some_and(|at| clock.since(at) < CUTS_REMEMBERED) { self.cuts } else { 0 }
    }

    pub(super) fn latency(&self, clock: &Clock) -> Option<Duration> {
        let known = self.latency.filter(|latency| clock.since(latency.measured) < LATENCY_REMEMBERED);
        known.map(|latency| latency.average)
    }

    pub(super) fn throttled_for(&self, repository: &RepositoryName, clock: &Clock) -> Duration {
        self.throttles(repository).map(|(pause, _)| pause.left(clock)).max().unwrap_or_default()
    }
}

/// Returns the error for a request that must not wait for the endpoint because it hangs.
pub(super) fn hanging(hang: Option<&Hang>, circuit: &Circuit, clock: &Clock) -> Option<UpstreamError> {
    let Hang { server, since, connected } = hang.filter(|_| !circuit.is_closed())?.clone();
    Some(UpstreamError::Silent { host: server, since, retry_in: circuit.left(clock), connected })
}
