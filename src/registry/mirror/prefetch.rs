//! `mirror.prefetch`: images that are warmed by the clock. What ran last is not remembered across a restart: it runs again, and
//! what is fresh costs nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::warm::{Audience, WarmImage};
use crate::config::{Prefetch, TimeOfDay};
use crate::oci::{ImagePattern, Reference, Tag, TagPattern, Target};
use crate::registry::{Mirror, PageRequest, Registry, RegistryError, Repository};
use crate::sys::{Moment, jitter};

/// The first run comes about so long after the start, which has other things to do.
const SOON: Duration = Duration::from_secs(5);
/// Runs are put off by up to about so much, so that not all begin at once.
const SPREAD: Duration = Duration::from_secs(60);
/// A longer sleep would not notice that somebody has set the time of day.
const NAP: Duration = Duration::from_secs(60);
/// Tags are asked for in pages of so many; an upstream may give fewer.
const PAGE: usize = 1000;
/// More pages than any repository has.
const MOST_PAGES: usize = 1000;

impl Registry {
    pub(in crate::registry) fn start_prefetch(self: &Arc<Self>) {
        for prefetch in self.settings().prefetch.clone() {
            let registry = Arc::clone(self);
            self.tasks().spawn(async move { registry.keep_warm(&prefetch).await });
        }
    }

    async fn keep_warm(self: Arc<Self>, prefetch: &Prefetch) {
        let every = prefetch.every;
        let spread = jitter((every / 20).min(SPREAD) / 2);
        match prefetch.at {
            None => tokio::time::sleep(jitter(SOON.min(every) / 2)).await,
            Some(at) => self.wait_for(at, every, spread).await,
        }
        loop {
            let begun = self.clock().moment();
            self.prefetch(prefetch).await;
            match prefetch.at {
                None => self.wait_since(begun, every, spread).await,
                Some(at) => self.wait_for(at, every, spread).await,
            }
        }
    }

    async fn wait_since(&self, begun: Moment, every: Duration, spread: Duration) {
        let left = every.saturating_sub(self.clock().since(begun));
        // A run that took longer than its interval is followed by another, but not in the same breath.
        tokio::time::sleep(left.max(every / 10) + spread).await;
    }

    async fn wait_for(&self, at: TimeOfDay, every: Duration, spread: Duration) {
        let due = next_run(self.clock().now(), at, every) + spread;
        while let Ok(left) = due.duration_since(self.clock().now())
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(NAP)).await;
        }
    }

    /// One run: warms every image that the pattern means now. What goes wrong is logged; the next run tries again.
    async fn prefetch(self: &Arc<Self>, prefetch: &Prefetch) {
        match self.images_of(&prefetch.image).await {
            Ok(images) => {
                let platforms = Arc::new(prefetch.platforms.clone());
                self.warm_all(images, &platforms, &Audience::nobody()).await;
            }
            Err(error) => self.note_warmed(prefetch.image.as_str(), &Err(error)),
        }
    }

    async fn images_of(self: &Arc<Self>, pattern: &ImagePattern) -> Result<Vec<WarmImage>, RegistryError> {
        let target = self.naming().resolve_image(pattern.repository())?;
        let references = match (pattern.tags(), self.repository(target.clone())?) {
            (TagPattern::One(reference), _) => vec![reference.clone()],
            (TagPattern::Glob(_), Repository::Mirror(mirror)) => mirror.matching(pattern.tags()).await?,
            (TagPattern::Glob(_), Repository::Hosted(_)) => return Err(RegistryError::NotMirrored(target.to_string())),
        };
        Ok(references.into_iter().map(|reference| image(&target, reference)).collect())
    }
}

fn image(target: &Target, reference: Reference) -> WarmImage {
    let separator = if matches!(reference, Reference::Tag(_)) { ':' } else { '@' };
    WarmImage { name: format!("{target}{separator}{reference}"), target: target.clone(), reference }
}

impl Mirror {
    /// The tags that match, as the upstream lists them now. None is an error: a pattern that matches nothing is a mistake.
    async fn matching(&self, tags: &TagPattern) -> Result<Vec<Reference>, RegistryError> {
        let mut found = Vec::new();
        let mut last = None;
        for _ in 0..MOST_PAGES {
            let page = self.tags(&PageRequest { n: Some(PAGE), last: last.clone() }).await?.value;
            let matching = page.entries.iter().filter_map(|tag| tag.parse::<Tag>().ok());
            found.extend(matching.filter(|tag| tags.matches(tag)).map(Reference::Tag));
            // An upstream that does not understand `last` would send its first page for ever.
            if !page.more || page.entries.last() == last.as_ref() {
                break;
            }
            last = page.entries.last().cloned();
        }
        if found.is_empty() {
            let message = format!("no tag of {} matches", self.target());
            return Err(RegistryError::useless(self.upstream(), message));
        }
        Ok(found)
    }
}

/// The next time that is a whole number of `every` away from a day's `at` (UTC).
fn next_run(now: SystemTime, at: TimeOfDay, every: Duration) -> SystemTime {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (at, every) = (at.seconds(), every.as_secs().max(1));
    let since = (now + every - at % every) % every;
    UNIX_EPOCH + Duration::from_secs(now + every - since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_next_run_is() {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        for (now, at, every, want) in [
            (0, "02:30", DAY, 2 * HOUR + 1800),
            (3 * HOUR, "02:30", DAY, DAY + 2 * HOUR + 1800),
            (2 * HOUR, "02:00", DAY, DAY + 2 * HOUR),
            (3 * HOUR, "02:00", 6 * HOUR, 8 * HOUR),
            (23 * HOUR, "02:00", 6 * HOUR, DAY + 2 * HOUR),
            (10 * HOUR, "23:00", 6 * HOUR, 11 * HOUR),
            (DAY + HOUR, "00:00", 7 * DAY, 7 * DAY),
            (20_000 * DAY + 1, "00:00", DAY, 20_001 * DAY),
        ] {
            let moment = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
            let next = next_run(moment(now), at.parse().unwrap(), Duration::from_secs(every));
            assert_eq!(next, moment(want), "{now} {at} {every}");
        }
    }
}
