//! Connections that have gone silent while others bring something: the link is there, so they are left for another before
//! `fill.stall`, which is for a link that brings nothing at all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::sys::{Clock, Moment};

/// So long a connection may bring nothing …
const SILENT: Duration = Duration::from_secs(3);

/// … while all together bring so many bytes.
const MEANWHILE: u64 = 1 << 20;

/// When each connection of a transfer was last heard of.
#[derive(Debug)]
pub(super) struct Silence {
    clock: Clock,
    /// A std `Mutex`: held for map operations only.
    lanes: Mutex<HashMap<u64, Heard>>,
}

#[derive(Debug)]
struct Heard {
    at: Moment,
    /// What all had brought by then.
    total: u64,
    leave: CancellationToken,
}

/// A connection that is listened to; until it is dropped.
pub(super) struct Listened<'a> {
    silence: &'a Silence,
    ticket: u64,
    leave: CancellationToken,
}

impl Silence {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, lanes: Mutex::default() }
    }

    /// A connection begins, when all have brought `total` bytes.
    pub(super) fn listen(&self, ticket: u64, total: u64) -> Listened<'_> {
        let leave = CancellationToken::new();
        self.lanes().insert(ticket, Heard { at: self.clock.moment(), total, leave: leave.clone() });
        Listened { silence: self, ticket, leave }
    }

    /// Now all have brought `total` bytes: who brought none of them for long is left.
    pub(super) fn leave_silent(&self, total: u64) {
        for heard in self.lanes().values() {
            if self.clock.since(heard.at) >= SILENT && total.saturating_sub(heard.total) >= MEANWHILE {
                heard.leave.cancel();
            }
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<u64, Heard>> {
        // A map of moments is whole whatever its last holder did.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listened<'_> {
    /// It has brought something; by now all have brought `total` bytes.
    pub(super) fn heard(&self, total: u64) {
        if let Some(heard) = self.silence.lanes().get_mut(&self.ticket) {
            (heard.at, heard.total) = (self.silence.clock.moment(), total);
        }
    }

    /// Ends when it is to be left. Returns how long it has been silent at least.
    pub(super) async fn left(&self) -> Duration {
        self.leave.cancelled().await;
        SILENT
    }
}

impl Drop for Listened<'_> {
    fn drop(&mut self) {
        self.silence.lanes().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_silent_while_others_speak_is_left() {
        let clock = Clock::system();
        let silence = Silence::new(clock.clone());
        let (quiet, busy) = (silence.listen(1, 0), silence.listen(2, 0));
        let left = |listened: &Listened<'_>| listened.leave.is_cancelled();
        silence.leave_silent(100 * MEANWHILE);
        assert!(!left(&quiet), "it has just begun");
        clock.advance(SILENT);
        silence.leave_silent(MEANWHILE - 1);
        assert!(!left(&quiet), "the others bring little too");
        busy.heard(MEANWHILE);
        silence.leave_silent(MEANWHILE);
        assert!(left(&quiet) && !left(&busy));
        drop((quiet, busy));
        assert!(silence.lanes().is_empty());
    }
}
