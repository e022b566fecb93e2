//! The health of the storage (`health.storagedriver`): whether it can be written to.

use std::sync::{Mutex, PoisonError};

use crate::config::StorageCheck;

/// The outcomes of the latest checks of the storage.
pub struct StorageHealth {
    check: Option<StorageCheck>,
    /// A std `Mutex`, because it is held for one assignment.
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    in_a_row: u32,
    last: String,
}

impl StorageHealth {
    pub fn new(check: Option<StorageCheck>) -> Self {
        Self { check, failures: Mutex::default() }
    }

    pub fn check(&self) -> Option<&StorageCheck> {
        self.check.as_ref()
    }

    /// Notes the outcome of a check.
    pub fn note(&self, outcome: Result<(), String>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => *failures = Failures::default(),
            Err(reason) => *failures = Failures { in_a_row: failures.in_a_row + 1, last: reason },
        }
    }

    /// Fails with the last reason after as many failures in a row as `threshold` says.
    pub fn verdict(&self) -> Result<(), String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.check {
            Some(check) if failures.in_a_row >= check.threshold => Err(format!("storagedriver: {}", failures.last)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn storage_is_unhealthy_from_the_threshold_on() {
        let health = StorageHealth::new(Some(StorageCheck { interval: Duration::from_secs(1), threshold: 2 }));
        health.note(Err("no".to_owned()));
        assert!(health.verdict().is_ok());
        health.note(Err("no".to_owned()));
        assert_eq!(health.verdict(), Err("storagedriver: no".to_owned()));
        health.note(Ok(()));
        assert!(health.verdict().is_ok());
    }
}
