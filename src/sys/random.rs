//! Randomness.

use std::time::Duration;

/// Returns a random identifier: a version 4 UUID, as `registry:2` names its uploads.
pub fn random_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Returns a random duration between 0.5 and 1.5 times `around`, so that many tasks do not act at once.
pub fn jitter(around: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    around.mul_f64(0.5 + (random >> 11) as f64 / (1u64 << 53) as f64)
}
