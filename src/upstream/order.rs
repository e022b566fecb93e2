//! Which endpoints are asked, in which order, and whose word counts.
//!
//! - What is named by a digest is verified, so it may come from anywhere: those that do best come first. A tag is whatever its
//!   endpoint says, so it is asked of the first that can be asked, in the configured order of trust.
//! - An endpoint whose circuit is open, that wants to be asked later, or (for what is named by a digest) that has sent wrong
//!   content is left out while there is another. With none left it is asked all the same, since a link that is back must be
//!   noticed at once; but nobody waits for one that hangs ([`Upstream::ask_endpoint`]), and 429 is obeyed.
//! - No connection, no answer in time, a 5xx and a 429 lead to the next endpoint; anything else is an answer. A 404 is one only
//!   if no endpoint of more trust can be asked, or would have it answered but for a 429: else "it does not exist" would be
//!   said of what exists.
//! - When all fail, the most telling failure is reported: a 429, else a refusal or a 404, else a 5xx, else a time-out, else
//!   that there was no connection; among equals the first.

use std::time::Duration;

use http::{Method, StatusCode};

use super::ask::{Ask, Reply};
use super::endpoint::{Endpoint, EndpointId};
use super::health::Score;
use super::meter::Kind;
use super::{Upstream, UpstreamError};

/// Where another endpoint can be asked, or was, one that may be back is waited for no longer than this.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// Latencies that differ by less are equal, and the configured order stands.
const NEAR: Duration = Duration::from_millis(20);
const NEAR_FACTOR: f64 = 1.25;

type Outcome<'a> = Result<Reply<'a>, UpstreamError>;

/// What makes an endpoint fit to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing speaks against it.
    Usable,
    /// Something does, but nobody else is left.
    LastResort,
}

impl Ask<'_> {
    /// Is what it asks for named by a digest?
    fn is_by_digest(&self) -> bool {
        match self.kind {
            Kind::Blob => true,
            // A tag holds no colon.
            Kind::Manifest => self.rest.contains(':'),
            // A list is whatever its endpoint says.
            Kind::Tags | Kind::Referrers | Kind::Token => false,
        }
    }

    /// The bytes of a blob are not counted where requests are, and a transfer under way must be able to go on.
    fn ignores_throttle(&self) -> bool {
        self.kind == Kind::Blob && self.method == Method::GET
    }
}

impl Upstream {
    /// Its endpoints, those that are likeliest to answer well first; never none. Each may be asked for any blob; whoever asks
    /// one whose circuit is open finds out whether it is back, and it is named to one caller at a time. Where none is fit to
    /// be asked, it is the one that will be first.
    pub fn endpoints(&self) -> Vec<EndpointId> {
        let fit: Vec<&Endpoint> = self.endpoints.iter().filter(|endpoint| endpoint.health().hand_out()).collect();
        if !fit.is_empty() {
            return ranked(&fit);
        }
        self.endpoints.iter().min_by_key(|endpoint| endpoint.health().due_in()).map(Endpoint::id).into_iter().collect()
    }

    /// All its endpoints, in the configured order, whatever is known of them.
    pub fn every_endpoint(&self) -> Vec<EndpointId> {
        self.endpoints.iter().map(Endpoint::id).collect()
    }

    /// The first answer that is one. A status is given as it is; [`Self::judge`] says what it means.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Outcome<'_> {
        self.ask_others(ask, &[]).await
    }

    /// The same, without these endpoints.
    pub(super) async fn ask_others(&self, ask: &Ask<'_>, except: &[EndpointId]) -> Outcome<'_> {
        let all: Vec<&Endpoint> = self.endpoints.iter().collect();
        let mut order = if ask.is_by_digest() { ranked(&all) } else { all.iter().map(|one| one.id()).collect() };
        order.retain(|id| !except.contains(id));
        let mut round = Round { upstream: self, ask, left: order, best: None };
        for turn in [Turn::Usable, Turn::LastResort] {
            if let Some(answer) = round.go(turn).await {
                return answer;
            }
        }
        round.end()
    }

    fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.endpoints[id.0]
    }
}

/// One question's way from endpoint to endpoint.
struct Round<'a, 'b> {
    upstream: &'a Upstream,
    ask: &'b Ask<'b>,
    /// Those that were not asked, in order.
    left: Vec<EndpointId>,
    /// The most telling failure so far.
    best: Option<Outcome<'a>>,
}

