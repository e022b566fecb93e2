//! The time for which a window may wait for readers that are behind, while other readers wait for bytes.

use std::time::Duration;

/// A window waits at most this long at a time.
const MOST: Duration = Duration::from_secs(1);

/// Time that was used up comes back this many times more slowly. So readers that are behind cost the others at most a
/// twentieth of their time.
const RETURNS: u32 = 20;

/// The wait budget of one window. Times are those of [`HostLimits::now`](crate::fills::host_limits::HostLimits::now).
pub(super) struct WaitBudget {
    left: Duration,
    since: Duration,
}

impl WaitBudget {
    /// Returns a whole budget.
    pub(super) fn new(now: Duration) -> Self {
        Self { left: MOST, since: now }
    }

    /// Returns how long the window may wait now.
    pub(super) fn left(&self, now: Duration) -> Duration {
        (self.left + now.saturating_sub(self.since) / RETURNS).min(MOST)
    }

    /// Records that the window has waited since `began`.
    pub(super) fn spend(&mut self, began: Duration, now: Duration) {
        self.left = self.left(began).saturating_sub(now.saturating_sub(began));
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_budget_is_used_up_and_comes_back_slowly() {
        let at = Duration::from_millis;
        let mut budget = WaitBudget::new(at(0));
        assert_eq!(budget.left(at(0)), MOST);
        budget.spend(at(0), at(600));
        assert_eq!(budget.left(at(600)), at(400));
        budget.spend(at(600), at(1200));
        assert_eq!(budget.left(at(1200)), Duration::ZERO);
        assert_eq!(budget.left(at(3200)), at(100));
        assert_eq!(budget.left(at(60_000)), MOST);
    }
}
