//! The repositories whose requests fail at an endpoint. Their failures count against the endpoint only as long as it
//! answers no other repository.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::circuit::{Circuit, Pause};
use crate::oci::RepositoryName;
use crate::sys::{Clock, Moment};
use crate::upstream::error::{LimitedBy, UpstreamError};
use crate::upstream::failed_server::FailedServer;
use crate::upstream::words::UpstreamWords;

/// A repository is forgotten after this long without a failure.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// The most repositories that are remembered. It bounds the memory if clients ask for many that fail.
const MOST: usize = 1000;
/// The most doublings of the throttle of one repository.
const DOUBLINGS: u32 = 6;

/// The endpoint lets requests wait until their limit.
#[derive(Clone, Debug)]
pub(super) struct Hang {
    /// The endpoint, its token server, or the target of its redirect.
    pub(super) server: FailedServer,
    pub(super) since: SystemTime,
    /// The server accepts connections.
    pub(super) connected: bool,
}

/// The answer by which an endpoint asked for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum ThrottleReason {
    /// 429
    TooManyRequests,
    /// 503 with `Retry-After`.
    Unavailable,
    /// 429 of the token server. It concerns the repository, since other ones may have a token.
    TokenServer,
}

impl ThrottleReason {
    /// Returns the error for a request that is not sent during the pause.
    pub(super) fn refusal(self, host: &str, left: Duration) -> UpstreamError {
        let limited =
            |host, limited| UpstreamError::TooManyRequests { host, limited, retry_after: Some(left), said: None };
        match self {
            Self::TooManyRequests => limited(host.into(), LimitedBy::Registry),
            Self::TokenServer => limited(FailedServer::token_server_of(host), LimitedBy::Other),
            Self::Unavailable => {
                UpstreamError::Status { host: host.into(), status: 503, retry_after: Some(left), said: None }
            }
        }
    }
}

/// The failing repositories of one endpoint.
#[derive(Debug, Default)]
pub(super) struct FailingRepositories(HashMap<RepositoryName, FailingRepository>);

/// What the requests for one repository have met since it was last answered.
#[derive(Debug)]
pub(super) struct FailingRepository {
    /// The endpoint has answered another repository since this one began to fail, so the failures concern only this one.
    pub(super) is_alone: bool,
    /// The circuit of this repository. It is used while the repository fails alone.
    pub(super) circuit: Circuit,
    /// The number of requests that brought no response, or a 5xx.
    pub(super) unanswered: u32,
    /// The number of bodies that were cut since one was complete.
    pub(super) cuts: u32,
    /// Set while the last failure was a time-out. It is used while the repository fails alone.
    pub(super) hang: Option<Hang>,
    pub(super) throttled: Option<(Pause, ThrottleReason)>,
    /// The words of the answer that asked for the last pause.
    pub(super) said: Option<UpstreamWords>,
    /// The number of times in a row that the endpoint asked for a pause.
    throttles: u32,
    last: Moment,
}

impl FailingRepository {
    pub(super) fn failures(&self) -> u32 {
        self.unanswered.saturating_add(self.cuts)
    }

    pub(super) fn throttled_for(&self, clock: &Clock) -> Duration {
        self.throttled.map(|(pause, _)| pause.left(clock)).unwrap_or_default()
    }

    /// Records that the endpoint asked for a pause. The pause doubles with each repetition, so that other repositories
    /// are asked before this one. Their answers show whether the pause concerns them. Requests that are answered during a
    /// pause are no repetition: they were sent before it, or do not wait for it.
    pub(super) fn throttle(&mut self, length: Duration, longest: Duration, reason: ThrottleReason, clock: &Clock) {
        if self.throttled_for(clock).is_zero() {
            self.throttles += 1;
        }
        let doublings = self.throttles.saturating_sub(1).min(DOUBLINGS);
        let own = length.saturating_mul(1 << doublings).min(longest);
        if own > self.throttled_for(clock) {
            self.throttled = Some((Pause::begin(clock, own), reason));
        }
    }

    /// Records that the endpoint has answered another repository. The failures up to now may have been those of the endpoint,
    /// so the pauses after them end. Further failures are this repository's own.
    fn leave_alone(&mut self) {
        self.is_alone = true;
        self.circuit = Circuit::default();
        (self.unanswered, self.cuts, self.hang) = (0, 0, None);
    }
}

impl FailingRepositories {
    pub(super) fn get(&self, repository: &RepositoryName) -> Option<&FailingRepository> {
        self.0.get(repository)
    }

    pub(super) fn get_mut(&mut self, repository: &RepositoryName) -> Option<&mut FailingRepository> {
        self.0.get_mut(repository)
    }

    /// Returns the repository if it fails alone.
    pub(super) fn alone(&self, repository: &RepositoryName) -> Option<&FailingRepository> {
        self.get(repository).filter(|known| known.is_alone)
    }

    /// Returns true if the repository has failed, and the endpoint may be the reason.
    pub(super) fn is_suspect(&self, repository: &RepositoryName) -> bool {
        self.get(repository).is_some_and(|known| !known.is_alone && known.failures() > 0)
    }

    /// Returns true if several repositories have failed, and the endpoint may be the reason.
    pub(super) fn has_several_suspects(&self) -> bool {
        self.0.values().filter(|known| !known.is_alone && known.failures() > 0).nth(1).is_some()
    }

    /// Returns the entry of a repository that has just failed.
    pub(super) fn failed(&mut self, repository: &RepositoryName, clock: &Clock) -> &mut FailingRepository {
        if self.0.len() >= MOST || self.0.values().any(|known| clock.since(known.last) >= REMEMBERED) {
            self.0.retain(|_, known| clock.since(known.last) < REMEMBERED);
        }
        if self.0.len() >= MOST && !self.0.contains_key(repository) {
            self.0.clear();
        }
        let new = || FailingRepository {
            is_alone: false,
            circuit: Circuit::default(),
            unanswered: 0,
            cuts: 0,
            hang: None,
            throttled: None,
            said: None,
            throttles: 0,
            last: clock.moment(),
        };
        let known = self.0.entry(repository.clone()).or_insert_with(new);
        known.last = clock.moment();
        known
    }

    /// Records a response for a repository. A 429 shows that the endpoint works, and not that it is not throttled.
    pub(super) fn answered(&mut self, repository: &RepositoryName, is_throttled: bool) {
        for (name, known) in &mut self.0 {
            let is_disproved = known.unanswered > 0 || (known.throttles > 0 && !is_throttled);
            if name != repository {
                if !known.is_alone && is_disproved {
                    known.leave_alone();
                }
                continue;
            }
            (known.unanswered, known.hang) = (0, None);
            known.circuit.close(known.cuts == 0);
            if !is_throttled {
                (known.throttles, known.throttled, known.said) = (0, None, None);
            }
        }
        self.0.retain(|name, known| name != repository || known.cuts > 0 || known.throttles > 0);
    }

    /// Records a complete body of a repository.
    pub(super) fn body_completed(&mut self, repository: &RepositoryName) {
        for (name, known) in &mut self.0 {
            match name == repository {
                true => known.cuts = 0,
                false if !known.is_alone && known.cuts > 0 => known.leave_alone(),
                false => {}
            }
        }
    }
}
