//! Tracks the health of an endpoint: whether it answers, how fast, and whether it may be asked now.
//!
//! A failure to connect concerns the endpoint. Any other failure may concern the repository alone: its failures count
//! against the endpoint until the endpoint answers another repository. Until two repositories have failed, requests for
//! other ones are sent as usual.
//!
//! Only `Upstream::ask_endpoint` reports the outcome of a request up to the head of its response. The reader of a body
//! reports the outcome of the body.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::circuit::{CircuitState, Pause};
use super::failing::{FailingRepository, Hang, ThrottleReason};
use super::known_health::{KnownHealth, Latency, hanging};
use super::meter::HealthMetrics;
use crate::oci::RepositoryName;
use crate::sys::Clock;
use crate::upstream::cause::FailureCause;
use crate::upstream::error::UpstreamError;
use crate::upstream::words::UpstreamWords;

/// After content that did not match its digest, the endpoint is not asked for content of that repository that a digest names
/// for this long.
const DISTRUST: Duration = Duration::from_secs(10 * 60);
/// The longest throttle, whatever `Retry-After` says.
const LONGEST_THROTTLE: Duration = Duration::from_secs(5 * 60);
/// The throttle after a 429 without `Retry-After`.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(5);
/// An endpoint that was offered to a caller for its probe is offered again if it is not asked within this time.
const OFFER_VALID: Duration = Duration::from_secs(1);
/// A failure to connect that took at least this long counts as hanging, not as a refusal.
const SLOW: Duration = Duration::from_secs(2);
/// The weight of a new measurement in the moving average.
const NEW_WEIGHT: f64 = 0.3;

/// The health of one endpoint. It is shared with the bodies that are still arriving.
#[derive(Debug)]
pub(in crate::upstream) struct EndpointHealth {
    clock: Clock,
    metrics: HealthMetrics,
    /// A std `Mutex`, since it is only held for assignments.
    state: Mutex<KnownHealth>,
}

/// The requests that a failure says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum FailureScope {
    /// All requests to the endpoint.
    Endpoint,
    /// The requests for the repository, as long as the endpoint answers for others.
    Repository,
}

/// A response that is not a fault of the endpoint.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct HealthyAnswer {
    /// The time until its head arrived, if it counts as a measurement.
    pub(in crate::upstream) took: Option<Duration>,
    /// The registry limits the number of such requests.
    pub(in crate::upstream) is_counted: bool,
    /// It is a 429.
    pub(in crate::upstream) is_throttle: bool,
}

/// The values that endpoints are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Score {
    pub(in crate::upstream) closed: bool,
    pub(in crate::upstream) failures: u32,
    /// `None` if the latency was not measured lately.
    pub(in crate::upstream) latency: Option<Duration>,
}

/// The health of an endpoint as operators see it.
#[derive(Clone, Debug)]
pub struct HealthReport {
    pub circuit: CircuitState,
    /// A moving average of the time to the head of a response.
    pub latency: Option<Duration>,
    /// The number of failures in a row.
    pub failures: u32,
    /// The time when one request probes whether the endpoint is back.
    pub retry_at: Option<SystemTime>,
    /// The end of the pause that the endpoint asked for by a 429, or a 503 with `Retry-After`.
    pub throttled_until: Option<SystemTime>,
    /// The end of the last pause of a repository after content that did not match its digest.
    pub distrusted_until: Option<SystemTime>,
}

impl EndpointHealth {
    pub(in crate::upstream) fn new(clock: Clock, metrics: HealthMetrics) -> Self {
        metrics.circuit(CircuitState::Closed);
        Self { clock, metrics, state: Mutex::default() }
    }

    /// Counts a failure in the metric.
    pub(in crate::upstream) fn count_failure(&self, cause: FailureCause) {
        self.metrics.failed(cause);
    }

