//! Things that were noted lately, in memory and bounded.

use std::hash::Hash;
use std::time::Duration;

use crate::sys::{Clock, Moment};

/// When something was noted last. It may be forgotten any time: at most as many are kept as was said.
pub struct Notes<K> {
    kept: moka::future::Cache<K, Moment>,
    clock: Clock,
}

impl<K: Hash + Eq + Send + Sync + 'static> Notes<K> {
    pub fn new(most: u64, clock: Clock) -> Self {
        Self { kept: moka::future::Cache::new(most), clock }
    }

    /// Notes it, from now on.
    pub async fn note(&self, key: K) {
        self.kept.insert(key, self.clock.moment()).await;
    }

    /// Was it noted less than `life` ago?
    pub async fn holds(&self, key: &K, life: Duration) -> bool {
        !life.is_zero() && self.kept.get(key).await.is_some_and(|noted| self.clock.since(noted) < life)
    }

    pub async fn forget(&self, key: &K) {
        self.kept.invalidate(key).await;
    }

    /// Forgets all that `is_meant` names.
    pub async fn forget_where(&self, is_meant: impl Fn(&K) -> bool) {
        let meant: Vec<_> = self.kept.iter().map(|(key, _)| key).filter(|key| is_meant(key)).collect();
        for key in meant {
            self.kept.invalidate(&*key).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn for_as_long_as_it_lives() {
        let clock = Clock::system();
        let notes = Notes::new(10, clock.clone());
        assert!(!notes.holds(&"a", LIFE).await);
        notes.note("a").await;
        assert!(notes.holds(&"a", LIFE).await);
        assert!(!notes.holds(&"a", Duration::ZERO).await, "no life is none, even at once");
        clock.advance(LIFE / 2);
        notes.note("b").await;
        clock.advance(LIFE / 2);
        assert!(!notes.holds(&"a", LIFE).await);
        assert!(notes.holds(&"b", LIFE).await);
        assert!(notes.holds(&"a", 2 * LIFE).await, "who asks says how long");
    }

    #[tokio::test]
    async fn forgotten_by_name_and_by_kind_and_when_there_are_too_many() {
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
