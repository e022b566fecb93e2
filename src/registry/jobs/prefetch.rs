//! `mirror.prefetch`: images that are warmed on a schedule. The time of the last run is not stored, so a job runs again
//! after a restart. Content that is fresh is not fetched again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::warm::{WarmImage, WarmListener, note_outcome, warm_all};
use crate::config::{Prefetch, TimeOfDay};
use crate::oci::{ImagePattern, Reference, Tag, TagPattern, Target};
use crate::registry::Registry;
use crate::registry::answer::PageRequest;
use crate::registry::error::RegistryError;
use crate::registry::mirror::MirrorRepository;
use crate::registry::repository::Repository;
use crate::sys::{Moment, jitter};

/// The average time from the start of the server, which has other things to do, to the first run.
const FIRST_RUN_AFTER: Duration = Duration::from_secs(5);

/// The longest random delay of a run, so that not all runs begin at the same time.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The longest sleep. A longer one would not notice that the time of day was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The number of tags that are asked for at a time. An upstream may return fewer.
const PAGE: usize = 1000;

/// A number of pages that no repository has. It bounds the search at an upstream that never ends its list.
const MOST_PAGES: usize = 1000;

/// Warms the images of one pattern again and again.
pub(super) async fn keep_warm(registry: &Arc<Registry>, prefetch: &Prefetch) {
    let every = prefetch.every;
    let delay = jitter((every / 20).min(LONGEST_DELAY) / 2);
    match prefetch.at {
        None => tokio::time::sleep(jitter(FIRST_RUN_AFTER.min(every) / 2)).await,
        Some(at) => wait_for(registry, at, every, delay).await,
    }
    loop {
        let begun = registry.machine.clock.moment();
        run_once(registry, prefetch).await;
        match prefetch.at {
            None => wait_since(registry, begun, every, delay).await,
            Some(at) => wait_for(registry, at, every, delay).await,
        }
    }
}

async fn wait_since(registry: &Registry, begun: Moment, every: Duration, delay: Duration) {
    let rest = every.saturating_sub(registry.machine.clock.since(begun));
    // A run that took longer than its interval is followed by the next one, after a short pause.
    tokio::time::sleep(rest.max(every / 10) + delay).await;
}

async fn wait_for(registry: &Registry, at: TimeOfDay, every: Duration, delay: Duration) {
    let clock = &registry.machine.clock;
    let due = next_run(clock.now(), at, every) + delay;
    while let Ok(rest) = due.duration_since(clock.now())
        && !rest.is_zero()
    {
        tokio::time::sleep(rest.min(LONGEST_SLEEP)).await;
    }
}

/// Warms every image that the pattern matches now. Failures are logged, and the next run tries again.
async fn run_once(registry: &Arc<Registry>, prefetch: &Prefetch) {
    match images_of(registry, &prefetch.image).await {
        Ok(images) => {
            let platforms = Arc::new(prefetch.platforms.clone());
            warm_all(registry, images, &platforms, &WarmListener::none()).await;
        }
        Err(error) => note_outcome(registry, prefetch.image.as_str(), &Err(error)),
    }
}

async fn images_of(registry: &Registry, pattern: &ImagePattern) -> Result<Vec<WarmImage>, RegistryError> {
    let target = registry.naming().resolve_image(pattern.repository())?;
    let references = match (pattern.tags(), registry.repository(target.clone())) {
        (TagPattern::One(reference), _) => vec![reference.clone()],
        (TagPattern::Glob(_), Repository::Mirror(mirror)) => matching(&mirror, pattern.tags()).await?,
        (TagPattern::Glob(_), _) => return Err(RegistryError::NotMirrored(target.to_string())),
    };
    Ok(references.into_iter().map(|reference| image(&target, reference)).collect())
}

fn image(target: &Target, reference: Reference) -> WarmImage {
    let separator = if matches!(reference, Reference::Tag(_)) { ':' } else { '@' };
    WarmImage { name: format!("{target}{separator}{reference}"), target: target.clone(), reference }
}

/// Returns the upstream's tags that match a pattern. A pattern without a match is a mistake, so it is an error.
async fn matching(mirror: &MirrorRepository, tags: &TagPattern) -> Result<Vec<Reference>, RegistryError> {
    let mut found = Vec::new();
    let mut last = None;
    for _ in 0..MOST_PAGES {
        let page = mirror.tags(&PageRequest { n: Some(PAGE), last: last.clone() }).await?.value;
        let parsed = page.entries.iter().filter_map(|tag| tag.parse::<Tag>().ok());
        found.extend(parsed.filter(|tag| tags.matches(tag)).map(Reference::Tag));
        // An upstream that ignores `last` would send its first page again and again.
        if !page.more || page.entries.last() == last.as_ref() {
            break;
        }
        last = page.entries.last().cloned();
    }
    if found.is_empty() {
        let message = format!("no tag of {} matches", mirror.target());
        return Err(RegistryError::bad_answer(mirror.cached.upstream(), message));
    }
    Ok(found)
}

/// Returns the next time that lies a whole number of `every` away from a day's `at` (UTC).
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
    fn next_run_follows_the_time_of_day() {
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
