//! `mirror.follow`: in the quiet hours, the tags that clients pull are confirmed, and the content of moved ones is fetched
//! for the platforms that clients pull.
//!
//! Each tag is followed once in each window. The tags that were followed longest ago come first, so a window goes on where
//! the last one stopped.

use std::sync::Arc;
use std::time::Duration;

use super::warm::{ImageJob, PullReserve, WarmListener};
use crate::config::Follow;
use crate::oci::{MirroredName, Platforms, Reference, Tag, Target};
use crate::registry::Registry;
use crate::registry::error::RegistryError;
use crate::registry::mirror::{Confirmed, MirrorRepository};
use crate::registry::repository::Repository;
use crate::store::TagPulls;
use crate::sys::jitter;

/// The average time from the start of the server, which has other things to do, to the first look at the clock.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(5);

/// The pause between two looks at the clock. A longer one would not notice that the time of day was set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The pause before tags that could not be followed are tried again in the same window.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// The longest pause between two tags. All tags begin in the first half of the window, so that their content has time to
/// arrive in the second.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A window that is open, and what is followed in it.
struct Round<'a> {
    registry: &'a Arc<Registry>,
    settings: &'a Follow,
    /// The time at which the window opened, in seconds since 1970.
    opened: u64,
}

/// A tag to follow.
struct Followed {
    name: MirroredName,
    tag: Tag,
    pulls: TagPulls,
}

/// The result of following a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unchanged,
    /// The tag has moved, and its new content was fetched.
    Moved,
    /// The tag waits for another time.
    Postponed,
}

/// Follows tags in every window.
pub(super) async fn follow(registry: &Arc<Registry>, settings: &Follow) {
    tokio::time::sleep(jitter(FIRST_LOOK_AFTER / 2)).await;
    loop {
        let mut pause = LOOK_EVERY;
        if let Some(open) = settings.window.span(registry.machine.clock.unix_seconds()) {
            Round { registry, settings, opened: open.start }.run().await;
            pause = RETRY_AFTER;
        }
        tokio::time::sleep(pause).await;
    }
}

