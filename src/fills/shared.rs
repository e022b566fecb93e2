//! The parts that all fills of a server share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::host_limits::HostLimits;
use crate::cache::Ledger;
use crate::config;
use crate::metrics::Metrics;
use crate::sys::Machine;

/// The memory of the windows of blobs that are passed through is granted in steps of this many bytes. A window has at least
/// one step.
pub(super) const WINDOW_STEP: usize = 1 << 20;

/// The memory of all these windows together, in bytes.
const WINDOW_MEMORY: usize = 32 << 20;

/// Holds the parts that all fills of a server share.
#[derive(Clone)]
pub struct Shared {
    pub(super) ledger: Arc<Ledger>,
    pub(super) hosts: Arc<HostLimits>,
    /// The memory of all windows of blobs that are passed through, in steps of [`WINDOW_STEP`].
    pub(super) pass_memory: Arc<Semaphore>,
    pub(super) settings: config::Fill,
    pub(super) machine: Machine,
    pub(super) metrics: Arc<Metrics>,
}

impl Shared {
    /// Bundles the parts, and creates the limits for the hosts.
    pub fn new(ledger: Arc<Ledger>, settings: config::Fill, machine: &Machine, metrics: Arc<Metrics>) -> Self {
        let hosts = Arc::new(HostLimits::new(settings.clone(), machine.clock.clone(), Arc::clone(&metrics)));
        let pass_memory = Arc::new(Semaphore::new(WINDOW_MEMORY / WINDOW_STEP));
        Self { ledger, hosts, pass_memory, settings, machine: machine.clone(), metrics }
    }
}
