//! Tracks the health of an endpoint: whether it answers, how fast, and whether it may be asked now.
//!
//! Only `Upstream::ask_endpoint` reports the outcome of a request up to the head of its response. The reader of a body
//! reports the outcome of the body.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::circuit::{Circuit, CircuitState, Pause};
use super::meter::HealthMetrics;
use crate::sys::{Clock, Moment};
use crate::upstream::error::UpstreamError;

/// After content that did not match its digest, the endpoint is not asked for content named by a digest for this long.
const DISTRUST: Duration = Duration::from_secs(10 * 60);
/// The longest throttle, whatever `Retry-After` says.
const LONGEST_THROTTLE: Duration = Duration::from_secs(5 * 60);
/// The throttle after a 429 without `Retry-After`.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(5);
/// Cut bodies stop counting if no other body is cut for this long.
const CUTS_REMEMBERED: Duration = Duration::from_secs(60);
/// A latency is forgotten after this long without a new measurement.
const LATENCY_REMEMBERED: Duration = Duration::from_secs(10 * 60);
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    circuit: Circuit,
    latency: Option<Latency>,
    /// The number of requests in a row that brought no response, or a 5xx.
    unanswered: u32,
    /// The number of bodies that were cut since one was complete. They are counted apart from requests, since an
    /// endpoint can send heads and still fail to send bodies.
    cuts: u32,
    last_cut: Option<Moment>,
    /// Set while the last failure was a time-out.
    hang: Option<Hang>,
    throttled: Option<(Pause, ThrottleReason)>,
    distrusted: Option<Pause>,
    /// The time when it was last offered to a caller for its probe.
    offered: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Latency {
    average: Duration,
    measured: Moment,
}

/// The endpoint lets requests wait until their limit.
#[derive(Clone, Copy, Debug)]
struct Hang {
    since: SystemTime,
    /// The endpoint accepts connections.
    connected: bool,
}

/// The answer by which an endpoint asked for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum ThrottleReason {
    /// 429
    TooManyRequests,
    /// 503 with `Retry-After`.
    Unavailable,
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
    /// The end of the pause after content that did not match its digest.
    pub distrusted_until: Option<SystemTime>,
}

impl EndpointHealth {
    pub(in crate::upstream) fn new(clock: Clock, metrics: HealthMetrics) -> Self {
        metrics.circuit(CircuitState::Closed);
        Self { clock, metrics, state: Mutex::default() }
    }

    /// Records a response that is not a fault of the endpoint, and the time `took` until its head arrived.
    pub(in crate::upstream) fn answered(&self, took: Duration) {
        let mut state = self.state();
        let average = match state.latency(&self.clock) {
            Some(known) => known.mul_f64(1.0 - NEW_WEIGHT) + took.mul_f64(NEW_WEIGHT),
            None => took,
        };
        state.latency = Some(Latency { average, measured: self.clock.moment() });
        self.recover(&mut state);
    }

    /// Records a response whose time does not count as a measurement.
    pub(in crate::upstream) fn responded(&self) {
        self.recover(&mut self.state());
    }

    /// Records a failed request: no connection, no response in time, or a 5xx. The failure was known after `took`.
    pub(in crate::upstream) fn failed(&self, error: &UpstreamError, took: Duration) {
        let mut state = self.state();
        let connected = match error {
            UpstreamError::Timeout { .. } => Some(true),
            UpstreamError::Connect { .. } if took >= SLOW => Some(false),
            _ => None,
        };
        let began = self.clock.now().checked_sub(took).unwrap_or_else(|| self.clock.now());
        let since = state.hang.map_or(began, |known| known.since);
        state.hang = connected.map(|connected| Hang { since, connected });
        state.unanswered += 1;
        self.count(&mut state);
    }

    /// Returns the rest of the circuit's pause; `None` if the circuit is closed.
    pub(in crate::upstream) fn circuit_pause(&self) -> Option<Duration> {
        let state = self.state();
        (!state.circuit.is_closed()).then(|| state.circuit.left(&self.clock))
    }