    /// Records a response that is not a fault of the endpoint.
    pub(in crate::upstream) fn answered(&self, repository: &RepositoryName, answer: HealthyAnswer) {
        let (mut state, clock) = (self.state(), &self.clock);
        if let Some(took) = answer.took {
            let average = match state.latency(clock) {
                Some(known) => known.mul_f64(1.0 - NEW_WEIGHT) + took.mul_f64(NEW_WEIGHT),
                None => took,
            };
            state.latency = Some(Latency { average, measured: clock.moment() });
            let is_disproved = state.throttled.is_some_and(|(pause, reason)| {
                let is_of_kind = answer.is_counted || reason == ThrottleReason::Unavailable;
                is_of_kind && !answer.is_throttle && pause.age(clock) > took
            });
            if is_disproved {
                state.throttled = None;
                self.metrics.throttled_until(clock.now());
            }
        }
        (state.unanswered, state.unreachable) = (0, false);
        (state.hang, state.offered, state.others_wait) = (None, None, None);
        state.failing.answered(repository, answer.is_throttle);
        if !state.circuit.is_closed() {
            self.metrics.circuit(CircuitState::Closed);
            self.metrics.circuit_closed();
        }
        let recovered = state.cuts(clock) == 0;
        state.circuit.close(recovered);
    }

    /// Records a failed request: no connection, no response in time, or a 5xx. The failure was known after `took`.
    pub(in crate::upstream) fn failed(
        &self,
        repository: &RepositoryName,
        error: &UpstreamError,
        scope: FailureScope,
        took: Duration,
    ) {
        let (mut state, clock) = (self.state(), &self.clock);
        let connected = match error {
            UpstreamError::Timeout { .. } => Some(true),
            UpstreamError::Connect { .. } if took >= SLOW => Some(false),
            _ => None,
        };
        let began = clock.now().checked_sub(took).unwrap_or_else(|| clock.now());
        let hang = |known: Option<Hang>| {
            let since = known.map_or(began, |known| known.since);
            let server = error.server().cloned();
            connected.zip(server).map(|(connected, server)| Hang { server, since, connected })
        };
        if scope == FailureScope::Repository {
            let failing = state.failing.failed(repository, clock);
            failing.unanswered += 1;
            if failing.is_alone {
                failing.hang = hang(failing.hang.take());
                self.count_alone(repository, failing, error);
                return;
            }
            let is_new = failing.failures() == 1;
            state.unanswered += 1;
            state.hang = hang(state.hang.take());
            self.count(&mut state, is_new, error);
            return;
        }
        state.unreachable = true;
        state.unanswered += 1;
        state.hang = hang(state.hang.take());
        self.count(&mut state, true, error);
    }

    /// Returns the rest of the circuit's pause for this repository; `None` if it is not paused.
    pub(in crate::upstream) fn circuit_pause(&self, repository: &RepositoryName) -> Option<Duration> {
        let state = self.state();
        state.circuits(repository, &self.clock).map(|circuit| circuit.left(&self.clock)).max()
    }

    /// Records a body that was cut, or stalled.
    pub(in crate::upstream) fn body_failed(&self, repository: &RepositoryName, error: &UpstreamError) {
        let (mut state, clock) = (self.state(), &self.clock);
        let failing = state.failing.failed(repository, clock);
        failing.cuts += 1;
        if failing.is_alone {
            self.count_alone(repository, failing, error);
            return;
        }
        let is_new = failing.failures() == 1;
        state.cuts = state.cuts(clock) + 1;
        state.last_cut = Some(clock.moment());
        self.count(&mut state, is_new, error);
    }

    /// Records a body that was complete.
    pub(in crate::upstream) fn body_completed(&self, repository: &RepositoryName) {
        let mut state = self.state();
        state.cuts = 0;
        state.failing.body_completed(repository);
    }

    /// Records content that did not match its digest.
    pub(in crate::upstream) fn digest_mismatch(&self, repository: &RepositoryName) {
        self.state().distrusted.begin(repository, DISTRUST, &self.clock);
        self.metrics.digest_mismatch(repository, DISTRUST);
    }

