//! Answers that came after the callers who wanted them may have left.

use std::hash::Hash;
use std::time::Duration;

use crate::sys::{Clock, Moment};

/// An answer is kept for this long.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// The most answers that are kept.
const MOST: u64 = 10_000;

/// Keeps answers for the next caller that wants them. Each is given once.
pub struct LateAnswers<K, V> {
    kept: moka::future::Cache<K, (Moment, V)>,
    clock: Clock,
}

impl<K, V> LateAnswers<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new(clock: Clock) -> Self {
        Self { kept: moka::future::Cache::builder().max_capacity(MOST).time_to_live(KEPT_FOR).build(), clock }
    }

    /// Keeps an answer.
    pub async fn keep(&self, key: K, answer: V) {
        self.kept.insert(key, (self.clock.moment(), answer)).await;
    }

    /// Takes the answer to a question, unless it is old.
    pub async fn take(&self, key: &K) -> Option<V> {
        let (came, answer) = self.kept.remove(key).await?;
        (self.clock.since(came) < KEPT_FOR).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn late_answer_is_given_once_and_soon() {
        let clock = Clock::system();
        let late = LateAnswers::new(clock.clone());
        assert_eq!(late.take(&1).await, None);
        late.keep(1, "a").await;
        clock.advance(Duration::from_secs(59));
        assert_eq!((late.take(&1).await, late.take(&1).await), (Some("a"), None));
        late.keep(1, "b").await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(late.take(&1).await, None);
    }
}
