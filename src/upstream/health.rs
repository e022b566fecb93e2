//! How an endpoint has been doing: does it answer, how fast, and may it be asked now?
//!
//! What becomes of a request up to the head of its answer is told by [`super::Upstream::ask_endpoint`] alone; what becomes of
//! a body, by whoever reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::UpstreamError;
use super::circuit::{Circuit, CircuitState, Pause};
use super::meter::Marks;
use crate::sys::{Clock, Moment};

/// Content that was not what its digest says: nothing that is named by a digest is asked of this endpoint for so long.
const DISTRUST: Duration = Duration::from_secs(10 * 60);
/// Nobody is held back longer, whatever `Retry-After` says.
const LONGEST_THROTTLE: Duration = Duration::from_secs(5 * 60);
/// After a 429 that does not say for how long.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(5);
/// Bodies that broke off are forgotten after so long without another.
const CUTS_REMEMBERED: Duration = Duration::from_secs(60);
/// A latency that was not measured again for so long says nothing any more.
const LATENCY_REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// An endpoint that was named for its probe and is not asked within this is named again.
const HANDED_OUT: Duration = Duration::from_secs(1);
/// A failure to connect that took so long was a wait, not a refusal.
const SLOW: Duration = Duration::from_secs(2);
/// The share of a new measurement in the moving average.
const NEWS: f64 = 0.3;

/// What is known of one endpoint's answering. Shared with the bodies that are still arriving.
#[derive(Debug)]
pub(super) struct Health {
    clock: Clock,
    marks: Marks,
    /// A std `Mutex`: held for assignments only.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    circuit: Circuit,
    latency: Option<Latency>,
    /// Requests in a row that brought no answer, or a 5xx.
    unanswered: u32,
    /// Bodies that broke off since one came to its end, and when the last did. A head that comes is no sign that a body will.
    cuts: u32,
    last_cut: Option<Moment>,
    /// Its last failure was a wait.
    hang: Option<Hang>,
    throttled: Option<(Pause, Throttle)>,
    distrusted: Option<Pause>,
    /// When it was named for its probe.
    handed_out: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Latency {
    average: Duration,
    measured: Moment,
}

/// It lets those who ask wait until their limit.
#[derive(Clone, Copy, Debug)]
struct Hang {
    since: SystemTime,
    /// It accepts connections.
    connected: bool,
}

/// How it said that it wants to be asked later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttle {
    /// 429
    TooManyRequests,
    /// 503 with `Retry-After`.
    Unavailable,
}

/// What endpoints are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) closed: bool,
    pub(super) failures: u32,
    /// `None`: not known, or not any more.
    pub(super) latency: Option<Duration>,
}

/// How an endpoint is doing.
#[derive(Clone, Debug)]
pub struct HealthReport {
    pub circuit: CircuitState,
    /// A moving average of the time to the head of an answer.
    pub latency: Option<Duration>,
    /// Failures in a row.
    pub failures: u32,
    /// When one request finds out whether it is back.
    pub retry_at: Option<SystemTime>,
    /// It wants to be asked later: 429, or 503 with `Retry-After`.
    pub throttled_until: Option<SystemTime>,
    /// It sent what its digest does not name.
    pub distrusted_until: Option<SystemTime>,
}

impl Health {
    pub(super) fn new(clock: Clock, marks: Marks) -> Self {
        marks.circuit(CircuitState::Closed);
        Self { clock, marks, state: Mutex::default() }
    }

    /// It answered, with whatever that is no fault of its own; the head came after `took`.
    pub(super) fn answered(&self, took: Duration) {
        let mut state = self.state();
        let average = match state.latency(&self.clock) {
            Some(known) => known.mul_f64(1.0 - NEWS) + took.mul_f64(NEWS),
            None => took,
        };
        state.latency = Some(Latency { average, measured: self.clock.moment() });
        self.speaks(&mut state);
    }

    /// It answered, though that does not tell how fast.
    pub(super) fn spoke(&self) {
        self.speaks(&mut self.state());
    }