    /// Records that the endpoint asked for a pause. The pause is for all repositories, until one of them is answered: then
    /// it is for this repository. A longer pause that the endpoint asked for before stays in force.
    pub(in crate::upstream) fn throttle(
        &self,
        repository: &RepositoryName,
        (reason, said): (ThrottleReason, Option<&UpstreamWords>),
        retry_after: Option<Duration>,
    ) {
        let length = retry_after.unwrap_or(DEFAULT_THROTTLE).min(LONGEST_THROTTLE);
        let (mut state, clock) = (self.state(), &self.clock);
        let failing = state.failing.failed(repository, clock);
        failing.throttle(length, LONGEST_THROTTLE, reason, clock);
        failing.said = said.cloned();
        // Other repositories may have a token already.
        let is_own = failing.is_alone || reason == ThrottleReason::TokenServer;
        let left = state.throttled.map(|(pause, _)| pause.left(clock)).unwrap_or_default();
        if left.is_zero() {
            self.metrics.throttled(reason, length);
        }
        if !is_own && length > left {
            state.throttled = Some((Pause::begin(clock, length), reason));
            self.metrics.throttled_until(clock.now() + length);
        }
    }

    /// Begins a request. While the endpoint hangs for this repository, the request is refused at once, unless it is the
    /// one that probes whether the endpoint is back. The request holds the probe until it reports an outcome or drops the
    /// probe.
    pub(in crate::upstream) fn begin<'a>(&'a self, repository: &'a RepositoryName) -> Result<Probe<'a>, UpstreamError> {
        let (mut state, clock) = (self.state(), &self.clock);
        let is_concerned = state.concerns(repository, clock);
        let probes_own = match state.failing.get_mut(repository) {
            Some(failing) if failing.is_alone => {
                let probes = failing.circuit.begin_probe(clock);
                if let Some(refused) = hanging(failing.hang.as_ref().filter(|_| !probes), &failing.circuit, clock) {
                    return Err(refused);
                }
                probes
            }
            _ => false,
        };
        let mut probe = Probe { health: self, repository: probes_own.then_some(repository), of_endpoint: false };
        if !is_concerned {
            return Ok(probe);
        }
        if state.circuit.begin_probe(clock) {
            self.metrics.circuit(CircuitState::HalfOpen);
            probe.of_endpoint = true;
            return Ok(probe);
        }
        let refused = hanging(state.hang.as_ref(), &state.circuit, clock);
        // The probe locks the state when it is dropped.
        drop(state);
        refused.map_or(Ok(probe), Err)
    }

    /// Returns true if it may be asked for this repository, as usual or to probe whether it is back.
    pub(in crate::upstream) fn is_usable(&self, repository: &RepositoryName, by_digest: bool) -> bool {
        let (state, clock) = (self.state(), &self.clock);
        state.circuits(repository, clock).all(|circuit| circuit.admits(clock))
            && state.throttled_for(repository, clock).is_zero()
            && !(by_digest && state.distrusted.left_for(repository, clock) > Duration::ZERO)
    }

    pub(in crate::upstream) fn is_throttled(&self, repository: &RepositoryName) -> bool {
        self.state().throttled_for(repository, &self.clock) > Duration::ZERO
    }

    /// Returns true if it is offered to this caller as a source of blobs. An endpoint that is due for its probe is
    /// offered to one caller at a time.
    pub(in crate::upstream) fn offer(&self, repository: &RepositoryName) -> bool {
        if !self.is_usable(repository, true) {
            return false;
        }
        let mut state = self.state();
        if state.circuits(repository, &self.clock).next().is_none() {
            return true;
        }
        let free = state.offered.is_none_or(|at| self.clock.since(at) >= OFFER_VALID);
        if free {
            state.offered = Some(self.clock.moment());
        }
        free
    }

    /// Returns the time until it may be asked for any content of this repository.
    pub(in crate::upstream) fn due_in(&self, repository: &RepositoryName) -> Duration {
        let (state, clock) = (self.state(), &self.clock);
        let circuit = state.circuits(repository, clock).map(|circuit| circuit.left(clock)).max().unwrap_or_default();
        circuit.max(state.throttled_for(repository, clock)).max(state.distrusted.left_for(repository, clock))
    }