    /// Records a body that was cut, or stalled.
    pub(in crate::upstream) fn body_failed(&self) {
        let mut state = self.state();
        state.cuts = state.cuts(&self.clock) + 1;
        state.last_cut = Some(self.clock.moment());
        self.count(&mut state);
    }

    /// Records a body that was complete.
    pub(in crate::upstream) fn body_completed(&self) {
        self.state().cuts = 0;
    }

    /// Records content that did not match its digest.
    pub(in crate::upstream) fn digest_mismatch(&self) {
        self.state().distrusted = Some(Pause::begin(&self.clock, DISTRUST));
        self.metrics.digest_mismatch(DISTRUST);
    }

    /// Records that the endpoint asked for a pause. A longer pause that it asked for before stays in force.
    pub(in crate::upstream) fn throttle(&self, throttle: ThrottleReason, retry_after: Option<Duration>) {
        let length = retry_after.unwrap_or(DEFAULT_THROTTLE).min(LONGEST_THROTTLE);
        let mut state = self.state();
        if length > state.throttled_for(&self.clock) {
            state.throttled = Some((Pause::begin(&self.clock, length), throttle));
            self.metrics.throttled_until(self.clock.now() + length);
        }
    }

    /// Begins a request. While the endpoint hangs, the request is refused at once, unless it is the one that probes
    /// whether the endpoint is back. The request holds the probe until it reports an outcome or drops the probe.
    pub(in crate::upstream) fn begin(&self, host: &str) -> Result<Probe<'_>, UpstreamError> {
        let mut state = self.state();
        if state.circuit.begin_probe(&self.clock) {
            self.metrics.circuit(CircuitState::HalfOpen);
            return Ok(Probe { health: Some(self) });
        }
        state.hanging(&self.clock, host).map_or(Ok(Probe { health: None }), Err)
    }

    /// Returns true if it may be asked, as usual or to probe whether it is back.
    pub(in crate::upstream) fn is_usable(&self, by_digest: bool) -> bool {
        let state = self.state();
        state.circuit.admits(&self.clock)
            && state.throttled_for(&self.clock).is_zero()
            && !(by_digest && state.distrusted_for(&self.clock) > Duration::ZERO)
    }

    pub(in crate::upstream) fn is_throttled(&self) -> bool {
        self.state().throttled_for(&self.clock) > Duration::ZERO
    }

    /// Returns true if it is offered to this caller as a source of blobs. An endpoint that is due for its probe is
    /// offered to one caller at a time.
    pub(in crate::upstream) fn offer(&self) -> bool {
        if !self.is_usable(true) {
            return false;
        }
        let mut state = self.state();
        if state.circuit.is_closed() {
            return true;
        }
        let free = state.offered.is_none_or(|at| self.clock.since(at) >= OFFER_VALID);
        if free {
            state.offered = Some(self.clock.moment());
        }
        free
    }

    /// Returns the time until it may be asked for any content.
    pub(in crate::upstream) fn due_in(&self) -> Duration {
        let (state, clock) = (self.state(), &self.clock);
        state.circuit.left(clock).max(state.throttled_for(clock)).max(state.distrusted_for(clock))
    }

    /// Returns the error for a request that is not sent because the endpoint is throttled: the one that it answered
    /// last.
    pub(in crate::upstream) fn refusal(&self, host: &str) -> Option<UpstreamError> {
        let state = self.state();
        let (_, throttle) = state.throttled?;
        let left = Some(state.throttled_for(&self.clock)).filter(|left| !left.is_zero())?;
        let host = host.to_owned();
        Some(match throttle {
            ThrottleReason::TooManyRequests => UpstreamError::TooManyRequests { host, retry_after: Some(left) },
            ThrottleReason::Unavailable => UpstreamError::Status { host, status: 503 },
        })
    }

    pub(in crate::upstream) fn score(&self) -> Score {
        let state = self.state();
        Score {
            closed: state.circuit.is_closed(),
            failures: state.failures(&self.clock),
            latency: state.latency(&self.clock),
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
            throttled_until: at(state.throttled_for(clock)),
            distrusted_until: at(state.distrusted_for(clock)),
        }
    }

    fn recover(&self, state: &mut State) {
        state.unanswered = 0;
        state.hang = None;
        state.offered = None;
        if !state.circuit.is_closed() {
            self.metrics.circuit(CircuitState::Closed);
            self.metrics.circuit_closed();
        }
        state.circuit.close(state.cuts(&self.clock) == 0);
    }

    fn count(&self, state: &mut State) {
        let failures = state.failures(&self.clock);
        let was_closed = state.circuit.is_closed();
        if let Some(length) = state.circuit.fail(failures, &self.clock) {
            state.offered = None;
            self.metrics.circuit(CircuitState::Open);
            if was_closed {
                self.metrics.circuit_opened(length);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state inconsistent for long: each change is a few assignments, and the next outcome
        // resets them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the error for a request that must not wait for the endpoint because it hangs.
    fn hanging(&self, clock: &Clock, host: &str) -> Option<UpstreamError> {
        let Hang { since, connected } = self.hang.filter(|_| !self.circuit.is_closed())?;
        let retry_in = self.circuit.left(clock);
        Some(UpstreamError::Silent { host: host.to_owned(), since, retry_in, connected })
    }

    fn failures(&self, clock: &Clock) -> u32 {
        self.unanswered.saturating_add(self.cuts(clock))
    }

    fn cuts(&self, clock: &Clock) -> u32 {
        if self.last_cut.is_some_and(|at| clock.since(at) < CUTS_REMEMBERED) { self.cuts } else { 0 }
    }

    fn latency(&self, clock: &Clock) -> Option<Duration> {
        let known = self.latency.filter(|latency| clock.since(latency.measured) < LATENCY_REMEMBERED);
        known.map(|latency| latency.average)
    }

    fn throttled_for(&self, clock: &Clock) -> Duration {
        self.throttled.map(|(pause, _)| pause.left(clock)).unwrap_or_default()
    }

    fn distrusted_for(&self, clock: &Clock) -> Duration {
        self.distrusted.map(|pause| pause.left(clock)).unwrap_or_default()
    }
}

/// Marks the one request that probes whether an endpoint is back. Every other request holds an empty probe.
#[derive(Debug)]
pub(in crate::upstream) struct Probe<'a> {
    health: Option<&'a EndpointHealth>,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let Some(health) = self.health else { return };
        let mut state = health.state();
        state.circuit.drop_probe(&health.clock);
        health.metrics.circuit(state.circuit.state());
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
            self.health.failed(&UpstreamError::Timeout { host: "hub".to_owned(), waited: LONG }, LONG);
        }

        fn refuse(&self) {
            self.health.failed(&unconnected(), SHORT);
        }
    }

    fn unconnected() -> UpstreamError {
        UpstreamError::Connect { host: "hub".to_owned(), reason: "refused".to_owned(), retry_in: None }
    }

    #[test]
    fn failures_in_a_row_are_counted_until_an_answer_or_a_whole_body() {
        type Step = fn(&Setting);
        let answer: Step = |s| s.health.answered(SHORT);
        let cut: Step = |s| s.health.body_failed();
        let whole: Step = |s| s.health.body_completed();
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
        let setting = setting();
        (0..3).for_each(|_| setting.hang());
        assert!(!setting.health.is_usable(true) && !setting.health.offer());
        setting.advance(8);
        assert!(setting.health.is_usable(true));
        assert_eq!((setting.health.offer(), setting.health.offer()), (true, false), "offered to one caller");
        setting.advance(2);
        assert!(setting.health.offer(), "the caller it was offered to did not ask it");
        let probe = setting.health.begin("hub").unwrap();
        assert!(!setting.health.is_usable(true) && !setting.health.offer());
        assert_eq!((setting.gauge(), setting.health.report().circuit), (1, CircuitState::HalfOpen));
        assert!(matches!(setting.health.begin("hub"), Err(UpstreamError::Silent { .. })), "other requests do not wait");
        drop(probe);
        assert_eq!(setting.gauge(), 2);
        let probe = setting.health.begin("hub").unwrap();
        setting.health.answered(SHORT);
        drop(probe);
        assert_eq!((setting.gauge(), setting.health.report().circuit), (0, CircuitState::Closed));
        assert!(setting.health.offer() && setting.health.offer());
    }

    #[test]
    fn hanging_endpoint_refuses_requests_and_refusing_endpoint_admits_them() {
        let setting = setting();
        let begin = || setting.health.begin("hub").map(|_| ());
        (0..3).for_each(|_| setting.refuse());
        assert_eq!(begin(), Ok(()));
        setting.health.answered(SHORT);
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
        setting.health.failed(&unconnected(), Duration::from_secs(5));
        assert!(matches!(begin(), Err(UpstreamError::Silent { connected: false, .. })));
        // A quick refusal does not: the link works, and the registry may be starting.
        setting.advance(60);
        setting.refuse();
        assert_eq!(begin(), Ok(()));
    }

    #[test]
    fn distrust_after_a_digest_mismatch_outlasts_good_answers() {
        let setting = setting();
        setting.health.digest_mismatch();
        setting.health.answered(SHORT);
        setting.health.body_completed();
        setting.advance(599);
        assert!(!setting.health.is_usable(true) && !setting.health.offer());
        assert!(setting.health.is_usable(false), "it can still be asked for a tag");
        assert!(setting.health.report().distrusted_until.is_some() && !setting.health.due_in().is_zero());
        setting.advance(2);
        assert!(setting.health.is_usable(true) && setting.health.offer());
        let counted = setting.metrics.render();
        let line = r#"entrepot_upstream_digest_mismatch_total{endpoint="hub",upstream="docker.io"} 1"#;
        assert!(counted.contains(line), "{line} is not in\n{counted}");
    }

    #[test]
    fn throttled_endpoint_is_not_usable_until_its_time_has_passed() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (retry_after, throttled) in [(seconds(7), 7), (seconds(0), 0), (None, 5), (seconds(86_400), 300)] {
            let setting = setting();
            setting.health.throttle(ThrottleReason::TooManyRequests, retry_after);
            setting.health.answered(SHORT);
            assert_eq!(setting.health.is_throttled(), throttled > 0, "{retry_after:?}");
            assert_eq!(setting.health.is_usable(false), throttled == 0, "{retry_after:?}");
            if throttled == 0 {
                continue;
            }
            setting.advance(throttled - 1);
            match setting.health.refusal("hub") {
                Some(UpstreamError::TooManyRequests { retry_after: Some(left), .. }) => {
                    assert!(left <= Duration::from_secs(1), "{left:?} are left of {retry_after:?}");
                }
                other => panic!("{retry_after:?}: {other:?}"),
            }
            setting.advance(1);
            assert!(setting.health.is_usable(true) && setting.health.refusal("hub").is_none(), "{retry_after:?}");
        }
        let setting = setting();
        setting.health.throttle(ThrottleReason::Unavailable, seconds(60));
        setting.health.throttle(ThrottleReason::TooManyRequests, None);
        let refusal = setting.health.refusal("hub");
        assert!(matches!(refusal, Some(UpstreamError::Status { status: 503, .. })), "the longer pause stays in force");
        let gauge = setting.metrics.upstream_throttled_until.with_label_values(&["docker.io", "hub"]).get();
        let due = i64::try_from(setting.clock.unix_seconds()).unwrap() + 60;
        assert!((due - 5..=due).contains(&gauge), "{gauge}");
    }

    #[test]
    fn latency_is_a_moving_average_that_ages() {
        let setting = setting();
        let latency = || setting.health.score().latency.map(|took| took.as_millis());
        assert_eq!(latency(), None);
        setting.health.answered(Duration::from_millis(100));
        assert_eq!(latency(), Some(100));
        setting.health.answered(Duration::from_millis(200));
        assert_eq!(latency(), Some(130));
        setting.refuse();
        setting.health.responded();
        assert_eq!(latency(), Some(130));
        setting.advance(601);
        assert_eq!(latency(), None, "it was not measured again");
    }
}
