//! The health of the storage (`health.storagedriver`): whether it can be written to.

use std::sync::{Mutex, PoisonError};

use crate::config::StorageCheck;

/// Says what a full disk means for clients.
pub const FULL_DISK: &str = "the disk is full: pulls continue; a push removes cached content to make space, and fails with 507 if there is none";

/// The outcomes of the latest checks of the storage.
pub struct StorageHealth {
    check: Option<StorageCheck>,
    /// A std `Mutex`, because it is held for a few assignments.
    outcomes: Mutex<Outcomes>,
}

#[derive(Default)]
struct Outcomes {
    failures_in_a_row: u32,
    last_failure: String,
    space: DiskSpace,
}

/// Whether there is space for new content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskSpace {
    #[default]
    Free,
    /// The disk accepts no writes. The server still serves stored content.
    Full,
}

impl StorageHealth {
    pub fn new(check: Option<StorageCheck>) -> Self {
        Self { check, outcomes: Mutex::default() }
    }

    pub fn check(&self) -> Option<&StorageCheck> {
        self.check.as_ref()
    }

    /// Notes the outcome of a check. Returns true if the disk has become full, or is not full any more.
    pub fn note(&self, outcome: Result<DiskSpace, String>) -> bool {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = outcomes.space;
        match outcome {
            Ok(space) => *outcomes = Outcomes { space, ..Outcomes::default() },
            Err(reason) => {
                outcomes.failures_in_a_row += 1;
                outcomes.last_failure = reason;
            }
        }
        outcomes.space != before
    }

    /// Fails with the last reason after as many failures in a row as `threshold` says.
    pub fn verdict(&self) -> Result<DiskSpace, String> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.check {
            Some(check) if outcomes.failures_in_a_row >= check.threshold => {
                Err(format!("storagedriver: {}", outcomes.last_failure))
            }
            _ => Ok(outcomes.space),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn health() -> StorageHealth {
        StorageHealth::new(Some(StorageCheck { interval: Duration::from_secs(1), threshold: 2 }))
    }

    #[test]
    fn storage_is_unhealthy_from_the_threshold_on() {
        let health = health();
        health.note(Err("no".to_owned()));
        assert!(health.verdict().is_ok());
        health.note(Err("no".to_owned()));
        assert_eq!(health.verdict(), Err("storagedriver: no".to_owned()));
        health.note(Ok(DiskSpace::Free));
        assert!(health.verdict().is_ok());
    }

    #[test]
    fn full_disk_is_healthy_and_told_once() {
        let health = health();
        assert!(!health.note(Ok(DiskSpace::Free)));
        assert!(health.note(Ok(DiskSpace::Full)));
        assert!(!health.note(Ok(DiskSpace::Full)));
        assert_eq!(health.verdict(), Ok(DiskSpace::Full));
        assert!(!health.note(Err("no".to_owned())), "a failed check says nothing about the space");
        assert!(!health.note(Ok(DiskSpace::Full)));
        assert!(health.note(Ok(DiskSpace::Free)));
        assert_eq!(health.verdict(), Ok(DiskSpace::Free));
    }
}