    /// Returns the error for a request that is not sent because the endpoint is throttled: the one that it answered
    /// last.
    pub(in crate::upstream) fn refusal(&self, repository: &RepositoryName, host: &str) -> Option<UpstreamError> {
        let (state, clock) = (self.state(), &self.clock);
        let throttled = state.throttles(repository).max_by_key(|(pause, _)| pause.left(clock));
        let (pause, reason) = throttled.filter(|(pause, _)| !pause.left(clock).is_zero())?;
        // The words may name the repository that was asked for, so they are for its clients only.
        let said = state.failing.get(repository).and_then(|failing| failing.said.clone());
        Some(reason.refusal(host, pause.left(clock)).saying(said))
    }

    pub(in crate::upstream) fn score(&self, repository: &RepositoryName) -> Score {
        let (state, clock) = (self.state(), &self.clock);
        let alone = state.failing.alone(repository).map_or(0, FailingRepository::failures);
        Score {
            closed: state.circuits(repository, clock).next().is_none(),
            failures: state.failures(clock).saturating_add(alone),
            latency: state.latency(clock),
        }
    }

    pub(in crate::upstream) fn report(&self) -> HealthReport {
        let (state, clock) = (self.state(), &self.clock);
        let at = |left: Duration| (!left.is_zero()).then(|| clock.now() + left);
        HealthReport {
            circuit: state.circuit.state(),
            latency: state.latency(clock),
            failures: state.failures(clock),
            retry_at: at(state.circuit.left(clock)),
            throttled_until: at(state.throttled.map(|(pause, _)| pause.left(clock)).unwrap_or_default()),
            distrusted_until: at(state.distrusted.longest(clock)),
        }
    }

    /// Counts a failure of the endpoint. `is_new` means that it is the first of its repository.
    fn count(&self, state: &mut KnownHealth, is_new: bool, error: &UpstreamError) {
        let failures = state.failures(&self.clock);
        let was_closed = state.circuit.is_closed();
        let opened = state.circuit.fail(failures, &self.clock);
        if let Some(length) = opened {
            state.offered = None;
            self.metrics.circuit(CircuitState::Open);
            if was_closed {
                self.metrics.circuit_opened(length, error);
            }
        }
        let begins = is_new || (was_closed && opened.is_some());
        if begins && !state.circuit.is_closed() {
            state.others_wait = Some(Pause::begin(&self.clock, state.circuit.left(&self.clock)));
        }
    }

    /// Counts a failure of a repository that fails alone.
    fn count_alone(&self, repository: &RepositoryName, failing: &mut FailingRepository, error: &UpstreamError) {
        let was_closed = failing.circuit.is_closed();
        let opened = failing.circuit.fail(failing.failures(), &self.clock);
        if let Some(length) = opened.filter(|_| was_closed) {
            self.metrics.repository_paused(repository, length, error);
        }
    }