    /// There was no connection, no answer in time, or a 5xx; that was known after `took`.
    pub(super) fn missed(&self, error: &UpstreamError, took: Duration) {
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

    /// For how long it rests, if its circuit is not closed.
    pub(super) fn rests(&self) -> Option<Duration> {
        let state = self.state();
        (!state.circuit.is_closed()).then(|| state.circuit.left(&self.clock))
    }

    /// A body was cut, or stalled.
    pub(super) fn failed(&self) {
        let mut state = self.state();
        state.cuts = state.cuts(&self.clock) + 1;
        state.last_cut = Some(self.clock.moment());
        self.count(&mut state);
    }

    /// A body came to its end.
    pub(super) fn delivered(&self) {
        self.state().cuts = 0;
    }

    /// What it sent was not what its digest says.
    pub(super) fn digest_mismatch(&self) {
        self.state().distrusted = Some(Pause::begin(&self.clock, DISTRUST));
        self.marks.digest_mismatch(DISTRUST);
    }

    /// It wants to be asked later.
    pub(super) fn throttle(&self, throttle: Throttle, retry_after: Option<Duration>) {
        let length = retry_after.unwrap_or(DEFAULT_THROTTLE).min(LONGEST_THROTTLE);
        let mut state = self.state();
        if length > state.throttled_for(&self.clock) {
            state.throttled = Some((Pause::begin(&self.clock, length), throttle));
            self.marks.throttled_until(self.clock.now() + length);
        }
    }

    /// Before each request: refused at once while it hangs, except to one that finds out whether it still does. That one is
    /// who holds the probe, until an outcome is told or the probe is dropped.
    pub(super) fn begin(&self, host: &str) -> Result<Probe<'_>, UpstreamError> {
        let mut state = self.state();
        if state.circuit.begin_probe(&self.clock) {
            self.marks.circuit(CircuitState::HalfOpen);
            return Ok(Probe { health: Some(self) });
        }
        state.hanging(&self.clock, host).map_or(Ok(Probe { health: None }), Err)
    }

    /// May it be asked, be it to find out whether it is back?
    pub(super) fn is_usable(&self, by_digest: bool) -> bool {
        let state = self.state();
        state.circuit.admits(&self.clock)
            && state.throttled_for(&self.clock).is_zero()
            && !(by_digest && state.distrusted_for(&self.clock) > Duration::ZERO)
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.state().throttled_for(&self.clock) > Duration::ZERO
    }

    /// Is it named among those that blobs come from? One that is due for its probe is named to one caller at a time.
    pub(super) fn hand_out(&self) -> bool {
        if !self.is_usable(true) {
            return false;
        }
        let mut state = self.state();
        if state.circuit.is_closed() {
            return true;
        }
        let free = state.handed_out.is_none_or(|at| self.clock.since(at) >= HANDED_OUT);
        if free {
            state.handed_out = Some(self.clock.moment());
        }
        free
    }

    /// How long until it may be asked for anything.
    pub(super) fn due_in(&self) -> Duration {
        let (state, clock) = (self.state(), &self.clock);
        state.circuit.left(clock).max(state.throttled_for(clock)).max(state.distrusted_for(clock))
    }

    /// Why it is not asked while it is held back, in the words of its last answer.
    pub(super) fn refusal(&self, host: &str) -> Option<UpstreamError> {
        let state = self.state();
        let (_, throttle) = state.throttled?;
        let left = Some(state.throttled_for(&self.clock)).filter(|left| !left.is_zero())?;
        let host = host.to_owned();
        Some(match throttle {
            Throttle::TooManyRequests => UpstreamError::TooManyRequests { host, retry_after: Some(left) },
            Throttle::Unavailable => UpstreamError::Status { host, status: 503 },
        })
    }

    pub(super) fn score(&self) -> Score {
        let state = self.state();
        Score {
            closed: state.circuit.is_closed(),
            failures: state.failures(&self.clock),
            latency: state.latency(&self.clock),
        }
    }

