//! The reports of fills about their connections to a host.

use std::time::Duration;

/// The connections of one fill to a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostReport {
    /// The bytes that the host has sent, and the time that connections were receiving, all together.
    pub bytes: u64,
    pub busy: Duration,
    pub open: usize,
    pub receiving: usize,
}

impl HostReport {
    /// Replaces a fill's last report by a new one.
    pub fn replace(&mut self, old: &Self, new: &Self) {
        self.bytes += new.bytes.saturating_sub(old.bytes);
        self.busy += new.busy.saturating_sub(old.busy);
        self.open = (self.open + new.open).saturating_sub(old.open);
        self.receiving = (self.receiving + new.receiving).saturating_sub(old.receiving);
    }
}
