//! The number of requests that an upstream still allows, as its headers state it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};

use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::sys::{Clock, Moment};
use crate::upstream::header::{self, RateLimit};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// A remainder of at most this many requests is near zero; for a large limit, a tenth of the limit is.
const FEW: u64 = 5;
/// The time that a stated budget is valid for if it states no window.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Holds the budget of requests that an upstream last stated.
#[derive(Debug)]
pub(in crate::upstream) struct Budget {
    upstream: HostName,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// A std `Mutex`, since it is only held for one assignment.
    stated: Mutex<Option<StatedBudget>>,
}

#[derive(Clone, Copy, Debug)]
struct StatedBudget {
    limit: Option<u64>,
    remaining: u64,
    window: Option<Duration>,
    seen: SystemTime,
    noticed: Moment,
}

/// The budget of requests that an upstream states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetReport {
    pub limit: Option<u64>,
    pub remaining: u64,
    pub window: Option<Duration>,
    pub seen: SystemTime,
}

impl Budget {
    pub(in crate::upstream) fn new(upstream: HostName, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self { upstream, metrics, clock, stated: Mutex::new(None) }
    }

    /// Reads the headers of a response that the registry itself gave, not the target of a redirect.
    pub(in crate::upstream) fn note(&self, headers: &HeaderMap) {
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
        let stated = StatedBudget {
            limit: limit.map(|limit| limit.count),
            remaining: remaining.count,
            window,
            seen: self.clock.now(),
            noticed: self.clock.moment(),
        };
        let was_near_zero = self.is_near_zero();
        *self.stated.lock().unwrap_or_else(PoisonError::into_inner) = Some(stated);
        if self.is_near_zero() != was_near_zero {
            self.log_change(stated, was_near_zero);
        }
    }

    /// Logs that the budget has become low, or is not low any more.
    fn log_change(&self, stated: StatedBudget, was_near_zero: bool) {
        let StatedBudget { limit, remaining, .. } = stated;
        let window = stated.window.map(|window| humantime::format_duration(window).to_string());
        let (upstream, window) = (&self.upstream, window.as_deref());
        match was_near_zero {
            false => {
                tracing::warn!(%upstream, remaining, limit, window, "the upstream allows few more pulls; they are kept for content that is not cached, and cached tags are renewed later");
            }
            true => {
                tracing::info!(%upstream, remaining, limit, window, "the upstream allows enough pulls again; cached tags are renewed as usual");
            }
        }
    }

    /// Returns true if few requests are left, as far as the last statement is still valid.
    pub(in crate::upstream) fn is_near_zero(&self) -> bool {
        self.stated().is_some_and(|stated| {
            let few = FEW.max(stated.limit.unwrap_or_default() / 10);
            let valid = self.clock.since(stated.noticed) < stated.window.unwrap_or(DEFAULT_WINDOW);
            stated.remaining <= few && valid
        })
    }

    pub(in crate::upstream) fn report(&self) -> Option<BudgetReport> {
        let report =
            |StatedBudget { limit, remaining, window, seen, .. }| BudgetReport { limit, remaining, window, seen };
        self.stated().map(report)
    }

    fn stated(&self) -> Option<StatedBudget> {
        *self.stated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_near_zero_below_five_requests_or_a_tenth() {
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
    fn budget_is_valid_for_its_window() {
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
        let budget = Budget::new("docker.io".parse().unwrap(), Arc::clone(&metrics), clock.clone());
        let headers = |remaining: &str| {
            HeaderMap::from_iter([(LIMIT, "100;w=600".parse().unwrap()), (REMAINING, remaining.parse().unwrap())])
        };
        budget.note(&headers("3;w=600"));
        // A response without these headers leaves the budget as it is.
        budget.note(&HeaderMap::new());
        let report = budget.report().unwrap();
        let window = Some(Duration::from_secs(600));
        assert_eq!((report.limit, report.remaining, report.window), (Some(100), 3, window));
        clock.advance(Duration::from_secs(590));
        assert!(budget.is_near_zero());
        clock.advance(Duration::from_secs(11));
        assert!(!budget.is_near_zero());
        budget.note(&headers("3"));
        assert!(budget.is_near_zero());
        budget.note(&headers("90"));
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
