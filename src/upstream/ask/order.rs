//! Decides which endpoints are asked, in which order, and which answer counts.
//!
//! - Content that is named by a digest is verified, so any endpoint may serve it: the healthiest come first. The
//!   meaning of a tag depends on the endpoint, so the endpoints are asked in the configured order of trust.
//! - An endpoint is passed over while another is left if its circuit is open, if it is throttled, or (for content named
//!   by a digest) if it has sent content that did not match its digest. If no other endpoint is left, it is asked all
//!   the same, since the process must notice at once when the link works again. Requests do not wait for an endpoint
//!   that hangs ([`Upstream::ask_endpoint`]), and 429 is obeyed, except by requests for blobs.
//! - A failed connection, a time-out, an unexpected status (5xx, 429, 400 and others) and an answer that no registry gave lead to
//!   the next endpoint; any other response is an answer. So does a body that is not what was asked for (`Tried`). A 404 is an
//!   answer only if no more trusted endpoint can be asked, or is throttled; otherwise Entrepot might report that
//!   existing content does not exist.
//! - If all endpoints fail, the most informative failure is reported: a 429, then a refusal or a 404, then a 5xx, then
//!   a time-out, then a failed connection. The first of several equal ones is reported.

use std::time::Duration;

use http::StatusCode;

use super::hint::concerns_every_request;
use super::request::{Reply, UpstreamRequest};
use crate::oci::RepositoryName;
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Endpoint, EndpointId, FailureScope, Score};
use crate::upstream::error::UpstreamError;

/// The longest wait for an endpoint that is probed, if another endpoint can be asked or was asked already.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Latencies that differ by less than this are equal, and the configured order decides.
const NEAR: Duration = Duration::from_millis(20);
const NEAR_FACTOR: f64 = 1.25;

type Outcome<'a> = Result<Reply<'a>, UpstreamError>;

/// The endpoints that one pass over the list asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Endpoints for which there is no reason to ask another endpoint first.
    Usable,
    /// The others, after no usable one has answered.
    LastResort,
}

impl Upstream {
    /// Returns the endpoints to request a blob from, the most promising first; never an empty list. Any blob may be
    /// requested from each of them. An endpoint with an open circuit is given to one caller at a time, whose request
    /// probes whether it is back. If none can be asked, the list holds the endpoint that can be asked soonest.
    pub fn endpoints(&self, repository: &RepositoryName) -> Vec<EndpointId> {
        let fit: Vec<&Endpoint> =
            self.endpoints.iter().filter(|endpoint| endpoint.health().offer(repository)).collect();
        if !fit.is_empty() {
            return ranked(&fit, repository);
        }
        self.endpoints
            .iter()
            .min_by_key(|endpoint| endpoint.health().due_in(repository))
            .map(Endpoint::id)
            .into_iter()
            .collect()
    }

    /// Returns true if no endpoint can be asked for this repository now: each is paused, or has asked for a pause.
    pub fn refuses(&self, repository: &RepositoryName) -> bool {
        self.endpoints.iter().all(|endpoint| !endpoint.health().is_usable(repository, false))
    }

    /// Returns the answer by which an endpoint asked for a pause that still lasts.
    pub fn refusal(&self, repository: &RepositoryName) -> Option<UpstreamError> {
        self.endpoints.iter().find_map(|endpoint| endpoint.health().refusal(repository, &endpoint.host()))
    }

    /// Returns all endpoints in the configured order, whatever their health.
    pub fn every_endpoint(&self) -> Vec<EndpointId> {
        self.endpoints.iter().map(Endpoint::id).collect()
    }

    /// Returns the first response that is an answer, with whatever status; [`Self::judge`] interprets the status.
    pub(super) async fn ask(&self, request: &UpstreamRequest<'_>) -> Outcome<'_> {
        self.ask_except(request, &[]).await
    }

    /// Does the same as [`Self::ask`], without the endpoints in `except`.
    pub(super) async fn ask_except(&self, request: &UpstreamRequest<'_>, except: &[EndpointId]) -> Outcome<'_> {
        let all: Vec<&Endpoint> = self.endpoints.iter().collect();
        let mut order = if request.is_by_digest() {
            ranked(&all, request.repository)
        } else {
            all.iter().map(|one| one.id()).collect()
        };
        order.retain(|id| !except.contains(id));
        let mut round = Round { upstream: self, request, left: order, best: None };
        for pass in [Pass::Usable, Pass::LastResort] {
            if let Some(answer) = round.run(pass).await {
                return answer;
            }
        }
        round.end()
    }
}

/// One request on its way from endpoint to endpoint.
struct Round<'a, 'b> {
    upstream: &'a Upstream,
    request: &'b UpstreamRequest<'b>,
    /// The endpoints that were not asked yet, in order.
    left: Vec<EndpointId>,
    /// The most informative failure up to now.
    best: Option<Outcome<'a>>,
}

impl<'a> Round<'a, '_> {
    /// Asks the endpoints of this pass until one gives an answer.
    async fn run(&mut self, pass: Pass) -> Option<Outcome<'a>> {
        // Each endpoint is checked just before its turn: its health may change while another one is asked.
        while let Some(at) = self.left.iter().position(|id| self.is_fit(*id, pass)) {
            let id = self.left.remove(at);
            let outcome = self.ask_one(self.upstream.endpoint(id), pass).await;
            if self.settles(id, &outcome) {
                return Some(outcome);
            }
            self.remember(outcome);
        }
        None
    }

