//! The content of a fill as its readers see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::oci::Span;
use crate::store::{Arrivals, Extents};

/// The bytes that have arrived, and those that readers may have read before they were replaced.
#[derive(Default)]
pub struct FillContent {
    /// A std `Mutex`: held for operations on the fields.
    state: Mutex<FillContentState>,
}

#[derive(Default)]
struct FillContentState {
    arrivals: Option<Arc<Arrivals>>,
    /// The number of times that the fill has begun again, with another file or with nothing.
    attempt: u64,
    /// Spans that a repair has replaced with other bytes.
    replaced: Extents,
}

impl FillContent {
    /// Returns the bytes that have arrived, once there is a file for them.
    pub fn arrivals(&self) -> Option<Arc<Arrivals>> {
        self.state().arrivals.clone()
    }

    /// Returns the number of the present attempt. Bytes of an earlier one do not belong to it.
    pub fn attempt(&self) -> u64 {
        self.state().attempt
    }

    /// Sets the file of the first attempt.
    pub(super) fn set(&self, arrivals: Arc<Arrivals>) {
        self.state().arrivals = Some(arrivals);
    }

    /// Begins the next attempt.
    pub(super) fn begin_again(&self, arrivals: Arc<Arrivals>) {
        let mut state = self.state();
        state.arrivals = Some(arrivals);
        state.attempt += 1;
        state.replaced = Extents::default();
    }

    /// Returns true if a repair has replaced bytes of one of these spans after they could be read.
    pub fn was_replaced(&self, spans: &[Span]) -> bool {
        let state = self.state();
        spans.iter().any(|span| state.replaced.touches(*span))
    }

    pub(super) fn mark_replaced(&self, span: Span) {
        self.state().replaced.insert(span);
    }

    fn state(&self) -> MutexGuard<'_, FillContentState> {
        // Each change is a few assignments that cannot panic, so a poisoned lock holds a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
