//! The repositories for which an endpoint sent content that did not match its digest.
//!
//! One damaged blob says nothing about the content of other repositories. After content of a second repository was wrong
//! too, the endpoint itself is suspected, and the pause concerns all of them.

use std::collections::HashMap;
use std::time::Duration;

use super::circuit::Pause;
use crate::oci::RepositoryName;
use crate::sys::Clock;

/// The most repositories that are remembered.
const MOST: usize = 1000;

/// The repositories whose content, as a digest names it, an endpoint is not asked for.
#[derive(Debug, Default)]
pub(super) struct DistrustedRepositories(HashMap<RepositoryName, Pause>);

impl DistrustedRepositories {
    /// Begins a pause for a repository.
    pub(super) fn begin(&mut self, repository: &RepositoryName, length: Duration, clock: &Clock) {
        self.0.retain(|_, pause| !pause.left(clock).is_zero());
        // Once this many repositories are distrusted, the pause concerns all repositories.
        if self.0.len() < MOST || self.0.contains_key(repository) {
            self.0.insert(repository.clone(), Pause::begin(clock, length));
        }
    }

    /// Returns the rest of the pause for this repository.
    pub(super) fn left_for(&self, repository: &RepositoryName, clock: &Clock) -> Duration {
        let own = self.0.get(repository).map(|pause| pause.left(clock)).unwrap_or_default();
        own.max(self.left_for_all(clock))
    }

    /// Returns the rest of the longest pause.
    pub(super) fn longest(&self, clock: &Clock) -> Duration {
        self.0.values().map(|pause| pause.left(clock)).max().unwrap_or_default()
    }

    /// Returns the time until fewer than two repositories have a pause.
    fn left_for_all(&self, clock: &Clock) -> Duration {
        let (mut longest, mut second) = (Duration::ZERO, Duration::ZERO);
        for left in self.0.values().map(|pause| pause.left(clock)) {
            second = second.max(left.min(longest));
            longest = longest.max(left);
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    #[test]
    fn wrong_content_of_one_repository_concerns_no_other_until_a_second_one_has_some() {
        let name = |name: &str| name.parse::<RepositoryName>().unwrap();
        let (mut distrusted, clock) = (DistrustedRepositories::default(), Clock::system());
        let is_distrusted = |distrusted: &DistrustedRepositories, repository: &str| {
            !distrusted.left_for(&name(repository), &clock).is_zero()
        };
        for _ in 0..3 {
            distrusted.begin(&name("a"), LENGTH, &clock);
        }
        assert!(is_distrusted(&distrusted, "a") && !is_distrusted(&distrusted, "b"));
        clock.advance(LENGTH / 2);
        distrusted.begin(&name("b"), LENGTH, &clock);
        assert!(is_distrusted(&distrusted, "b") && is_distrusted(&distrusted, "c"));
        // The pause of the first one has passed.
        clock.advance(LENGTH / 2 + Duration::from_secs(1));
        assert!(is_distrusted(&distrusted, "b"));
        assert!(!is_distrusted(&distrusted, "a") && !is_distrusted(&distrusted, "c"));
        assert!(!distrusted.longest(&clock).is_zero());
        clock.advance(LENGTH);
        assert!(distrusted.longest(&clock).is_zero());
    }
}
