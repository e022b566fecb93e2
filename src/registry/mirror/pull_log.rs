//! The pulls of clients that `mirror.follow` needs to know: each is recorded at most once a minute, in a task of its own.

use std::time::Duration;

use crate::oci::{MirroredName, Reference, Tag};
use crate::sys::{Clock, Moment};

/// A pull of the same manifest is recorded at most once in this time.
const PULL_INTERVAL: Duration = Duration::from_secs(60);

/// The number of tags and manifests that are remembered. One that was dropped from memory is recorded once more.
const REMEMBERED: u64 = 10_000;

/// The memory of recorded pulls.
pub struct PullLog {
    clock: Clock,
    recorded: moka::sync::Cache<(MirroredName, Reference), Moment>,
    /// The first pull of each tag since it was followed, with the time at which the upstream confirmed it then.
    first: moka::sync::Cache<(MirroredName, Tag), (u64, Moment)>,
}

impl PullLog {
    pub fn new(clock: &Clock) -> Self {
        let (recorded, first) = (moka::sync::Cache::new(REMEMBERED), moka::sync::Cache::new(REMEMBERED));
        Self { clock: clock.clone(), recorded, first }
    }

    /// Returns true if a pull should be recorded now, and counts it as recorded from then on.
    pub fn claim(&self, name: &MirroredName, reference: &Reference) -> bool {
        let key = (name.clone(), reference.clone());
        let is_due = self.recorded.get(&key).is_none_or(|at| self.clock.since(at) >= PULL_INTERVAL);
        if is_due {
            self.recorded.insert(key, self.clock.moment());
        }
        is_due
    }

    /// Returns the time since the first pull of a tag that was confirmed at `seen`. The first call is that pull. After a
    /// restart of the server, the next pull counts as the first one.
    pub fn since_first(&self, name: &MirroredName, tag: &Tag, seen: u64) -> Duration {
        let key = (name.clone(), tag.clone());
        match self.first.get(&key) {
            Some((confirmed, at)) if confirmed == seen => self.clock.since(at),
            _ => {
                self.first.insert(key, (seen, self.clock.moment()));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_is_claimed_once_a_minute_and_the_first_one_starts_a_time() {
        let clock = Clock::system();
        let log = PullLog::new(&clock);
        let name: MirroredName = "docker.io/library/app".parse().unwrap();
        let (tag, reference) = ("1".parse::<Tag>().unwrap(), "1".parse::<Reference>().unwrap());
        assert!(log.claim(&name, &reference) && !log.claim(&name, &reference));
        assert!(log.claim(&name, &"2".parse().unwrap()));
        assert_eq!(log.since_first(&name, &tag, 5), Duration::ZERO);
        clock.advance(PULL_INTERVAL);
        assert!(log.claim(&name, &reference));
        assert!(log.since_first(&name, &tag, 5) >= PULL_INTERVAL);
        assert_eq!(log.since_first(&name, &tag, 6), Duration::ZERO, "the tag was followed again");
    }
}
