//! Detects connections that have stalled while others transfer data.
//!
//! In that case the link works, so the stalled connection is replaced long before `fill.stall`, which is the limit for
//! a link that transfers nothing at all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::sys::{Clock, Moment};

/// A connection has stalled if it transfers nothing for this long …
const STALLED_AFTER: Duration = Duration::from_secs(3);

/// … while all connections together transfer at least this many bytes.
const TRANSFERRED_MEANWHILE: u64 = 1 << 20;

/// The last activity of each connection of a transfer.
#[derive(Debug)]
pub(super) struct StallDetector {
    clock: Clock,
    /// A std `Mutex`: held for map operations only.
    connections: Mutex<HashMap<u64, Activity>>,
}

#[derive(Debug)]
struct Activity {
    /// `None` while the connection waits for the disk.
    at: Option<Moment>,
    /// The number of bytes that all connections had transferred by then.
    total: u64,
    stalled: CancellationToken,
}

/// A connection that is watched. Dropping it ends the watch.
pub(super) struct Watched<'a> {
    detector: &'a StallDetector,
    ticket: u64,
    stalled: CancellationToken,
}

impl StallDetector {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, connections: Mutex::default() }
    }

    /// Watches a new connection. `total` is the number of bytes that all connections have transferred so far.
    pub(super) fn watch(&self, ticket: u64, total: u64) -> Watched<'_> {
        let stalled = CancellationToken::new();
        let activity = Activity { at: Some(self.clock.moment()), total, stalled: stalled.clone() };
        self.connections().insert(ticket, activity);
        Watched { detector: self, ticket, stalled }
    }

    /// Marks the connections that have stalled. `total` is the number of bytes that all connections have transferred so
    /// far.
    pub(super) fn check(&self, total: u64) {
        for activity in self.connections().values() {
            if activity.at.is_some_and(|at| self.clock.since(at) >= STALLED_AFTER)
                && total.saturating_sub(activity.total) >= TRANSFERRED_MEANWHILE
            {
                activity.stalled.cancel();
            }
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Activity>> {
        // Each change is one map operation, so a poisoned lock holds a complete map.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched<'_> {
    /// Records that the connection has transferred data. `total` is the number of bytes of all connections so far.
    pub(super) fn active(&self, total: u64) {
        if let Some(activity) = self.detector.connections().get_mut(&self.ticket) {
            (activity.at, activity.total) = (Some(self.detector.clock.moment()), total);
        }
    }

    /// Suspends the watch until the connection is active again.
    pub(super) fn pause(&self) {
        if let Some(activity) = self.detector.connections().get_mut(&self.ticket) {
            activity.at = None;
        }
    }

    /// Completes when the connection has stalled. Returns for how long it has transferred nothing, at least.
    pub(super) async fn stalled(&self) -> Duration {
        self.stalled.cancelled().await;
        STALLED_AFTER
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.detector.connections().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_stalled_only_while_others_are_active() {
        let clock = Clock::system();
        let detector = StallDetector::new(clock.clone());
        let (idle, busy) = (detector.watch(1, 0), detector.watch(2, 0));
        let stalled = |watched: &Watched<'_>| watched.stalled.is_cancelled();
        detector.check(100 * TRANSFERRED_MEANWHILE);
        assert!(!stalled(&idle), "the connection has just begun");
        clock.advance(STALLED_AFTER);
        detector.check(TRANSFERRED_MEANWHILE - 1);
        assert!(!stalled(&idle), "the others transfer little too");
        busy.active(TRANSFERRED_MEANWHILE);
        detector.check(TRANSFERRED_MEANWHILE);
        assert!(stalled(&idle) && !stalled(&busy));
        busy.pause();
        clock.advance(STALLED_AFTER);
        detector.check(100 * TRANSFERRED_MEANWHILE);
        assert!(!stalled(&busy), "it waits for the disk");
        drop((idle, busy));
        assert!(detector.connections().is_empty());
    }
}