    async fn ask_one(&self, endpoint: &'a Endpoint, pass: Pass) -> Outcome<'a> {
        let (upstream, health) = (self.upstream, endpoint.health());
        let asking = upstream.ask_endpoint(endpoint, self.request);
        let instead = self.best.is_some() || self.left.iter().any(|id| self.is_fit(*id, Pass::Usable));
        if health.score(self.request.repository).closed || pass == Pass::LastResort || !instead {
            return asking.await;
        }
        match tokio::time::timeout(PROBE_TIMEOUT, asking).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let error = UpstreamError::Timeout { host: endpoint.host().into(), waited: PROBE_TIMEOUT };
                health.failed(self.request.repository, &error, FailureScope::Repository, PROBE_TIMEOUT);
                Err(error)
            }
        }
    }

    fn is_fit(&self, id: EndpointId, pass: Pass) -> bool {
        let (health, repository) = (self.upstream.endpoint(id).health(), self.request.repository);
        match pass {
            Pass::Usable => health.is_usable(repository, self.request.is_by_digest()),
            Pass::LastResort => self.request.ignores_throttle() || !health.is_throttled(repository),
        }
    }

    /// Returns true if this outcome answers the request, so that no other endpoint is asked.
    fn settles(&self, id: EndpointId, outcome: &Outcome<'_>) -> bool {
        // A GET follows, and asks this endpoint first. The HEAD of a less trusted endpoint must not decide instead.
        if self.request.is_hint() && !self.request.is_by_digest() {
            return !concerns_every_request(outcome);
        }
        let status = match outcome {
            // Another server than a registry gave this refusal.
            Ok(reply) if !reply.vouched => return false,
            Ok(reply) if self.request.is_claim(reply.response.status) && reply.response.status.is_server_error() => {
                return true;
            }
            Ok(reply) => reply.response.status,
            Err(UpstreamError::TooManyRequests { .. }) => return false,
            // A server in front of this endpoint alone may want a login.
            Err(error) => return !error.is_of_endpoint() && !error.is_login_page(),
        };
        if status == StatusCode::NOT_FOUND {
            let mut more_trusted = self.upstream.endpoints.iter().take_while(|endpoint| endpoint.id() < id);
            return !more_trusted.any(|endpoint| self.may_have_content(endpoint));
        }
        // A HEAD is a hint, whatever its status: a GET follows.
        let content = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        let is_answer = content.contains(&status) || self.request.is_claim(status) || self.request.is_hint();
        is_answer && !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
    }

    /// Returns true if an endpoint may have content that another does not have: it can still be asked, or is throttled.
    fn may_have_content(&self, endpoint: &Endpoint) -> bool {
        let waits = self.left.contains(&endpoint.id()) && self.is_fit(endpoint.id(), Pass::Usable);
        waits || endpoint.health().is_throttled(self.request.repository)
    }

    fn remember(&mut self, outcome: Outcome<'a>) {
        if self.best.as_ref().is_none_or(|best| weight(&outcome) > weight(best)) {
            self.best = Some(outcome);
        }
    }

    /// Returns the failure to report after no endpoint gave an answer.
    fn end(mut self) -> Outcome<'a> {
        for id in std::mem::take(&mut self.left) {
            let endpoint = self.upstream.endpoint(id);
            if let Some(refusal) = endpoint.health().refusal(self.request.repository, &endpoint.host()) {
                self.remember(Err(refusal));
            }
        }
        let host = self.upstream.name().as_str().into();
        let none = || Err(UpstreamError::Protocol { host, reason: "it has no other endpoint".to_owned() });
        self.best.unwrap_or_else(none)
    }
}

