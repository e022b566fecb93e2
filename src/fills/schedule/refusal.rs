//! Refusals by an upstream that has too many connections, and outages, which look like refusals.

use std::time::Duration;

/// The wait before one of the connections that were given up after a refusal is tried again. It doubles if that leads to
/// another refusal.
const RECOVERY: Duration = Duration::from_millis(500);
const LONGEST_RECOVERY: Duration = Duration::from_secs(30);

/// A refusal, or several without a success between them.
#[derive(Clone, Copy, Debug)]
pub struct HostRefusal {
    /// The time at which the last one was noticed.
    at: Duration,
    /// The number of connections before it, and the number that is left.
    pub before: usize,
    pub left: usize,
    /// The wait before the next larger number.
    pub wait: Duration,
    /// True if no connection received bytes meanwhile.
    pub outage: bool,
    /// True once the number has grown since.
    pub regrown: bool,
    /// True once a request that began after it was answered.
    over: bool,
}

/// The circumstances of a refusal.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest {
    /// The number of connections.
    pub count: usize,
    /// The number of connections that receive bytes meanwhile.
    pub receiving: usize,
    pub now: Duration,
}

impl HostRefusal {
    /// Describes a refusal after an earlier one. `recovering` is the earlier one if the number has not grown back since.
    pub fn new(last: Option<Self>, recovering: Option<Self>, refused: RefusedRequest) -> Self {
        let RefusedRequest { count, receiving, now } = refused;
        let ongoing = recovering.filter(|last| !last.over);
        let again =
            last.filter(|last| last.regrown && now.saturating_sub(last.at) < LONGEST_RECOVERY.saturating_mul(2));
        let wait = again.map_or(ongoing.map_or(RECOVERY, |last| last.wait), |last| last.wait.saturating_mul(2));
        let before = recovering.map_or(count, |last| last.before.max(count));
        let outage = receiving == 0 && again.is_none();
        let left = match ongoing {
            _ if outage => before,
            Some(last) if !last.outage => count,
            _ => (count * 3 / 4).max(1),
        };
        Self { at: now, before, left, wait: wait.min(LONGEST_RECOVERY), outage, regrown: false, over: false }
    }

    /// Records that a request that began at `opened` was answered.
    pub fn answered(&mut self, opened: Duration) {
        self.over |= opened > self.at;
    }

    pub fn is_over(&self) -> bool {
        self.over
    }
}

/// Returns false if a refusal of a request that began at `opened` says nothing new: the request began before an earlier
/// refusal was noticed, and a success has followed that one.
pub fn is_new(last: Option<HostRefusal>, recovering: Option<HostRefusal>, opened: Duration) -> bool {
    recovering.is_some_and(|last| !last.over) || last.is_none_or(|last| opened > last.at)
}
