//! How an endpoint has been doing.

use std::time::Duration;

/// What is known of one endpoint's answering.
#[derive(Debug, Default)]
pub(super) struct Health {}

impl Health {
    /// It answered, with whatever that is no fault of its own.
    pub(super) fn answered(&self, _took: Duration) {}

    /// No connection, no answer in time, a 5xx, or a body that was cut or stalled.
    pub(super) fn failed(&self) {}

    /// What it sent was not what its digest says.
    pub(super) fn lied(&self) {}
}
