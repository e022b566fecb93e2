//! How many requests an upstream still allows, as it says itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};

use super::header::{self, RateLimit};
use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::sys::{Clock, Moment};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// So few are near zero, of whatever limit; of a larger one its tenth part.
const FEW: u64 = 5;
/// How long is believed what an upstream says without naming a window.
const UNNAMED_WINDOW: Duration = Duration::from_secs(60 * 60);

/// What an upstream last said of the requests that it counts.
#[derive(Debug)]
pub(super) struct Budget {
    upstream: HostName,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// A std `Mutex`: held for one assignment.
    said: Mutex<Option<Said>>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    limit: Option<u64>,
    remaining: u64,
    window: Option<Duration>,
    seen: SystemTime,
    noticed: Moment,
}

/// What an upstream allows, as it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetReport {
    pub limit: Option<u64>,
    pub remaining: u64,
    pub window: Option<Duration>,
    pub seen: SystemTime,
}

impl Budget {
    pub(super) fn new(upstream: HostName, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self { upstream, metrics, clock, said: Mutex::new(None) }
    }

    /// Reads the headers of an answer that the registry itself gave.
    pub(super) fn note(&self, headers: &HeaderMap) {
        let read = |name| headers.get(name).and_then(|value| value.to_str().ok()).and_then(header::ratelimit);
        let (limit, remaining): (Option<RateLimit>, Option<RateLimit>) = (read(LIMIT), read(REMAINING));
        let labels = &[self.upstream.as_str()];
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(limit) = limit {
            self.metrics.ratelimit_limit.with_label_values(labels).set(gauge(limit.count));
        }
        let Some(remaining) = remaining else { return };
        self.metrics.ratelimit_remaining.with_label_values(labels).set(gauge(remaining.count));
        let window = remaining.window.or(limit.and_then(|limit| limit.window));
        let said = Said {
            limit: limit.map(|limit| limit.count),
            remaining: remaining.count,
            window,
            seen: self.clock.now(),
            noticed: self.clock.moment(),
        };
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    /// Few requests are left, as far as is known.
    pub(super) fn is_near_zero(&self) -> bool {
        self.said().is_some_and(|said| {
            let few = FEW.max(said.limit.unwrap_or_default() / 10);
            let holds = self.clock.since(said.noticed) < said.window.unwrap_or(UNNAMED_WINDOW);
            said.remaining <= few && holds
        })
    }

    pub(super) fn report(&self) -> Option<BudgetReport> {
        let report = |Said { limit, remaining, window, seen, .. }| BudgetReport { limit, remaining, window, seen };
        self.said().map(report)
    }

    fn said(&self) -> Option<Said> {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_pulls_are_spared() {
        for (limit, remaining, spared) in [
            (None, None, false),
            (Some("100;w=21600"), None, false),
            (Some("100;w=21600"), Some("11;w=21600"), false),
            (Some("100;w=21600"), Some("10;w=21600"), true),
            (Some("100;w=21600"), Some("0;w=21600"), true),
            (Some("20"), Some("6"), false),
            (Some("20"), Some("5"), true),
            (None, Some("6;w=60"), false),
            (None, Some("5;w=60"), true),
            (Some("many"), Some("5;w=60"), true),
            (Some("100;w=21600"), Some("few"), false),
        ] {
            let budget = Budget::new("docker.io".parse().unwrap(), Arc::default(), Clock::system());
            let mut headers = HeaderMap::new();
            for (name, text) in [(LIMIT, limit), (REMAINING, remaining)] {
                headers.extend(text.map(|text| (name, text.parse().unwrap())));
            }
            budget.note(&headers);
            assert_eq!(budget.is_near_zero(), spared, "{limit:?} {remaining:?}");
        }
    }

    #[test]
    fn what_was_said_holds_for_its_window() {
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
        let budget = Budget::new("docker.io".parse().unwrap(), Arc::clone(&metrics), clock.clone());
        let said = |remaining: &str| {
            HeaderMap::from_iter([(LIMIT, "100;w=600".parse().unwrap()), (REMAINING, remaining.parse().unwrap())])
        };
        budget.note(&said("3;w=600"));
        // An answer that says nothing takes nothing back.
        budget.note(&HeaderMap::new());
        let report = budget.report().unwrap();
        let window = Some(Duration::from_secs(600));
        assert_eq!((report.limit, report.remaining, report.window), (Some(100), 3, window));
        clock.advance(Duration::from_secs(590));
        assert!(budget.is_near_zero());
        clock.advance(Duration::from_secs(11));
        assert!(!budget.is_near_zero());
        budget.note(&said("3"));
        assert!(budget.is_near_zero());
        budget.note(&said("90"));
        assert!(!budget.is_near_zero());
        let rendered = metrics.render();
        for line in [
            r#"entrepot_ratelimit_remaining{upstream="docker.io"} 90"#,
            r#"entrepot_ratelimit_limit{upstream="docker.io"} 100"#,
        ] {
            assert!(rendered.contains(line), "{line} is not in\n{rendered}");
        }
    }
}