impl<'a> Round<'a, '_> {
    /// Asks those whose turn it is, until one gives an answer.
    async fn go(&mut self, turn: Turn) -> Option<Outcome<'a>> {
        // Looked at one by one: what is known of the next may change while one is asked.
        while let Some(at) = self.left.iter().position(|id| self.is_fit(*id, turn)) {
            let id = self.left.remove(at);
            let outcome = self.ask_one(self.upstream.endpoint(id), turn).await;
            if self.settles(id, &outcome) {
                return Some(outcome);
            }
            self.remember(outcome);
        }
        None
    }

    async fn ask_one(&self, endpoint: &'a Endpoint, turn: Turn) -> Outcome<'a> {
        let (upstream, health) = (self.upstream, endpoint.health());
        let asking = upstream.ask_endpoint(endpoint, self.ask);
        let instead = self.best.is_some() || self.left.iter().any(|id| self.is_fit(*id, Turn::Usable));
        if health.score().closed || turn == Turn::LastResort || !instead {
            return asking.await;
        }
        match tokio::time::timeout(PROBE_PATIENCE, asking).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let error = UpstreamError::Timeout { host: endpoint.host(), waited: PROBE_PATIENCE };
                health.missed(&error, PROBE_PATIENCE);
                Err(error)
            }
        }
    }

    fn is_fit(&self, id: EndpointId, turn: Turn) -> bool {
        let health = self.upstream.endpoint(id).health();
        match turn {
            Turn::Usable => health.is_usable(self.ask.is_by_digest()),
            Turn::LastResort => self.ask.ignores_throttle() || !health.is_throttled(),
        }
    }

    /// Is this the answer?
    fn settles(&self, id: EndpointId, outcome: &Outcome<'_>) -> bool {
        let status = match outcome {
            Ok(reply) => reply.answer.status,
            Err(UpstreamError::TooManyRequests { .. }) => return false,
            Err(error) => return !error.is_of_endpoint(),
        };
        if status == StatusCode::NOT_FOUND {
            let better = self.upstream.endpoints.iter().take_while(|endpoint| endpoint.id() < id);
            return !better.into_iter().any(|endpoint| self.might_know(endpoint));
        }
        !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
    }

    /// Might it have what another has not? It can still be asked, or does not say because of a limit.
    fn might_know(&self, endpoint: &Endpoint) -> bool {
        let waits = self.left.contains(&endpoint.id()) && self.is_fit(endpoint.id(), Turn::Usable);
        waits || endpoint.health().is_throttled()
    }

    fn remember(&mut self, outcome: Outcome<'a>) {
        if self.best.as_ref().is_none_or(|best| weight(&outcome) > weight(best)) {
            self.best = Some(outcome);
        }
    }

    /// What is reported when none gave an answer.
    fn end(mut self) -> Outcome<'a> {
        for id in std::mem::take(&mut self.left) {
            let endpoint = self.upstream.endpoint(id);
            if let Some(refusal) = endpoint.health().refusal(&endpoint.host()) {
                self.remember(Err(refusal));
            }
        }
        let host = self.upstream.name().to_string();
        let none = || Err(UpstreamError::Protocol { host, reason: "it has no other endpoint".to_owned() });
        self.best.unwrap_or_else(none)
    }
}

/// How much a failure tells.
fn weight(outcome: &Outcome<'_>) -> u8 {
    let status = match outcome {
        Ok(reply) => reply.answer.status.as_u16(),
        Err(UpstreamError::TooManyRequests { .. }) => 429,
        Err(UpstreamError::NotFound | UpstreamError::Denied { .. }) => 404,
        Err(UpstreamError::Status { status, .. }) => *status,
        Err(UpstreamError::Timeout { .. } | UpstreamError::Silent { .. }) => return 1,
        Err(_) => return 0,
    };
    match status {
        429 => 4,
        500.. => 2,
        _ => 3,
    }
}

fn ranked(endpoints: &[&Endpoint]) -> Vec<EndpointId> {
    let scores: Vec<Score> = endpoints.iter().map(|endpoint| endpoint.health().score()).collect();
    rank(&scores).into_iter().map(|at| endpoints[at].id()).collect()
}

/// Positions, the best first: whose circuit is closed, then who failed less, then who is faster. Among those that are about as
/// good as the best, the earlier comes first; one whose latency is not known is as good as the best.
fn rank(scores: &[Score]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..scores.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while let Some(standing) = left.iter().map(|at| (!scores[*at].closed, scores[*at].failures)).min() {
        let equals = || left.iter().filter(|at| (!scores[**at].closed, scores[**at].failures) == standing);
        let best = equals().filter_map(|at| scores[*at].latency).min();
        let near = best.map(|best| best.mul_f64(NEAR_FACTOR).max(best + NEAR));
        let is_near = |at: &&usize| near.is_none_or(|near| scores[**at].latency.is_none_or(|took| took <= near));
        // The best itself is near, so there is one.
        let Some(next) = equals().find(is_near).copied() else { return order };
        left.retain(|at| *at != next);
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_healthiest_come_first_and_the_configured_order_stands_among_equals() {
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
            // Each is near the next, but the first is not near the last.
            (vec![score(0, 150), score(0, 122), score(0, 100)], vec![1, 2, 0]),
            // Nobody knows how fast it is.
            (vec![score(0, 0), score(0, 100)], vec![0, 1]),
            (vec![score(0, 500), score(0, 0), score(0, 100)], vec![1, 2, 0]),
            // Failures weigh more than time.
            (vec![score(1, 10), score(0, 900)], vec![1, 0]),
            (vec![score(2, 0), score(1, 0), score(0, 0)], vec![2, 1, 0]),
            (vec![out, score(2, 900)], vec![1, 0]),
            (vec![out, out], vec![0, 1]),
        ] {
            assert_eq!(rank(&scores), want, "{scores:?}");
        }
    }

    #[test]
    fn the_most_telling_failure() {
        let host = || "hub".to_owned();
        let failures: [(Outcome<'static>, u8); 6] = [
            (Err(UpstreamError::TooManyRequests { host: host(), retry_after: None }), 4),
            (Err(UpstreamError::NotFound), 3),
            (Err(UpstreamError::Denied { upstream: "hub".parse().unwrap(), status: 403, detail: host() }), 3),
            (Err(UpstreamError::Status { host: host(), status: 502 }), 2),
            (Err(UpstreamError::Timeout { host: host(), waited: NEAR }), 1),
            (Err(UpstreamError::Connect { host: host(), reason: host(), retry_in: None }), 0),
        ];
        for (failure, want) in failures {
            assert_eq!(weight(&failure), want, "{failure:?}");
        }
    }
}
