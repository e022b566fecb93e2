//! A bounded set of recent notes, in memory.

use std::hash::Hash;
use std::time::Duration;

use crate::sys::{Clock, Moment};

/// Remembers the time when each key was noted last. The number of notes is bounded, so a note may be forgotten at any
/// time.
pub struct Notes<K> {
    kept: moka::future::Cache<K, Moment>,
    clock: Clock,
}

impl<K: Hash + Eq + Send + Sync + 'static> Notes<K> {
    /// Makes an empty set of at most `most` notes.
    pub fn new(most: u64, clock: Clock) -> Self {
        Self { kept: moka::future::Cache::new(most), clock }
    }

    /// Notes the key at the current time.
    pub async fn note(&self, key: K) {
        self.kept.insert(key, self.clock.moment()).await;
    }

    /// Returns true if the key was noted less than `life` ago.
    pub async fn holds(&self, key: &K, life: Duration) -> bool {
        !life.is_zero() && self.kept.get(key).await.is_some_and(|noted| self.clock.since(noted) < life)
    }

    pub async fn forget(&self, key: &K) {
        self.kept.invalidate(key).await;
    }

    /// Forgets every key that `matches`.
    pub async fn forget_where(&self, matches: impl Fn(&K) -> bool) {
        let matching: Vec<_> = self.kept.iter().map(|(key, _)| key).filter(|key| matches(key)).collect();
        for key in matching {
            self.kept.invalidate(&*key).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn note_is_held_for_its_life() {
        let clock = Clock::system();
        let notes = Notes::new(10, clock.clone());
        assert!(!notes.holds(&"a", LIFE).await);
        notes.note("a").await;
        assert!(notes.holds(&"a", LIFE).await);
        assert!(!notes.holds(&"a", Duration::ZERO).await, "with no life, a note is never held");
        clock.advance(LIFE / 2);
        notes.note("b").await;
        clock.advance(LIFE / 2);
        assert!(!notes.holds(&"a", LIFE).await);
        assert!(notes.holds(&"b", LIFE).await);
        assert!(notes.holds(&"a", 2 * LIFE).await, "the caller decides how long a note counts");
    }

    #[tokio::test]
    async fn notes_are_forgotten_by_key_by_condition_and_over_the_bound() {
        let notes = Notes::new(100, Clock::system());
        for key in 0..4 {
            notes.note(key).await;
        }
        notes.forget(&0).await;
        notes.forget_where(|key| *key > 1).await;
        let mut held = Vec::new();
        for key in 0..4 {
            held.push(notes.holds(&key, LIFE).await);
        }
        assert_eq!(held, [false, true, false, false]);
        for key in 0..10_000 {
            notes.note(key).await;
        }
        notes.kept.run_pending_tasks().await;
        assert!(notes.kept.entry_count() <= 100);
    }
}
