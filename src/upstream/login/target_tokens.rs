//! Remembers which token the target of a redirect asks for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tokens::TokenRequest;

/// The most repositories of redirect targets that are remembered.
const MOST: usize = 1000;

/// The tokens that the targets of redirects ask for, by host and repository.
#[derive(Debug, Default)]
pub(in crate::upstream) struct TargetTokens {
    /// A std `Mutex`, since it is only held for map operations.
    known: Mutex<HashMap<(String, String), TokenRequest>>,
}

impl TargetTokens {
    pub(in crate::upstream) fn get(&self, place: &(String, String)) -> Option<TokenRequest> {
        self.known().get(place).cloned()
    }

    pub(in crate::upstream) fn learn(&self, place: (String, String), wanted: TokenRequest) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(place, wanted);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, String), TokenRequest>> {
        // Each change is one map operation.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
