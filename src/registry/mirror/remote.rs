//! An upstream as the registry sees it: the time for which its answers are trusted, and whether it answers at all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::config;
use crate::sys::{Clock, Moment};
use crate::upstream::Upstream;

/// The time for which no request waits for an upstream that did not answer.
const RETRY_AFTER_SILENCE: Duration = Duration::from_secs(30);

/// An upstream, and whether it has answered lately.
pub struct Remote {
    pub upstream: Arc<Upstream>,
    pub tag_ttl: Duration,
    pub negative_ttl: Duration,
    pub stale: config::Stale,
    clock: Clock,
    /// Set while the upstream does not answer. A std `Mutex`, because it is held for one assignment.
    silence: Mutex<Option<Silence>>,
    /// The time of the last answer. A std `Mutex` for the same reason.
    last_answer: Mutex<Option<Moment>>,
}

/// A period in which the upstream did not answer, or answered with errors only.
#[derive(Clone, Copy)]
struct Silence {
    since: SystemTime,
    noticed: Moment,
}

impl Remote {
    pub fn new(upstream: Upstream, spec: &config::Upstream, clock: Clock) -> Self {
        Self {
            upstream: Arc::new(upstream),
            tag_ttl: spec.tag_ttl,
            negative_ttl: spec.negative_ttl,
            stale: spec.stale,
            clock,
            silence: Mutex::new(None),
            last_answer: Mutex::new(None),
        }
    }

    /// Notes that the upstream answered.
    pub fn answered(&self) {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.moment());
        if self.silence().take().is_some() {
            tracing::info!(upstream = %self.upstream.name(), "the upstream answers again");
        }
    }

    /// Notes that the upstream did not answer, or answered 429 or 5xx.
    pub fn failed(&self, error: &dyn fmt::Display) {
        let mut silence = self.silence();
        if silence.is_none() {
            tracing::warn!(upstream = %self.upstream.name(), %error, "the upstream does not answer; until it does, only cached content is served");
        }
        let since = silence.map_or_else(|| self.clock.now(), |known| known.since);
        *silence = Some(Silence { since, noticed: self.clock.moment() });
    }

    /// Returns true if the upstream has answered at or after `moment`.
    pub fn has_answered_since(&self, moment: Moment) -> bool {
        self.last_answer.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|answer| answer >= moment)
    }

    /// Returns true while it is too early to wait for this upstream again.
    pub fn is_avoided(&self) -> bool {
        self.silence().is_some_and(|silence| self.clock.since(silence.noticed) < RETRY_AFTER_SILENCE)
    }

    /// Returns the time since when the upstream has not answered.
    pub fn silent_since(&self) -> Option<SystemTime> {
        self.silence().map(|silence| silence.since)
    }

    /// Returns the text of a `Warning` field for a stale answer.
    pub fn warning(&self) -> String {
        let name = self.upstream.name();
        match *self.silence() {
            Some(Silence { since, .. }) => {
                format!("{name} has not answered since {}", humantime::format_rfc3339_seconds(since))
            }
            None => format!("{name} is slow to answer"),
        }
    }

    fn silence(&self) -> MutexGuard<'_, Option<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
