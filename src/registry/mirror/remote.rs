//! An upstream as the registry sees it: whom to ask, how long to trust it, and whether it answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::config;
use crate::sys::{Clock, Moment};
use crate::upstream::Upstream;

/// After an upstream did not answer, nobody waits for it again for this long.
const PATIENCE_RETURNS: Duration = Duration::from_secs(30);

/// An upstream, and what is known of its answering.
pub struct Remote {
    pub upstream: Arc<Upstream>,
    pub tag_ttl: Duration,
    pub negative_ttl: Duration,
    pub stale: config::Stale,
    clock: Clock,
    /// A std `Mutex`: held for one assignment.
    silence: Mutex<Option<Silence>>,
    /// When it last answered. Likewise.
    word: Mutex<Option<Moment>>,
}

/// The upstream has not answered, or only with errors.
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
            word: Mutex::new(None),
        }
    }

    /// It answered.
    pub fn spoke(&self) {
        *self.word.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.moment());
        if self.silence().take().is_some() {
            tracing::info!(upstream = %self.upstream.name(), "the upstream answers again");
        }
    }

    /// It did not answer, or said 429 or 5xx.
    pub fn kept_silent(&self, error: &dyn std::fmt::Display) {
        let mut silence = self.silence();
        if silence.is_none() {
            tracing::warn!(upstream = %self.upstream.name(), %error, "the upstream does not answer; what is held is served as it is");
        }
        let since = silence.map_or_else(|| self.clock.now(), |known| known.since);
        *silence = Some(Silence { since, noticed: self.clock.moment() });
    }

    pub fn has_spoken_since(&self, moment: Moment) -> bool {
        self.word.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|word| word >= moment)
    }

    /// Is it too soon to wait for it again?
    pub fn is_avoided(&self) -> bool {
        self.silence().is_some_and(|silence| self.clock.since(silence.noticed) < PATIENCE_RETURNS)
    }

    /// Since when it has not answered, if it does not.
    pub fn silent_since(&self) -> Option<SystemTime> {
        self.silence().map(|silence| silence.since)
    }

    /// Words for a `Warning`.
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