impl Round<'_> {
    /// Follows every tag that is due, until the window closes.
    async fn run(&self) {
        let mut due = match self.due().await {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "the tags that clients pulled could not be read"),
        };
        due.sort_by_key(|followed| followed.pulls.followed);
        let (mut left, mut followed, mut moved, mut failed) = (due.len(), 0u32, 0u32, 0u32);
        for one in due {
            let Some(rest) = self.rest() else { break };
            match self.follow(&one, rest).await {
                Ok(Outcome::Postponed) => self.count("postponed"),
                Ok(outcome) => {
                    followed += 1;
                    moved += u32::from(outcome == Outcome::Moved);
                    self.count(if outcome == Outcome::Moved { "moved" } else { "unchanged" });
                }
                Err(error) => {
                    failed += 1;
                    self.count("failed");
                    tracing::warn!(repository = %one.name, tag = %one.tag, %error, "a tag could not be followed");
                }
            }
            left -= 1;
            let pause = rest / 2 / u32::try_from(left.max(1)).unwrap_or(u32::MAX);
            tokio::time::sleep(if left > 0 { pause.min(LONGEST_PAUSE) } else { Duration::ZERO }).await;
        }
        if followed + failed > 0 {
            tracing::info!(followed, moved, failed, left, "followed the tags that clients pulled");
        }
    }

    /// Returns the tags that clients pulled lately and that were not followed in this window yet.
    async fn due(&self) -> Result<Vec<Followed>, RegistryError> {
        let mut due = Vec::new();
        for name in self.registry.store.cache.repositories().await? {
            for (tag, pulls) in self.registry.store.cache.pulled_since(&name, self.since()).await? {
                if pulls.followed < self.opened {
                    due.push(Followed { name: name.clone(), tag, pulls });
                }
            }
        }
        Ok(due)
    }

    async fn follow(&self, one: &Followed, rest: Duration) -> Result<Outcome, RegistryError> {
        let Repository::Mirror(mirror) = self.registry.repository(Target::Mirror(one.name.clone())) else {
            // Its upstream is not configured any more.
            return Ok(Outcome::Postponed);
        };
        let Some((before, _)) = mirror.cached.tagged(&one.tag).await? else { return Ok(Outcome::Postponed) };
        if mirror.renewal_waits(&one.tag) {
            return Ok(Outcome::Postponed);
        }
        let mut pulls = one.pulls.clone();
        let platforms = mirror.pulled_platforms(&before, &mut pulls, self.since()).await?;
        // The content that the tag named before was fetched by its clients.
        let complete = pulls.complete.unwrap_or_else(|| before.to_string());
        let (known, done) = (pulls.platforms, complete.clone());
        self.update(one, move |pulls| (pulls.platforms, pulls.complete) = (known, Some(done))).await?;
        let now = match mirror.confirm(&one.tag, self.opened).await? {
            Confirmed::Names(digest) => digest.to_string(),
            Confirmed::Gone | Confirmed::Postponed => return Ok(Outcome::Postponed),
        };
        let outcome = if now == complete { Outcome::Unchanged } else { Outcome::Moved };
        if outcome == Outcome::Moved && !self.fetch(mirror, one, platforms, rest).await? {
            return Ok(Outcome::Postponed);
        }
        let at = self.registry.machine.clock.unix_seconds();
        self.update(one, move |pulls| (pulls.followed, pulls.complete) = (at, Some(now))).await?;
        Ok(outcome)
    }

    /// Fetches the content of a moved tag. Returns false if the upstream allows few more pulls, or if the window closed before: no more layers begin then. Those that
    /// have begun are treated as if a client had left (`mirror.fill.unattended`).
    async fn fetch(
        &self,
        mirror: MirrorRepository,
        one: &Followed,
        platforms: Platforms,
        rest: Duration,
    ) -> Result<bool, RegistryError> {
        let (registry, reference) = (Arc::clone(self.registry), Reference::Tag(one.tag.clone()));
        let name = Arc::from(format!("{}:{}", one.name, one.tag));
        let (platforms, listener) = (Arc::new(platforms), WarmListener::none());
        let job = ImageJob {
            registry,
            mirror: mirror.clone(),
            name,
            reference,
            platforms,
            listener,
            pulls: PullReserve::Kept,
        };
        match tokio::time::timeout(rest, job.run()).await {
            Err(_) => Ok(false),
            Ok(Ok(cost)) => {
                let (fetched, shared) = (cost.fetched, cost.shared);
                tracing::info!(repository = %one.name, tag = %one.tag, fetched, shared, "a tag has moved and its content was fetched");
                Ok(true)
            }
            // The other platforms were fetched.
            Ok(Err(error @ RegistryError::NoPlatform { .. })) => {
                tracing::info!(repository = %one.name, tag = %one.tag, %error, "a tag has moved and lost a platform that clients pulled");
                Ok(true)
            }
            // The job has used up the pulls that the upstream allowed, except the last ones.
            Ok(Err(_)) if mirror.renewal_waits(&one.tag) => Ok(false),
            Ok(Err(error)) => Err(error),
        }
    }

    async fn update(
        &self,
        one: &Followed,
        change: impl FnOnce(&mut TagPulls) + Send + 'static,
    ) -> Result<(), RegistryError> {
        Ok(self.registry.store.cache.update_pulls(&one.name, &one.tag, change).await?)
    }

    fn count(&self, outcome: &str) {
        self.registry.metrics.followed_tags.with_label_values(&[outcome]).inc();
    }

    /// Returns the time since which a tag must have been pulled.
    fn since(&self) -> u64 {
        self.registry.machine.clock.unix_seconds().saturating_sub(self.settings.pulled_within.as_secs())
    }

    /// Returns the time that is left of the window; `None` once it has closed.
    fn rest(&self) -> Option<Duration> {
        let now = self.registry.machine.clock.unix_seconds();
        let open = self.settings.window.span(now).filter(|open| open.start == self.opened)?;
        Some(Duration::from_secs(open.end - now))
    }
}