    fn state(&self) -> MutexGuard<'_, KnownHealth> {
        // A panic cannot leave the state inconsistent for long: each change is a few assignments, and the next outcome
        // resets them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the one request that probes whether an endpoint is back. Every other request holds an empty probe.
#[derive(Debug)]
pub(in crate::upstream) struct Probe<'a> {
    health: &'a EndpointHealth,
    /// The repository whose own circuit is probed.
    repository: Option<&'a RepositoryName>,
    /// The circuit of the endpoint is probed.
    of_endpoint: bool,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if !self.of_endpoint && self.repository.is_none() {
            return;
        }
        let health = self.health;
        let mut state = health.state();
        if let Some(failing) = self.repository.and_then(|repository| state.failing.get_mut(repository)) {
            failing.circuit.drop_probe(&health.clock);
        }
        if self.of_endpoint {
            state.circuit.drop_probe(&health.clock);
            health.metrics.circuit(state.circuit.state());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::upstream::endpoint::meter::Meter;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(15);
    const SHORT: Duration = Duration::from_millis(10);

    struct Setting {
        health: EndpointHealth,
        clock: Clock,
        metrics: Arc<Metrics>,
    }

    fn setting() -> Setting {
        let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new()));
        let meter = Meter::new("docker.io".parse().unwrap(), Arc::clone(&metrics), clock.clone());
        let health = EndpointHealth::new(clock.clone(), meter.health_metrics("hub".to_owned()));
        Setting { health, clock, metrics }
    }

    impl Setting {
        fn gauge(&self) -> i64 {
            self.metrics.upstream_circuit.with_label_values(&["docker.io", "hub"]).get()
        }

        fn advance(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }

        fn hang(&self) {
            self.fail(&one());
        }

        fn fail(&self, repository: &RepositoryName) {
            let error = UpstreamError::Timeout { host: "hub".into(), waited: LONG };
            self.health.failed(repository, &error, FailureScope::Repository, LONG);
        }

        fn refuse(&self) {
            self.health.failed(&one(), &unconnected(), FailureScope::Endpoint, SHORT);
        }

        fn answer(&self, repository: &RepositoryName) {
            let answer = HealthyAnswer { took: Some(SHORT), is_counted: true, is_throttle: false };
            self.health.answered(repository, answer);
        }

        fn admits(&self, repository: &RepositoryName) -> bool {
            self.health.is_usable(repository, true) && self.health.begin(repository).is_ok()
        }
    }

    fn one() -> RepositoryName {
        "a".parse().unwrap()
    }

    fn unconnected() -> UpstreamError {
        UpstreamError::Connect { host: "hub".into(), reason: "refused".to_owned(), retry_in: None }
    }

    #[test]
    fn failures_in_a_row_are_counted_until_an_answer_or_a_whole_body() {
        type Step = fn(&Setting);
        let answer: Step = |s| s.answer(&one());
        let cut: Step = |s| s.health.body_failed(&one(), &UpstreamError::NotFound);
        let whole: Step = |s| s.health.body_completed(&one());
        let refuse: Step = Setting::refuse;
        let hang: Step = Setting::hang;
        let minute: Step = |s| s.advance(61);
        for (name, steps, failures, open) in [
            ("three refusals", &[refuse, refuse, refuse][..], 3, true),
            ("two", &[refuse, hang], 2, false),
            ("an answer in between", &[refuse, refuse, answer, refuse], 1, false),
            ("heads without bodies", &[answer, cut, answer, cut, answer, cut], 3, true),
            ("a whole body in between", &[cut, cut, whole, cut], 1, false),
            ("cuts long ago", &[cut, cut, minute, cut], 1, false),
            ("of both kinds", &[cut, refuse, hang], 3, true),
            ("an answer closes", &[refuse, refuse, refuse, answer], 0, false),
        ] {
            let setting = setting();
            steps.iter().for_each(|step| step(&setting));
            let report = setting.health.report();
            assert_eq!((report.failures, report.circuit == CircuitState::Open), (failures, open), "{name}");
            assert_eq!(report.retry_at.is_some(), open, "{name}");
            assert_eq!(setting.gauge(), if open { 2 } else { 0 }, "{name}");
        }
    }

    #[test]
    fn one_request_probes_whether_the_endpoint_is_back() {
        let (setting, name) = (setting(), one());
        (0..3).for_each(|_| setting.hang());
        assert!(!setting.health.is_usable(&one(), true) && !setting.health.offer(&one()));
        setting.advance(8);
        assert!(setting.health.is_usable(&one(), true));
        assert_eq!(
            (setting.health.offer(&one()), setting.health.offer(&one())),
            (true, false),
            "offered to one caller"
        );
        setting.advance(2);
        assert!(setting.health.offer(&one()), "the caller it was offered to did not ask it");
        let probe = setting.health.begin(&name).unwrap();
        assert!(!setting.health.is_usable(&one(), true) && !setting.health.offer(&one()));
        assert_eq!((setting.gauge(), setting.health.report().circuit), (1, CircuitState::HalfOpen));
        assert!(matches!(setting.health.begin(&name), Err(UpstreamError::Silent { .. })), "other requests do not wait");
        drop(probe);
        assert_eq!(setting.gauge(), 2);
        let probe = setting.health.begin(&name).unwrap();
        setting.answer(&one());
        drop(probe);
        assert_eq!((setting.gauge(), setting.health.report().circuit), (0, CircuitState::Closed));
        assert!(setting.health.offer(&one()) && setting.health.offer(&one()));
    }

    #[test]
    fn hanging_endpoint_refuses_requests_and_refusing_endpoint_admits_them() {
        let (setting, name) = (setting(), one());
        let begin = || setting.health.begin(&name).map(|_| ());
        (0..3).for_each(|_| setting.refuse());
        assert_eq!(begin(), Ok(()));
        setting.answer(&one());
        setting.advance(100);
        (0..2).for_each(|_| setting.hang());
        assert_eq!(begin(), Ok(()), "its circuit is still closed");
        setting.hang();
        let refused = begin().unwrap_err();
        let UpstreamError::Silent { since, retry_in, connected: true, .. } = &refused else { panic!("{refused}") };
        let ago = setting.clock.now().duration_since(*since).unwrap();
        assert!(ago >= LONG && ago < LONG + Duration::from_secs(60), "since the first time-out began");
        assert!(!retry_in.is_zero() && refused.to_string().contains("is asked again in "), "{refused}");
        // A connection that does not come up within its limit counts as hanging too.
        setting.advance(60);
        setting.health.failed(&one(), &unconnected(), FailureScope::Endpoint, Duration::from_secs(5));
        assert!(matches!(begin(), Err(UpstreamError::Silent { connected: false, .. })));
        // A quick refusal does not: the link works, and the registry may be starting.
        setting.advance(60);
        setting.refuse();
        assert_eq!(begin(), Ok(()));
    }

    #[test]
    fn distrust_after_a_digest_mismatch_outlasts_good_answers() {
        let setting = setting();
        setting.health.digest_mismatch(&one());
        setting.answer(&one());
        setting.health.body_completed(&one());
        setting.advance(599);
        assert!(!setting.health.is_usable(&one(), true) && !setting.health.offer(&one()));
        assert!(setting.health.is_usable(&one(), false), "it can still be asked for a tag");
        assert!(setting.health.report().distrusted_until.is_some() && !setting.health.due_in(&one()).is_zero());
        setting.advance(2);
        assert!(setting.health.is_usable(&one(), true) && setting.health.offer(&one()));
        let counted = setting.metrics.render();
        let line = r#"entrepot_upstream_digest_mismatch_total{endpoint="hub",upstream="docker.io"} 1"#;
        assert!(counted.contains(line), "{line} is not in\n{counted}");
    }

    #[test]
    fn throttled_endpoint_is_not_usable_until_its_time_has_passed() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (retry_after, throttled) in [(seconds(7), 7), (seconds(0), 0), (None, 5), (seconds(86_400), 300)] {
            let setting = setting();
            setting.health.throttle(&one(), (ThrottleReason::TooManyRequests, None), retry_after);
            setting.answer(&one());
            assert_eq!(setting.health.is_throttled(&one()), throttled > 0, "{retry_after:?}");
            assert_eq!(setting.health.is_usable(&one(), false), throttled == 0, "{retry_after:?}");
            if throttled == 0 {
                continue;
            }
            setting.advance(throttled - 1);
            match setting.health.refusal(&one(), "hub") {
                Some(UpstreamError::TooManyRequests { retry_after: Some(left), .. }) => {
                    assert!(left <= Duration::from_secs(1), "{left:?} are left of {retry_after:?}");
                }
                other => panic!("{retry_after:?}: {other:?}"),
            }
            setting.advance(1);
            assert!(
                setting.health.is_usable(&one(), true) && setting.health.refusal(&one(), "hub").is_none(),
                "{retry_after:?}"
            );
        }
        let setting = setting();
        setting.health.throttle(&one(), (ThrottleReason::Unavailable, None), seconds(60));
        setting.health.throttle(&one(), (ThrottleReason::TooManyRequests, None), None);
        let refusal = setting.health.refusal(&one(), "hub");
        assert!(matches!(refusal, Some(UpstreamError::Status { status: 503, .. })), "the longer pause stays in force");
        let gauge = setting.metrics.upstream_throttled_until.with_label_values(&["docker.io", "hub"]).get();
        let due = i64::try_from(setting.clock.unix_seconds()).unwrap() + 60;
        assert!((due - 5..=due).contains(&gauge), "{gauge}");
    }

    #[test]
    fn answers_during_a_pause_do_not_make_it_longer() {
        let setting = setting();
        let refuse =
            || setting.health.throttle(&one(), (ThrottleReason::Unavailable, None), Some(Duration::from_secs(1)));
        (0..50).for_each(|_| refuse());
        setting.advance(1);
        assert!(!setting.health.is_throttled(&one()), "50 answers asked for the same second");
        (0..50).for_each(|_| refuse());
        setting.advance(1);
        assert!(setting.health.is_throttled(&one()), "the endpoint asked again after the pause");
        setting.advance(1);
        assert!(!setting.health.is_throttled(&one()));
    }

    #[test]
    fn latency_is_a_moving_average_that_ages() {
        let setting = setting();
        let measure = |millis| {
            let took = Some(Duration::from_millis(millis));
            setting.health.answered(&one(), HealthyAnswer { took, is_counted: true, is_throttle: false });
        };
        let latency = || setting.health.score(&one()).latency.map(|took| took.as_millis());
        assert_eq!(latency(), None);
        measure(100);
        assert_eq!(latency(), Some(100));
        measure(200);
        assert_eq!(latency(), Some(130));
        setting.refuse();
        setting.health.answered(&one(), HealthyAnswer { took: None, is_counted: false, is_throttle: false });
        assert_eq!(latency(), Some(130));
        setting.advance(601);
        assert_eq!(latency(), None, "it was not measured again");
    }

    #[test]
    fn failing_repository_pauses_itself_and_no_other() {
        let (setting, bad, good): (_, RepositoryName, RepositoryName) = (setting(), one(), "good".parse().unwrap());
        (0..5).for_each(|_| setting.fail(&bad));
        assert!(!setting.admits(&bad) && setting.admits(&good), "only one repository has failed");
        setting.answer(&good);
        assert_eq!(setting.health.report().circuit, CircuitState::Closed);
        assert!(setting.admits(&bad), "the pause ends, since the endpoint may have been the reason");
        (0..5).for_each(|_| setting.fail(&bad));
        assert!(!setting.admits(&bad) && setting.admits(&good), "it fails alone");
        assert_eq!((setting.health.report().failures, setting.gauge()), (0, 0));
        setting.answer(&good);
        assert!(!setting.admits(&bad), "answers for others say nothing about it");
        setting.advance(8);
        assert!(setting.admits(&bad), "its own probe");
        setting.answer(&bad);
        assert!(setting.admits(&bad));
    }

    #[test]
    fn failing_repositories_pause_the_others_once() {
        let names = ["a", "b", "c", "d"].map(|name| name.parse::<RepositoryName>().unwrap());
        let [a, b, c, d] = &names;
        let setting = setting();
        [a, b, a].into_iter().for_each(|name| setting.fail(name));
        assert!(names.iter().all(|name| !setting.admits(name)), "several have failed");
        // Requests for the same ones take each probe, and fail.
        for _ in 0..3 {
            setting.advance(31);
            [a, b].into_iter().for_each(|name| setting.fail(name));
        }
        assert!(!setting.admits(a) && setting.admits(c) && setting.admits(d));
        setting.fail(c);
        assert!(!setting.admits(d), "another one has failed");
        setting.advance(31);
        setting.answer(d);
        assert!(names.iter().all(|name| setting.admits(name)));
    }

    #[test]
    fn throttle_that_another_repository_does_not_meet_is_that_of_one_repository() {
        let (setting, bad, good): (_, RepositoryName, RepositoryName) = (setting(), one(), "good".parse().unwrap());
        let refuse = || {
            setting.health.answered(&bad, HealthyAnswer { took: Some(SHORT), is_counted: true, is_throttle: true });
            setting.health.throttle(&bad, (ThrottleReason::TooManyRequests, None), Some(Duration::from_secs(10)));
        };
        refuse();
        assert!(setting.health.is_throttled(&bad) && setting.health.is_throttled(&good));
        setting.advance(10);
        refuse();
        setting.advance(10);
        assert!(
            setting.health.is_throttled(&bad) && !setting.health.is_throttled(&good),
            "the other one is asked first"
        );
        setting.answer(&good);
        setting.advance(10);
        refuse();
        assert!(setting.health.is_throttled(&bad) && !setting.health.is_throttled(&good));
        setting.advance(40);
        setting.answer(&bad);
        refuse();
        assert!(setting.health.is_throttled(&good), "a first 429 concerns the account");
    }
}
