//! The class of a transfer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The class of a transfer: a client waits for it, or background work alone does. Clones share the class, so it
/// changes for all connections of a transfer at once.
#[derive(Clone, Debug)]
pub struct Traffic {
    client: Arc<AtomicBool>,
}

impl Traffic {
    /// Returns the class of a transfer that a client waits for.
    pub fn client() -> Self {
        Self { client: Arc::new(AtomicBool::new(true)) }
    }

    /// Returns the class of a transfer that no client has asked for yet.
    pub fn background() -> Self {
        Self { client: Arc::new(AtomicBool::new(false)) }
    }

    /// Records that a client has asked for the transfer. It stays client traffic from then on.
    pub fn client_joined(&self) {
        self.client.store(true, Ordering::Relaxed);
    }

    /// Returns true if no client has asked for the transfer.
    pub fn is_background(&self) -> bool {
        !self.client.load(Ordering::Relaxed)
    }

    /// Returns the value of the metrics' label `traffic`.
    pub(super) fn label(&self) -> &'static str {
        if self.is_background() { "background" } else { "client" }
    }
}