/// Returns how informative a failure is.
fn weight(outcome: &Outcome<'_>) -> u8 {
    let status = match outcome {
        Ok(reply) if !reply.vouched => 502,
        Ok(reply) => reply.response.status.as_u16(),
        Err(UpstreamError::TooManyRequests { .. }) => 429,
        Err(UpstreamError::NotFound | UpstreamError::Denied { .. }) => 404,
        Err(UpstreamError::Status { status, .. }) => *status,
        Err(UpstreamError::Foreign { .. }) => 502,
        Err(UpstreamError::Timeout { .. } | UpstreamError::Silent { .. }) => return 1,
        Err(_) => return 0,
    };
    match status {
        429 => 4,
        500.. => 2,
        _ => 3,
    }
}

fn ranked(endpoints: &[&Endpoint], repository: &RepositoryName) -> Vec<EndpointId> {
    let scores: Vec<Score> = endpoints.iter().map(|endpoint| endpoint.health().score(repository)).collect();
    rank(&scores).into_iter().map(|at| endpoints[at].id()).collect()
}

/// Returns the positions in `scores`, the best first: endpoints with a closed circuit, then those with fewer failures,
/// then the faster ones. Among endpoints about as fast as the fastest, the configured order decides; an endpoint of
/// unknown latency counts as fast.
fn rank(scores: &[Score]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..scores.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while let Some(standing) = left.iter().map(|at| (!scores[*at].closed, scores[*at].failures)).min() {
        let equals = || left.iter().filter(|at| (!scores[**at].closed, scores[**at].failures) == standing);
        let best = equals().filter_map(|at| scores[*at].latency).min();
        let near = best.map(|best| best.mul_f64(NEAR_FACTOR).max(best + NEAR));
        let is_near = |at: &&usize| near.is_none_or(|near| scores[**at].latency.is_none_or(|took| took <= near));
        // The fastest is near itself, so the search finds one.
        let Some(next) = equals().find(is_near).copied() else { return order };
        left.retain(|at| *at != next);
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::error::{DenialGround, LimitedBy};

    #[test]
    fn rank_prefers_healthy_endpoints_and_keeps_the_configured_order_among_equals() {
        let score = |failures, millis: u64| Score {
            closed: true,
            failures,
            latency: (millis > 0).then(|| Duration::from_millis(millis)),
        };
        let out = Score { closed: false, failures: 3, latency: None };
        for (scores, want) in [
            (vec![], vec![]),
            (vec![score(0, 0), score(0, 0)], vec![0, 1]),
            (vec![score(0, 500), score(0, 100)], vec![1, 0]),
            // Within 20 ms, or a quarter.
            (vec![score(0, 25), score(0, 6)], vec![0, 1]),
            (vec![score(0, 27), score(0, 6)], vec![1, 0]),
            (vec![score(0, 124), score(0, 100)], vec![0, 1]),
            (vec![score(0, 126), score(0, 100)], vec![1, 0]),
            // Each is near the next one, but the first is not near the last.
            (vec![score(0, 150), score(0, 122), score(0, 100)], vec![1, 2, 0]),
            // Its latency is unknown.
            (vec![score(0, 0), score(0, 100)], vec![0, 1]),
            (vec![score(0, 500), score(0, 0), score(0, 100)], vec![1, 2, 0]),
            // Failures weigh more than latency.
            (vec![score(1, 10), score(0, 900)], vec![1, 0]),
            (vec![score(2, 0), score(1, 0), score(0, 0)], vec![2, 1, 0]),
            (vec![out, score(2, 900)], vec![1, 0]),
            (vec![out, out], vec![0, 1]),
        ] {
            assert_eq!(rank(&scores), want, "{scores:?}");
        }
    }

    #[test]
    fn failures_are_weighed_by_how_informative_they_are() {
        let host = || "hub".to_owned();
        let failures: [(Outcome<'static>, u8); 7] = [
            (
                Err(UpstreamError::TooManyRequests {
                    host: host().into(),
                    limited: LimitedBy::Registry,
                    retry_after: None,
                    said: None,
                }),
                4,
            ),
            (Err(UpstreamError::NotFound), 3),
            (
                Err(UpstreamError::Denied {
                    upstream: "hub".parse().unwrap(),
                    status: 403,
                    ground: DenialGround::Registry,
                    detail: host(),
                    said: None,
                }),
                3,
            ),
            (Err(UpstreamError::Status { host: host().into(), status: 502, retry_after: None, said: None }), 2),
            (Err(UpstreamError::Foreign { host: host().into(), reason: host() }), 2),
            (Err(UpstreamError::Timeout { host: host().into(), waited: NEAR }), 1),
            (Err(UpstreamError::Connect { host: host().into(), reason: host(), retry_in: None }), 0),
        ];
        for (failure, want) in failures {
            assert_eq!(weight(&failure), want, "{failure:?}");
        }
    }
}