    pub(super) fn report(&self) -> HealthReport {
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

    fn speaks(&self, state: &mut State) {
        state.unanswered = 0;
        state.hang = None;
        state.handed_out = None;
        if !state.circuit.is_closed() {
            self.marks.circuit(CircuitState::Closed);
            self.marks.back();
        }
        state.circuit.close(state.cuts(&self.clock) == 0);
    }

    fn count(&self, state: &mut State) {
        let failures = state.failures(&self.clock);
        let was_closed = state.circuit.is_closed();
        if let Some(length) = state.circuit.fail(failures, &self.clock) {
            state.handed_out = None;
            self.marks.circuit(CircuitState::Open);
            if was_closed {
                self.marks.out(length);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a few assignments; whatever its last holder did, the next outcome mends it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Why nobody may wait for it now.
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

/// The one request that finds out whether an endpoint is back. Any other request holds an empty one.
#[derive(Debug)]
pub(super) struct Probe<'a> {
    health: Option<&'a Health>,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let Some(health) = self.health else { return };
        let mut state = health.state();
        state.circuit.drop_probe(&health.clock);
        health.marks.circuit(state.circuit.state());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::upstream::meter::Meter;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(15);
    const SHORT: Duration = Duration::from_millis(10);

    struct Setting {
        health: Health,
        clock: Clock,
        metrics: Arc<Metrics>,
    }

    fn setting() -> Setting {
        let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new()));
        let meter = Meter::new("docker.io".parse().unwrap(), Arc::clone(&metrics), clock.clone());
        let health = Health::new(clock.clone(), meter.marks("hub".to_owned()));
        Setting { health, clock, metrics }
    }

    impl Setting {
        fn gauge(&self) -> i64 {
            self.metrics.upstream_circuit.with_label_values(&["docker.io", "hub"]).get()
        }

        fn turn(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }

        fn hang(&self) {
            self.health.missed(&UpstreamError::Timeout { host: "hub".to_owned(), waited: LONG }, LONG);
        }

        fn refuse(&self) {
            self.health.missed(&unconnected(), SHORT);
        }
    }

    fn unconnected() -> UpstreamError {
        UpstreamError::Connect { host: "hub".to_owned(), reason: "refused".to_owned(), retry_in: None }
    }

    #[test]
    fn what_counts_as_failures_in_a_row() {
        type Step = fn(&Setting);
        let answer: Step = |s| s.health.answered(SHORT);
        let cut: Step = |s| s.health.failed();
        let whole: Step = |s| s.health.delivered();
        let refuse: Step = Setting::refuse;
        let hang: Step = Setting::hang;
        let minute: Step = |s| s.turn(61);
        for (name, steps, failures, open) in [
            ("three refusals", &[refuse, refuse, refuse][..], 3, true),
            ("two", &[refuse, hang], 2, false),
            ("an answer in between", &[refuse, refuse, answer, refuse], 1, false),
            ("heads come, bodies do not", &[answer, cut, answer, cut, answer, cut], 3, true),
            ("a body that came", &[cut, cut, whole, cut], 1, false),
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
    fn one_request_finds_out_whether_it_is_back() {
        let setting = setting();
        (0..3).for_each(|_| setting.hang());
        assert!(!setting.health.is_usable(true) && !setting.health.hand_out());
        setting.turn(8);
        assert!(setting.health.is_usable(true));
        assert_eq!((setting.health.hand_out(), setting.health.hand_out()), (true, false), "named to one caller");
        setting.turn(2);
        assert!(setting.health.hand_out(), "who was told of it did not ask it");
        let probe = setting.health.begin("hub").unwrap();
        assert!(!setting.health.is_usable(true) && !setting.health.hand_out());
        assert_eq!((setting.gauge(), setting.health.report().circuit), (1, CircuitState::HalfOpen));
        assert!(matches!(setting.health.begin("hub"), Err(UpstreamError::Silent { .. })), "the others do not wait");
        drop(probe);
        assert_eq!(setting.gauge(), 2);
        let probe = setting.health.begin("hub").unwrap();
        setting.health.answered(SHORT);
        drop(probe);
        assert_eq!((setting.gauge(), setting.health.report().circuit), (0, CircuitState::Closed));
        assert!(setting.health.hand_out() && setting.health.hand_out());
    }

    #[test]
    fn who_hangs_is_not_waited_for_and_who_refuses_is_asked_again() {
        let setting = setting();
        let begin = || setting.health.begin("hub").map(|_| ());
        (0..3).for_each(|_| setting.refuse());
        assert_eq!(begin(), Ok(()));
        setting.health.answered(SHORT);
        setting.turn(100);
        (0..2).for_each(|_| setting.hang());
        assert_eq!(begin(), Ok(()), "its circuit is still closed");
        setting.hang();
        let refused = begin().unwrap_err();
        let UpstreamError::Silent { since, retry_in, connected: true, .. } = &refused else { panic!("{refused}") };
        let ago = setting.clock.now().duration_since(*since).unwrap();
        assert!(ago >= LONG && ago < LONG + Duration::from_secs(60), "since the first of them began");
        assert!(!retry_in.is_zero() && refused.to_string().contains("is asked again in "), "{refused}");
        // No connection within its limit is a wait too.
        setting.turn(60);
        setting.health.missed(&unconnected(), Duration::from_secs(5));
        assert!(matches!(begin(), Err(UpstreamError::Silent { connected: false, .. })));
        // A refusal is none: the link is there again, and the registry will be.
        setting.turn(60);
        setting.refuse();
        assert_eq!(begin(), Ok(()));
    }

    #[test]
    fn a_liar_is_not_let_back_by_an_answer() {
        let setting = setting();
        setting.health.digest_mismatch();
        setting.health.answered(SHORT);
        setting.health.delivered();
        setting.turn(599);
        assert!(!setting.health.is_usable(true) && !setting.health.hand_out());
        assert!(setting.health.is_usable(false), "a tag can still be asked of it");
        assert!(setting.health.report().distrusted_until.is_some() && !setting.health.due_in().is_zero());
        setting.turn(2);
        assert!(setting.health.is_usable(true) && setting.health.hand_out());
        let counted = setting.metrics.render();
        let line = r#"entrepot_upstream_digest_mismatch_total{endpoint="hub",upstream="docker.io"} 1"#;
        assert!(counted.contains(line), "{line} is not in\n{counted}");
    }

    #[test]
    fn who_wants_to_be_asked_later_is_asked_later() {
        let too_many = |seconds| Some(Duration::from_secs(seconds));
        for (said, held) in [(too_many(7), 7), (too_many(0), 0), (None, 5), (too_many(86_400), 300)] {
            let setting = setting();
            setting.health.throttle(Throttle::TooManyRequests, said);
            setting.health.answered(SHORT);
            assert_eq!(setting.health.is_throttled(), held > 0, "{said:?}");
            assert_eq!(setting.health.is_usable(false), held == 0, "{said:?}");
            if held == 0 {
                continue;
            }
            setting.turn(held - 1);
            match setting.health.refusal("hub") {
                Some(UpstreamError::TooManyRequests { retry_after: Some(left), .. }) => {
                    assert!(left <= Duration::from_secs(1), "{left:?} are left of {said:?}");
                }
                other => panic!("{said:?}: {other:?}"),
            }
            setting.turn(1);
            assert!(setting.health.is_usable(true) && setting.health.refusal("hub").is_none(), "{said:?}");
        }
        let setting = setting();
        setting.health.throttle(Throttle::Unavailable, too_many(60));
        setting.health.throttle(Throttle::TooManyRequests, None);
        let refusal = setting.health.refusal("hub");
        assert!(matches!(refusal, Some(UpstreamError::Status { status: 503, .. })), "the longer one stands");
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
        setting.health.spoke();
        assert_eq!(latency(), Some(130));
        setting.turn(601);
        assert_eq!(latency(), None, "nobody measured it again");
    }
}
